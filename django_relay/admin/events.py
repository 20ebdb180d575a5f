"""Events: what was said to whom and why; one sent by hand from its type's example."""

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.admin import cells, staff
from django_relay.admin.lists import Found, KeysetAdmin, ReadOnly, TimeFilter, choice_filter
from django_relay.admin.operations import Done, Operated, Operation
from django_relay.admin.owner_form import TenantForm
from django_relay.models import (
    Endpoint,
    Event,
    EventType,
    Replay,
    audit,
    explanation,
    lists,
    paging,
    searching,
)
from django_relay.pipeline import outbox, replays
from django_relay.rules.access import Caller

_DELIVERIES = 50
_REASONS = {
    "pattern": _("it does not subscribe to this event type"),
    "filter": _("its filter does not fit"),
    "disabled": _("it was disabled"),
    "deleted": _("it was deleted"),
    "created_later": _("it was made later"),
    "test": _("it was a test of another endpoint"),
    "not_fanned_out": _("it wants it; the event is not fanned out yet"),
    "changed": _("it would want it now: it was disabled, or wanted something else, at the time"),
}


class DataField(forms.JSONField):
    """JSON of any kind: an empty object is data like any other."""

    empty_values = [None, ""]


class SendForm(TenantForm):
    """An event to be sent by hand."""

    event_type = forms.ModelChoiceField(
        label=_("Event type"),
        queryset=EventType.objects.filter(deprecated=False).select_related("application").order_by("name"),
    )
    data: Any = DataField(
        label=_("Data"),
        widget=forms.Textarea(attrs={"rows": 14, "class": "vLargeTextField relay-code", "spellcheck": "false"}),
    )
    attributes = forms.JSONField(
        label=_("Attributes"),
        required=False,
        initial=dict,
        help_text=_("What endpoints' filters look at."),
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField relay-code", "spellcheck": "false"}),
    )
    idempotency_key = forms.CharField(label=_("Idempotency key"), max_length=255, required=False)
    field_order = ("event_type", "tenant_id")


def _again(caller: Caller, event: Event, chosen: dict[str, Any]) -> Done:
    replay = replays.again(event, actor=caller.actor)
    audit.record("event.replayed", event, caller=caller, after={"endpoints": replay.done_count})
    return Done(_("The event is on its way again."), goto=cells.url_of(Replay, replay.pk))


@admin.register(Event)
class EventAdmin(KeysetAdmin, Operated, ReadOnly):
    """A fact, stored once."""

    keyset = ("created_at", "id")
    list_display = ("short_id", "event_type", "tenant", "status_badge", "matched_count", "idempotency_key", "age")
    list_filter = (TimeFilter, choice_filter("status", _("status"), Event.Status.choices))
    list_select_related = ("application",)
    search_help_text = _("An event id, a tenant or an idempotency key; whole, not in part.")
    fieldsets = (
        (None, {"fields": ("id", "application", "tenant", "event_type", "schema_version", "status_badge",
                           "matched_count")}),
        (_("Data"), {"fields": ("data", "attributes_text", "idempotency_key")}),
        (_("Origin"), {"fields": ("occurred_at", "created_at", "dispatched_at", "subject", "origin", "traceparent",
                                  "only_endpoint_link")}),
    )  # fmt: skip
    operations = (
        Operation(
            name="again",
            label=_("Send again"),
            question=_("The event goes again to every enabled endpoint that wants it as it is now."),
            permission="django_relay.replay_delivery",
            perform=_again,
            applies=lambda row: row.only_endpoint_id is None and row.status != Event.Status.PENDING,
        ),
    )

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Find by id, tenant or idempotency key."""
        return Found(searching.events(term, using=using))

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read everything but the payload, which is for the event's own page."""
        return super().get_queryset(request).defer("payload")

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Return whether the person may send one."""
        return request.user.has_perm("django_relay.send_event")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Send an event by hand."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = SendForm(request.POST) if request.method == "POST" else SendForm(initial=self._initial(request))
        if request.method == "POST" and form.is_valid():
            event = self._send(request, form)
            if event is not None:
                self.message_user(request, _("The event is sent."))
                return HttpResponseRedirect(cells.url_of(Event, event.pk), status=303)
        context = {**self.admin_site.each_context(request), "title": _("Send an event"), "opts": self.opts,
                   "form": form, "media": self.media + form.media, "types": form.fields["event_type"].queryset}  # type: ignore[attr-defined]  # fmt: skip
        status = 409 if form.is_bound else 200
        return TemplateResponse(request, "admin/django_relay/event/send.html", context, status=status)

    def _initial(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the form begins with: the example of the type that was asked for."""
        initial: dict[str, Any] = {"tenant_id": request.GET.get("tenant_id", ""), "data": {}}
        if "event_type" in request.GET:
            try:
                row = EventType.objects.filter(pk=request.GET["event_type"]).first()
            except ValidationError:
                row = None
            if row is not None:
                initial |= {"event_type": row.pk, "data": {} if row.example is None else row.example}
        return initial

    def _send(self, request: HttpRequest, form: SendForm) -> Event | None:
        chosen, caller = form.cleaned_data, staff.caller_of(request)
        row, using = chosen["event_type"], router.db_for_write(Event)
        try:
            with transaction.atomic(using):
                event = outbox.emit(
                    row.name,
                    chosen["data"],
                    tenant_id=chosen["tenant_id"],
                    application=row.application.slug,
                    attributes=chosen["attributes"] or {},
                    idempotency_key=chosen["idempotency_key"],
                    using=using,
                )
                if event is None:
                    raise exceptions.SendingDisabled
                audit.record("event.sent", event, caller=caller, after={"event_type": event.event_type}, using=using)
        except exceptions.RelayError as error:
            is_payload = isinstance(error, exceptions.InvalidPayload)
            field = "data" if is_payload else "attributes" if error.code == "bad_attributes" else None
            form.add_error(field, str(error))
            return None
        return event

    def about(self, request: HttpRequest, row: Event) -> dict[str, Any]:
        """Show why it was matched or not, and what became of it."""
        using = str(row._state.db)
        context: dict[str, Any] = {"relay_about": "admin/django_relay/event/about.html"}
        if request.user.has_perm("django_relay.view_endpoint"):
            found = explanation.explain(row, using=using)
            context["explanations"] = [(one, _REASONS.get(one.reason, one.reason)) for one in found]
        if request.user.has_perm("django_relay.view_delivery"):
            owner = lists.Owner(row.application_id, row.tenant_id)
            filters, wanted = lists.Filters(event_id=row.pk), paging.Wanted(_DELIVERIES)
            context["deliveries"] = lists.deliveries(owner, filters, wanted=wanted, using=using)
        return context

    @admin.display(description=_("status"))
    def status_badge(self, row: Event) -> Any:
        """Show where it stands."""
        return cells.badge(row.status, row.get_status_display())

    @admin.display(description=_("tenant"))
    def tenant(self, row: Event) -> str:
        """Name the tenant."""
        return cells.tenant(row.tenant_id)

    @admin.display(description=_("emitted"))
    def age(self, row: Event) -> Any:
        """Show when it was emitted."""
        return cells.moment(row.created_at)

    @admin.display(description=_("data"))
    def data(self, row: Event) -> Any:
        """Show the payload, indented."""
        try:
            return cells.document(json.loads(row.payload))
        except ValueError:
            return cells.preformatted(row.payload)

    @admin.display(description=_("attributes"))
    def attributes_text(self, row: Event) -> Any:
        """Show what filters look at."""
        return cells.document(row.attributes)

    @admin.display(description=_("test of"))
    def only_endpoint_link(self, row: Event) -> Any:
        """Link to the endpoint that it is a test of."""
        return cells.link(Endpoint, row.only_endpoint_id)
