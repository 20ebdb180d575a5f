"""Tenants: no table of ours has them, so they are a page: every tenant with its endpoints and how it fares."""

from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db import models, router
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from django_relay.admin import cells, portal_sessions
from django_relay.models import Application, DLQEntry, Endpoint, Erasure, PortalSession, rankings, statistics
from django_relay.portal import charts

_APPLICATIONS = 100
_NEEDED = ("django_relay.view_endpoint", "django_relay.view_delivery", "django_relay.view_dlqentry")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant and how it fares."""

    tenant_id: str
    endpoints: dict[str, Any]
    counts: statistics.Counts
    in_dlq: int
    query: str
    """Names the tenant to the pages that act on it."""

    @property
    def open_entries(self) -> str:
        """How many DLQ entries are open, as text: counting stops somewhere."""
        most = rankings.OPEN_COUNTED
        return f"{self.in_dlq:,}" + ("+" if self.in_dlq >= most else "")


def may_see(request: HttpRequest) -> bool:
    """Return whether the person may see the page."""
    return request.user.has_perms(_NEEDED)


def show(request: HttpRequest, *, site: AdminSite, admin: Any) -> HttpResponseBase:
    """Show the tenants of one application, a page at a time, or the one that is looked for."""
    if not may_see(request):
        raise PermissionDenied
    using = router.db_for_write(Endpoint)
    applications = list(Application.objects.using(using).order_by("slug")[:_APPLICATIONS])
    slug = request.GET.get("application", "default")
    application = next((one for one in applications if one.slug == slug), applications[0] if applications else None)
    term = request.GET.get("q", "").strip()
    after = request.GET.get("after")
    found: list[str] = []
    if application is not None:
        found = [term] if term else rankings.tenants(application.pk, after=after, using=using)
    page = found[: rankings.TENANTS]
    query = {} if application is None else {"application": application.slug}
    context = {
        **site.each_context(request),
        "title": _("Tenants"),
        "opts": Endpoint._meta,
        "media": admin.media,
        "applications": applications,
        "application": application,
        "term": term,
        "rows": [] if application is None else _rows(application, page, using),
        "older": "?" + urlencode({**query, "after": page[-1]}) if len(found) > len(page) else "",
        "newest": "?" + urlencode(query) if after is not None else "",
        "endpoints_url": cells.url_of(Endpoint, site=site.name),
        "dlq_url": cells.url_of(DLQEntry, site=site.name),
        "portal_url": _add_url(PortalSession, site.name),
        "erase_url": _add_url(Erasure, site.name) if request.user.has_perm("django_relay.add_erasure") else "",
        "may_open": request.user.has_perm("django_relay.open_portal"),
        "closed": portal_sessions.why_closed(),
    }
    return TemplateResponse(request, "admin/django_relay/tenants.html", context)


def _rows(application: Application, tenant_ids: list[str], using: str) -> list[Tenant]:
    period = charts.period("24h", now=timezone.now())
    endpoints = rankings.endpoints_by_tenant(application.pk, tenant_ids, using=using)
    counts = statistics.totals_by_tenant(application.pk, tenant_ids, period, using=using)
    in_dlq = rankings.in_dlq_by_tenant(application.pk, tenant_ids, using=using)
    return [
        Tenant(
            tenant_id,
            endpoints[tenant_id],
            counts[tenant_id],
            in_dlq.get(tenant_id, 0),
            urlencode({"application": application.slug, "tenant_id": tenant_id}),
        )
        for tenant_id in tenant_ids
        if tenant_id in endpoints
    ]


def _add_url(model: type[models.Model], site: str) -> str:
    listed = cells.url_of(model, site=site)
    return f"{listed}add/" if listed else ""
