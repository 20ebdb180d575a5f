"""Portal sessions: links made for a tenant's people, or to look at the portal as they see it; and ended."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from django_relay import exceptions
from django_relay.admin import cells, operations, staff
from django_relay.admin.api_keys import add_errors
from django_relay.admin.lists import KeysetAdmin, ReadOnly, TimeFilter
from django_relay.admin.operations import Done, Operated, Operation, Shown
from django_relay.admin.owner_form import OwnerForm
from django_relay.models import PortalSession
from django_relay.portal import links
from django_relay.rules import access
from django_relay.rules.access import Caller

_WHAT = {
    "endpoints": _("add, change and delete endpoints"),
    "secrets": _("see and rotate signing secrets"),
    "replay": _("send again and discard"),
    "test": _("send tests"),
}


class SessionForm(OwnerForm):
    """Whose portal, and what can be done there besides looking; no more than the person itself may."""

    capabilities = forms.MultipleChoiceField(
        label=_("Besides looking, allow to"), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, caller: Caller, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        may = [(name, said) for name, said in _WHAT.items() if access.GRANTED_BY_CAPABILITY[name] <= caller.scopes]
        self.fields["capabilities"].choices = may  # type: ignore[attr-defined]
        if not may:
            del self.fields["capabilities"]


def why_closed() -> str:
    """Say why no portal can be opened; ``""`` if one can."""
    if links.is_mounted():
        return ""
    return gettext("The portal is not mounted: put include('django_relay.portal.urls') into the URLconf.")


def _revoke(caller: Caller, session: PortalSession, chosen: dict[str, Any]) -> Done:
    session.revoke(caller=caller)
    return Done(_("The session has ended."))


@admin.register(PortalSession)
class PortalSessionAdmin(KeysetAdmin, Operated, ReadOnly):
    """One person's right to one tenant's portal."""

    list_display = ("short_id", "tenant", "state_badge", "can", "opened_as_staff", "created_by", "made", "seen")
    list_filter = (TimeFilter,)
    list_select_related = ("application",)
    search_help_text = _("A session's id or a tenant; whole, not in part.")
    fields = ("id", "application", "tenant", "state_badge", "can", "opened_as_staff", "return_url", "created_by",
              "created_at", "link_expires_at", "used_at", "seen_at", "expires_at", "revoked_at")  # fmt: skip
    operations = (
        Operation(
            name="revoke",
            label=_("End"),
            label_of_many=_("End the selected sessions"),
            question=_("The session, or its link if nobody has used it, opens nothing from the next request on."),
            permission="django_relay.open_portal",
            perform=_revoke,
            applies=lambda row: row.revoked_at is None and row.expires_at > timezone.now(),
            is_destructive=True,
        ),
    )

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Return whether the person may open portals."""
        return request.user.has_perm("django_relay.open_portal")

    @sensitive_variables()
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make a session: open it here, or show its link once, for somebody else."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        caller, closed = staff.caller_of(request), why_closed()
        given = request.POST if request.method == "POST" else None
        initial = {
            "application": request.GET.get("application", "default"),
            "tenant_id": request.GET.get("tenant_id", ""),
        }
        form = SessionForm(given, caller=caller, initial=initial)
        if given is not None and form.is_valid() and not closed:
            link = _invite(form, request, caller)
            if link is not None and "open" in given:
                return HttpResponseRedirect(link.url, status=303)
            if link is not None:
                said = _("It works once, and for a few minutes. Whoever opens it first has the session.")
                done = Done(said, shown=[Shown(_("One-time link"), link.url, is_link=True)])
                return operations.finish(self, request, done, back=cells.url_of(PortalSession), title=_("Portal link"))
        context = {**self.admin_site.each_context(request), "title": _("Open the portal as a tenant"),
                   "opts": self.opts, "form": form, "media": self.media + form.media, "closed": closed}  # fmt: skip
        status = 409 if form.is_bound else 200
        return TemplateResponse(request, "admin/django_relay/portalsession/open.html", context, status=status)

    @admin.display(description=_("tenant"))
    def tenant(self, row: PortalSession) -> str:
        """Name the tenant."""
        return cells.tenant(row.tenant_id)

    @admin.display(description=_("state"))
    def state_badge(self, row: PortalSession) -> Any:
        """Show whether it lets somebody in."""
        now = timezone.now()
        if row.revoked_at is not None:
            return cells.badge("revoked", gettext("ended"))
        if row.is_open(now):
            return cells.badge("live", gettext("open"))
        unused = row.used_at is None and row.link_expires_at > now
        return cells.badge("unused", gettext("link not used")) if unused else cells.badge("expired", gettext("over"))

    @admin.display(description=_("can"))
    def can(self, row: PortalSession) -> str:
        """Show what can be done in it."""
        return ", ".join(row.capabilities)

    @admin.display(description=_("made"))
    def made(self, row: PortalSession) -> Any:
        """Show when it was made."""
        return cells.moment(row.created_at)

    @admin.display(description=_("seen"))
    def seen(self, row: PortalSession) -> Any:
        """Show when it was last used."""
        return cells.moment(row.seen_at)


@sensitive_variables()
def _invite(form: SessionForm, request: HttpRequest, caller: Caller) -> links.Link | None:
    chosen = form.cleaned_data
    try:
        return links.create_session(
            tenant_id=chosen["tenant_id"],
            application=chosen["application"].slug,
            capabilities=["view", *chosen.get("capabilities", [])],
            caller=caller,
            request=request,
        )
    except ValidationError as error:
        add_errors(form, error)
    except exceptions.RelayError as error:
        form.add_error(None, str(error))
    return None
