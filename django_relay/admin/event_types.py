"""Event types: what may be sent, with its schema and an example that must fit it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.admin import cells, staff
from django_relay.admin.lists import PlainAdmin
from django_relay.admin.operations import Done, Operated, Operation
from django_relay.catalog import registry, sync
from django_relay.models import Endpoint, EventType, audit
from django_relay.models.event_type import DEFINITION_FIELDS
from django_relay.rules import event_names
from django_relay.rules.access import Caller

_AFFECTED, _LOOKED_AT = 50, 1_000
"""How many endpoints that get a type are shown, and among how many of the newest they are looked for."""


class EventTypeForm(forms.ModelForm):  # type: ignore[type-arg]
    """A declaration, held to the rules of those in code."""

    class Meta:
        model = EventType
        fields = ("application", "name", *DEFINITION_FIELDS)
        widgets = {
            "schema": forms.Textarea(attrs={"rows": 18, "class": "vLargeTextField relay-code", "spellcheck": "false"}),
            "example": forms.Textarea(attrs={"rows": 10, "class": "vLargeTextField relay-code", "spellcheck": "false"}),
        }
        help_texts = {
            "schema": _("JSON Schema 2020-12 of the data; empty takes any JSON. Events that do not fit are refused."),
            "example": _("Data as it might be; it must fit the schema."),
        }

    def clean(self) -> dict[str, Any]:
        """Check the declaration against itself: the schema, and the example by the schema."""
        chosen: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                self.definition().check()
            except exceptions.InvalidInput as error:
                field = {exceptions.InvalidSchema: "schema", exceptions.InvalidEventName: "name"}.get(type(error))
                if field is None:
                    field = "example" if "example" in str(error) else None
                self.add_error(field if field in self.fields else None, ValidationError(str(error), code=error.code))
        return chosen

    def definition(self) -> registry.WebhookDefinition:
        """Return the declaration that is asked for."""
        row = self.instance
        chosen = self.cleaned_data
        return registry.WebhookDefinition(
            name=chosen.get("name", row.name),
            application=(chosen.get("application") or row.application).slug,
            **{name: chosen.get(name, getattr(row, name)) for name in DEFINITION_FIELDS},
        )


class DeprecationForm(forms.Form):
    """What is to be used instead."""

    replaced_by = forms.CharField(label=_("Use this event type instead"), max_length=128, required=False)

    def clean_replaced_by(self) -> str:
        """Check the name."""
        name: str = self.cleaned_data["replaced_by"].strip()
        try:
            return event_names.validate_name(name) if name else ""
        except exceptions.InvalidInput as error:
            raise ValidationError(str(error), code=error.code) from error


def _deprecate(caller: Caller, row: EventType, chosen: dict[str, Any]) -> Done:
    row.deprecate(replaced_by=chosen["replaced_by"])
    audit.record("event_type.deprecated", row, caller=caller, after={"replaced_by": row.replaced_by})
    return Done(_("The event type is deprecated: it takes no new events."))


def _revive(caller: Caller, row: EventType, chosen: dict[str, Any]) -> Done:
    values = {name: getattr(row, name) for name in DEFINITION_FIELDS}
    definition = registry.WebhookDefinition(row.name, application=row.application.slug, **values)
    sync.register_event_type(definition, using=row._state.db)
    audit.record("event_type.updated", row, caller=caller, before={"deprecated": True}, after={"deprecated": False})
    return Done(_("The event type takes events again."))


@admin.register(EventType)
class EventTypeAdmin(Operated, PlainAdmin):
    """A named, declared kind of event. One that code declares is changed in code: the next deployment would undo it."""

    form = EventTypeForm
    list_display = ("name", "application", "group", "version", "state_badge", "source")
    list_filter = ("deprecated", "application")
    list_select_related = ("application",)
    search_fields = ("name", "description", "group")
    ordering = ("application__slug", "name")
    readonly_fields = ("state_badge", "source")
    fieldsets = (
        (None, {"fields": ("application", "name", "state_badge", "source", "description", "group")}),
        (_("Data"), {"fields": ("schema", "schema_version", "example")}),
        (_("Besides"), {"fields": ("version", "replaced_by", "metadata")}),
    )
    operations = (
        Operation(
            name="deprecate",
            label=_("Deprecate"),
            question=_("It takes no new events from now on. Deliveries under way go on."),
            permission="django_relay.change_eventtype",
            perform=_deprecate,
            applies=lambda row: not row.deprecated,
            form=lambda request, rows: DeprecationForm,
            is_destructive=True,
        ),
        Operation(
            name="revive",
            label=_("Take events again"),
            question=_("It takes new events again."),
            permission="django_relay.change_eventtype",
            perform=_revive,
            applies=lambda row: row.deprecated,
        ),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: a type that is no longer wanted is deprecated."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return what cannot be edited: the name of one that is there, and all that code declares."""
        if obj is None:
            return self.readonly_fields
        code = DEFINITION_FIELDS if _is_declared(obj) else ()
        return (*self.readonly_fields, "application", "name", *code)

    def save_model(self, request: HttpRequest, obj: EventType, form: Any, change: bool) -> None:
        """Register the declaration as programs do, on record."""
        before = {name: form.initial.get(name) for name in DEFINITION_FIELDS} if change else None
        if change:
            obj.save()
        else:
            made = sync.register_event_type(form.definition())
            obj.pk, obj._state.adding, obj._state.db = made.pk, False, made._state.db
        action = "event_type.updated" if change else "event_type.created"
        after = {name: getattr(obj, name) for name in DEFINITION_FIELDS}
        audit.record(action, obj, caller=staff.caller_of(request), before=before, after=after)

    def about(self, request: HttpRequest, row: EventType) -> dict[str, Any]:
        """Show which endpoints get it."""
        if request.user.has_perm("django_relay.view_endpoint"):
            open_ones = Endpoint.objects.filter(application_id=row.application_id, deleted_at__isnull=True)
            looked_at = list(open_ones.only("tenant_id", "url", "event_types", "enabled").order_by("-pk")[:_LOOKED_AT])
            found = [one for one in looked_at if any(event_names.matches(mark, row.name) for mark in one.event_types)]
            return {
                "relay_about": "admin/django_relay/eventtype/endpoints.html",
                "endpoints": found[:_AFFECTED],
                "affected": len(found),
                "looked_at": len(looked_at) if len(looked_at) == _LOOKED_AT else 0,
                "may_send": request.user.has_perm("django_relay.send_event") and not row.deprecated,
            }
        return {}

    @admin.display(description=_("state"))
    def state_badge(self, row: EventType) -> Any:
        """Show whether it takes events."""
        return (
            cells.badge("deprecated", gettext("deprecated"))
            if row.deprecated
            else cells.badge("live", gettext("takes events"))
        )

    @admin.display(description=_("declared"))
    def source(self, row: EventType) -> str:
        """Say where it is declared."""
        return gettext("in code: change it there") if row.pk and _is_declared(row) else gettext("here, or by a program")


def _is_declared(row: EventType) -> bool:
    return registry.find(row.application.slug, row.name) is not None
