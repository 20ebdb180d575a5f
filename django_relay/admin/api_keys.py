"""API keys: made, shown once, and revoked."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from django_relay import exceptions
from django_relay.admin import cells, operations, staff
from django_relay.admin.lists import KeysetAdmin, ReadOnly
from django_relay.admin.operations import Done, Operated, Operation, Shown
from django_relay.admin.owner_form import OwnerForm
from django_relay.models import ApiKey, Application
from django_relay.rules.access import Caller

_WHAT = {
    "read": _("read: see endpoints, events, deliveries, the DLQ and statistics"),
    "write": _("write: make, change and delete endpoints, and test them"),
    "replay": _("replay: send again and discard"),
    "secrets": _("secrets: see and rotate signing secrets"),
    "portal": _("portal: open the portal for a tenant (operators)"),
    "events:send": _("events:send: emit events (operators)"),
}


class KeyForm(OwnerForm):
    """What a key is for. The rules are the model's."""

    name = forms.CharField(label=_("Name"), max_length=200, required=False, help_text=_("What it is used for."))
    operator = forms.BooleanField(
        label=_("An operator's key"), required=False, help_text=_("It acts for the host, in all applications.")
    )
    scopes = forms.MultipleChoiceField(
        label=_("What it lets do"), choices=list(_WHAT.items()), initial=["read"], widget=forms.CheckboxSelectMultiple
    )
    expires_at = forms.DateTimeField(
        label=_("Expires at"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text=_("Empty is never."),
    )
    field_order: Sequence[str] = ("name", "operator", "application", "tenant_id")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["application"].required = False  # an operator's key is for all of them
        self.fields["tenant_id"].help_text = ""  # empty is an operator's

    def clean(self) -> dict[str, Any]:
        """Ask whose it is: a tenant left out by mistake must not make a key of the global one."""
        chosen: dict[str, Any] = super().clean() or {}
        if not chosen.get("operator") and not chosen.get("tenant_id"):
            self.add_error("tenant_id", _("Name the tenant, or make it an operator's key."))
        if chosen.get("operator") and chosen.get("tenant_id"):
            self.add_error("tenant_id", _("An operator's key has no tenant."))
        return chosen


def _revoke(caller: Caller, key: ApiKey, chosen: dict[str, Any]) -> Done:
    key.revoke(caller=caller)
    return Done(_("The key is revoked, and so are the portal sessions made with it."))


@admin.register(ApiKey)
class ApiKeyAdmin(KeysetAdmin, Operated, ReadOnly):
    """What a program calls the API with; the key itself is stored nowhere."""

    list_display = ("prefix", "name", "owner", "state_badge", "scope_list", "used", "expires_at")
    list_select_related = ("application",)
    search_help_text = _("A key's id or a tenant; whole, not in part.")
    fields = ("id", "prefix", "name", "owner", "application", "state_badge", "scope_list", "expires_at",
              "last_used_at", "revoked_at", "created_by", "created_at")  # fmt: skip
    operations = (
        Operation(
            name="revoke",
            label=_("Revoke"),
            label_of_many=_("Revoke the selected keys"),
            question=_("The key opens nothing from the next request on, and portal sessions made with it end."),
            permission="django_relay.change_apikey",
            perform=_revoke,
            applies=lambda row: row.revoked_at is None,
            is_destructive=True,
        ),
    )

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Return whether the person may make one."""
        return request.user.has_perm("django_relay.add_apikey")

    @sensitive_variables()
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make a key, and show it once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = KeyForm(request.POST) if request.method == "POST" else KeyForm(initial={"application": "default"})
        if request.method == "POST" and form.is_valid():
            done = self._issue(request, form)
            if done is not None:
                return operations.finish(self, request, done, back=cells.url_of(ApiKey), title=_("API key"))
        context = {**self.admin_site.each_context(request), "title": _("Make an API key"), "opts": self.opts,
                   "form": form, "media": self.media + form.media, "button": _("Make the key")}  # fmt: skip
        status = 409 if form.is_bound else 200
        return TemplateResponse(request, "admin/django_relay/make.html", context, status=status)

    @sensitive_variables()
    def _issue(self, request: HttpRequest, form: KeyForm) -> Done | None:
        chosen = form.cleaned_data
        whose = {"operator": True} if chosen["operator"] else {
            "tenant_id": chosen["tenant_id"], "application": (chosen["application"] or Application(slug="default")).slug
        }  # fmt: skip
        try:
            key, token = ApiKey.objects.issue(
                **whose,
                scopes=chosen["scopes"],
                name=chosen["name"],
                expires_at=chosen["expires_at"],
                caller=staff.caller_of(request),
            )
        except ValidationError as error:
            add_errors(form, error)
        except exceptions.RelayError as error:
            form.add_error(None, str(error))
        else:
            said = _("Copy it now: it is stored nowhere, and is not shown again.")
            return Done(said, shown=[Shown(_("API key"), token)], goto=cells.url_of(ApiKey, key.pk))
        return None

    @admin.display(description=_("state"))
    def state_badge(self, row: ApiKey) -> Any:
        """Show whether it opens anything."""
        if row.revoked_at is not None:
            return cells.badge("revoked", gettext("revoked"))
        return (
            cells.badge("live", gettext("live"))
            if row.is_live(timezone.now())
            else cells.badge("expired", gettext("expired"))
        )

    @admin.display(description=_("whose"))
    def owner(self, row: ApiKey) -> str:
        """Name the tenant, or the operator."""
        return gettext("operator") if row.is_operator else cells.tenant(row.tenant_id)

    @admin.display(description=_("scopes"))
    def scope_list(self, row: ApiKey) -> str:
        """Show what it lets do."""
        return ", ".join(row.scopes)

    @admin.display(description=_("last used"))
    def used(self, row: ApiKey) -> Any:
        """Show when it was last used."""
        return cells.moment(row.last_used_at)


def add_errors(form: forms.Form, error: ValidationError) -> None:
    """Put a model's errors beside the form's fields."""
    by_field = error.message_dict if hasattr(error, "error_dict") else {None: error.messages}
    for name, problems in by_field.items():
        for problem in problems:
            form.add_error(name if name in form.fields else None, problem)
