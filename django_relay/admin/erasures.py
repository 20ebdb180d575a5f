"""Erasures: everything of a tenant deleted, once its name is typed again; and how far that has come."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.admin import cells, staff
from django_relay.admin.lists import KeysetAdmin, ReadOnly, TimeFilter
from django_relay.admin.owner_form import OwnerForm
from django_relay.models import Erasure, audit
from django_relay.pipeline import erasures as pipeline

_KINDS = {
    "api_keys": _("API keys"),
    "portal_sessions": _("portal sessions"),
    "endpoints": _("endpoints"),
    "replays": _("replays"),
    "deliveries": _("deliveries"),
    "attempts": _("attempts"),
    "dlq_entries": _("DLQ entries"),
    "events": _("events"),
    "publish_failures": _("publish failures"),
    "hours": _("hours of statistics"),
}
"""What is deleted, in the order in which it is, by the names that the pipeline counts under."""
_STAGES = {
    "access": _("API keys and portal sessions"),
    "endpoints": _("endpoints"),
    "replays": _("replays"),
    "deliveries": _("deliveries and their attempts"),
    "dlq_entries": _("DLQ entries"),
    "events": _("events"),
    "publish_failures": _("publish failures"),
    "rows": _("statistics and what is left of the endpoints"),
}


class ErasureForm(OwnerForm):
    """Whose data is to go; its name a second time, so that no slip of the finger erases anybody."""

    confirmation = forms.CharField(
        label=_("Type the tenant's id again"),
        max_length=255,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, Any]:
        """Compare what was typed with whose data is to go."""
        chosen: dict[str, Any] = super().clean() or {}
        wanted = cells.tenant(chosen.get("tenant_id"))
        if "confirmation" in chosen and chosen["confirmation"] != wanted:
            problem = gettext("This is not the tenant's id. To erase it, type: %(tenant)s") % {"tenant": wanted}
            self.add_error("confirmation", problem)
        return chosen


@admin.register(Erasure)
class ErasureAdmin(KeysetAdmin, ReadOnly):
    """What is left of an erased tenant."""

    list_display = ("short_id", "application", "tenant", "state_badge", "stage_now", "requested_by", "asked_for")
    list_filter = (TimeFilter,)
    list_select_related = ("application",)
    search_help_text = _("An erasure's id or a tenant; whole, not in part.")
    fields = ("id", "application", "tenant", "requested_by", "created_at", "started_at", "completed_at")

    class Media:
        js = ["django_relay/admin.js"]

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Return whether the person may erase tenants."""
        return request.user.has_perm("django_relay.add_erasure")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Say how much there is of a tenant, and have it erased once its name was typed again."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else None
        initial = {
            "application": request.GET.get("application", "default"),
            "tenant_id": request.GET.get("tenant_id", ""),
        }
        form = ErasureForm(given, initial=initial)
        if given is not None and form.is_valid():
            made = self._start(request, form)
            if made is not None:
                self.message_user(request, _("The workers are at it; it cannot be taken back."))
                goto = cells.url_of(Erasure, made.pk if self.has_view_permission(request) else None)
                return HttpResponseRedirect(goto, status=303)
        context = {**self.admin_site.each_context(request), "title": _("Erase a tenant"), "opts": self.opts,
                   "form": form, "media": self.media + form.media, "counts": self._counts(request),
                   "back": cells.url_of(Erasure)}  # fmt: skip
        status = 409 if form.is_bound else 200
        return TemplateResponse(request, "admin/django_relay/erasure/start.html", context, status=status)

    def _start(self, request: HttpRequest, form: ErasureForm) -> Erasure | None:
        chosen, caller, using = form.cleaned_data, staff.caller_of(request), router.db_for_write(Erasure)
        tenant_id, application = chosen["tenant_id"], chosen["application"].slug
        try:
            with transaction.atomic(using):
                made = pipeline.start(tenant_id, application=application, actor=caller.actor, using=using)
                audit.record("tenant.erased", made, caller=caller, tenant_id=tenant_id, application=application)
        except exceptions.RelayError as error:
            form.add_error(None, str(error))
            return None
        return made

    def _counts(self, request: HttpRequest) -> list[tuple[str, str]] | None:
        """Return what is stored of the tenant that is asked for; ``None`` if none is."""
        given = request.POST if request.method == "POST" else request.GET
        if "tenant_id" not in given:
            return None
        try:
            found = pipeline.count(given["tenant_id"], application=given.get("application", "default"))
        except exceptions.RelayError:
            return None
        return [(str(_KINDS[name]), str(number)) for name, number in found.items()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show how far it has come."""
        row: Erasure | None = kwargs.get("obj")
        if row is not None:
            context |= {
                "relay_before": "admin/django_relay/erasure/progress.html",
                "stage": _STAGES.get(row.stage, row.stage),
                "deleted": [(said, row.deleted[name]) for name, said in _KINDS.items() if row.deleted.get(name)],
                "is_in_progress": row.state != Erasure.State.COMPLETED,
            }
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=_("tenant"))
    def tenant(self, row: Erasure) -> str:
        """Name the tenant."""
        return cells.tenant(row.tenant_id)

    @admin.display(description=_("state"))
    def state_badge(self, row: Erasure) -> Any:
        """Show where it stands."""
        return cells.badge(row.state, row.get_state_display())

    @admin.display(description=_("being deleted"))
    def stage_now(self, row: Erasure) -> str:
        """Name what is being deleted now."""
        return str(_STAGES.get(row.stage, row.stage)) or cells.NOTHING

    @admin.display(description=_("asked for"))
    def asked_for(self, row: Erasure) -> Any:
        """Show when it was asked for."""
        return cells.moment(row.created_at)
