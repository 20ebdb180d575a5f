"""Endpoints: added, changed, stopped and started, tried out; their secrets seen and rotated by those who may."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters

from django_relay import exceptions
from django_relay.admin import cells, endpoint_operations, staff, tenants
from django_relay.admin.endpoint_form import CHOSEN, EndpointForm
from django_relay.admin.lists import Found, KeysetAdmin, choice_filter
from django_relay.admin.operations import Operated
from django_relay.models import Endpoint, searching, statistics
from django_relay.portal import charts

_STATES = (("failing", _("failing")), ("disabled", _("disabled")), ("deleted", _("deleted")))


def _by_state(rows: Any, state: str) -> Any:
    if state == "deleted":
        return rows.filter(deleted_at__isnull=False)
    there = rows.filter(deleted_at__isnull=True)
    return there.filter(failing_since__isnull=False) if state == "failing" else there.filter(enabled=False)


@admin.register(Endpoint)
class EndpointAdmin(KeysetAdmin, Operated):
    """Where a tenant wants its events."""

    form = EndpointForm
    list_display = ("short_id", "state_badge", "tenant", "receiver", "subscription", "failing", "succeeded")
    list_filter = (
        choice_filter("state", _("state"), _STATES, _by_state),
        choice_filter("format", _("format"), Endpoint.Format.choices),
    )
    list_select_related = ("application",)
    search_help_text = _("An endpoint id or a tenant; whole, not in part.")
    readonly_fields = ("id", "state_badge", "disabled_at", "failing_since", "last_success_at",
                       "deleted_at", "created_at", "updated_at")  # fmt: skip
    operations = endpoint_operations.OPERATIONS

    def get_urls(self) -> list[URLPattern]:
        """Return the admin's addresses, and that of the tenants."""
        view = self.admin_site.admin_view(self.tenants_view)
        return [path("tenants/", view, name="django_relay_tenants"), *super().get_urls()]

    def tenants_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the tenants, which no table has."""
        return tenants.show(request, site=self.admin_site, admin=self)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Lead on to the tenants."""
        tools = [{"url": "tenants/", "label": _("Tenants")}] if tenants.may_see(request) else []
        return super().changelist_view(request, {**(extra_context or {}), "relay_tools": tools})

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Find by id or tenant, or what is failing or disabled."""
        arms = searching.endpoints(term, state=str(params.get("state", "")), using=using)
        return Found(arms, ("state",) if not term and arms[0] else ())

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read everything but the headers, which are secret."""
        return super().get_queryset(request).defer("headers").select_related("application")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the form of a new one, or all that there is of one."""
        chosen = (_("What the tenant chose"), {"fields": (*CHOSEN, "own_headers")})
        if obj is None:
            return ((None, {"fields": ("application", "tenant_id")}), chosen)
        ended = ("deleted_at",) if obj.deleted_at else () if obj.enabled else ("disabled_at",)
        state = ("id", "application", "tenant_id", "state_badge", *ended, "failing_since", "last_success_at")
        return (
            (None, {"fields": state}),
            chosen,
            (_("Besides"), {"fields": ("created_at", "updated_at")}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return what cannot be edited: whose it is stays as it was."""
        return (*self.readonly_fields, *(() if obj is None else ("application", "tenant_id")))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse to edit what is deleted."""
        return super().has_change_permission(request, obj) and (obj is None or obj.deleted_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: deleting is an operation, which says what it does."""
        return False

    @method_decorator(sensitive_post_parameters("own_headers"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Say so if the tenant may have no more endpoints, or if others deleted the one that is edited."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except (exceptions.LimitReached, exceptions.WrongState) as error:
            self.message_user(request, str(error), messages.ERROR)
            is_gone = isinstance(error, exceptions.WrongState)
            return HttpResponseRedirect(cells.url_of(Endpoint) if is_gone else request.get_full_path(), status=303)

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        """Register a new endpoint as every surface does, with its first secret."""
        if change:
            return super().save_form(request, form, change)
        values = {name: form.cleaned_data[name] for name in CHOSEN}
        url, event_types = values.pop("url"), values.pop("event_types")
        return Endpoint.objects.register(
            tenant_id=form.cleaned_data["tenant_id"],
            application=form.cleaned_data["application"].slug,
            url=url,
            event_types=event_types,
            caller=staff.caller_of(request),
            headers=form.cleaned_data["own_headers"],
            **{name: value for name, value in values.items() if value is not None},
        )

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save nothing more: an endpoint's form has no other rows."""

    def save_model(self, request: HttpRequest, obj: Endpoint, form: Any, change: bool) -> None:
        """Save what was changed, on record; a new one is there already."""
        if change:
            values = {name: getattr(obj, name) for name in CHOSEN}
            obj.change(caller=staff.caller_of(request), headers=form.cleaned_data["own_headers"], **values)

    def about(self, request: HttpRequest, row: Endpoint) -> dict[str, Any]:
        """Show its health."""
        using = str(row._state.db)
        stats = statistics.of_endpoint(row.pk, charts.period("24h", now=timezone.now()), using=using)
        return {
            "relay_before": "admin/django_relay/endpoint/health.html",
            "stats": stats,
            "chart": charts.of_outcomes(stats.buckets),
            "pending": statistics.pending([row.pk], using=using),
            "in_dlq": statistics.in_dlq([row.pk], using=using),
        }

    @admin.display(description=_("state"))
    def state_badge(self, row: Endpoint) -> Any:
        """Show how it is."""
        if row.deleted_at is not None:
            return cells.badge("deleted", gettext("deleted"))
        if not row.enabled:
            return cells.badge("disabled", f"{gettext('disabled')}: {row.get_disabled_reason_display()}")
        return (
            cells.badge("failing", gettext("failing"))
            if row.failing_since
            else cells.badge("enabled", gettext("enabled"))
        )

    @admin.display(description=_("tenant"))
    def tenant(self, row: Endpoint) -> str:
        """Name the tenant."""
        return cells.tenant(row.tenant_id)

    @admin.display(description=_("URL"))
    def receiver(self, row: Endpoint) -> Any:
        """Show the URL."""
        return cells.receiver(row.url)

    @admin.display(description=_("event types"))
    def subscription(self, row: Endpoint) -> Any:
        """Show the patterns."""
        return cells.cut(", ".join(row.event_types), 40)

    @admin.display(description=_("failing since"))
    def failing(self, row: Endpoint) -> Any:
        """Show since when it only fails."""
        return cells.moment(row.failing_since)

    @admin.display(description=_("last success"))
    def succeeded(self, row: Endpoint) -> Any:
        """Show when it last took something."""
        return cells.moment(row.last_success_at)
