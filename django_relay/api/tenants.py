"""Tenants: who there is, for operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import fields, pages
from django_relay.api.resources import Resource, operation
from django_relay.api.statistics import CappedShown
from django_relay.models import Endpoint, Erasure, Event, paging, statistics
from django_relay.pipeline import erasures


class TenantShown(fields.Shown):
    """A tenant, and how it fared in the last 30 days."""

    tenant_id = fields.Text()
    endpoints = fields.Whole(min_value=0, max_value=2**31)
    enabled_endpoints = fields.Whole(min_value=0, max_value=2**31)
    attempts = fields.Whole(min_value=0, max_value=2**53)
    delivered = fields.Whole(min_value=0, max_value=2**53)
    dead_lettered = fields.Whole(min_value=0, max_value=2**53)
    error_rate = fields.Number(allow_null=True, help_text="0 to 1; null without attempts.")


class ErasureShown(fields.Shown):
    """The erasure of a tenant, and its progress."""

    id = fields.Id("era_")
    tenant_id = fields.Text()
    state = fields.Choice(Erasure.State.values)
    stage = fields.Text()
    deleted = fields.Mapped(help_text="Counts by what was deleted.")
    created_at = fields.Moment()
    started_at = fields.Moment(allow_null=True)
    completed_at = fields.Moment(allow_null=True)


class TenantDetail(TenantShown):
    """A tenant, with what waits for somebody to act."""

    pending = CappedShown()
    in_dlq = CappedShown()
    erasure = ErasureShown(allow_null=True)


class TenantQuery(fields.Query):
    """Which tenants."""

    application = fields.Text(max_length=64, required=False)
    limit = pages.limit()
    cursor = pages.cursor()


class ApplicationQuery(fields.Query):
    """In which application."""

    application = fields.Text(max_length=64, required=False)


_Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Tenant:
    tenant_id: str
    endpoints: int
    enabled_endpoints: int


class Tenants(Resource):
    """Whose endpoints there are. A tenant exists by what is stored of it."""

    tag = "Tenants"

    @operation(
        "read", "List tenants", query=TenantQuery, answers={200: pages.of(TenantShown)}, operator_only=True, may=(404,)
    )
    def list(self, request: Request) -> Response:
        """Return a page of the tenants that have endpoints, by name."""
        of = {"list": "tenant", "application": self.application.pk}
        wanted = pages.wanted(self.query)
        rows = self._counted(Endpoint.objects.filter(deleted_at__isnull=True))
        if wanted.cursor is not None:
            rows = rows.filter(tenant_id__gt=paging.unseal(wanted.cursor, of=of)[0])
        found = [_Tenant(**row) for row in rows.order_by("tenant_id")[: wanted.limit + 1]]
        data = found[: wanted.limit]
        more = paging.seal([data[-1].tenant_id], of=of) if len(found) > wanted.limit else None
        return Response({"data": self._shown(data), "next_cursor": more, "has_more": more is not None})

    @operation(
        "read", "Show a tenant", query=ApplicationQuery, answers={200: TenantDetail}, operator_only=True, may=(404,)
    )
    def retrieve(self, request: Request, tenant_id: str) -> Response:
        """Return one tenant of which anything is stored."""
        owned = {"application": self.application, "tenant_id": tenant_id}
        row = (
            self._counted(Endpoint.objects.filter(deleted_at__isnull=True, tenant_id=tenant_id))
            .order_by("tenant_id")
            .first()
        )
        erasure = Erasure.objects.using(self.using).filter(**owned).order_by("-pk").first()
        if row is None and erasure is None:
            self.only(Event.objects.using(self.using).filter(**owned).only("pk"))
        keys = list(Endpoint.objects.using(self.using).filter(**owned).values_list("pk", flat=True)[:1_000])
        (shown,) = self._shown([_Tenant(**row) if row else _Tenant(tenant_id, 0, 0)])
        shown["pending"] = CappedShown(statistics.pending(keys, using=self.using)).data
        shown["in_dlq"] = CappedShown(statistics.in_dlq(keys, using=self.using)).data
        shown["erasure"] = ErasureShown(erasure).data if erasure else None
        return Response(shown)

    @operation(
        "write", "Erase a tenant", query=ApplicationQuery, answers={202: ErasureShown}, operator_only=True, may=(404,)
    )
    def destroy(self, request: Request, tenant_id: str) -> Response:
        """Have everything deleted that is stored of it; the workers do that, and it cannot be taken back."""
        with self.changing():
            made = erasures.start(
                tenant_id, application=self.application.slug, actor=self.caller.actor, using=self.using
            )
            self.record("tenant.erased", made, tenant_id=tenant_id, application=self.application.slug)
        return Response(ErasureShown(made).data, status=202)

    def _counted(self, rows: "models.QuerySet[Endpoint]") -> Any:
        enabled = models.Count("pk", filter=models.Q(enabled=True))
        rows = rows.using(self.using).filter(application=self.application).order_by()
        return rows.values("tenant_id").annotate(endpoints=models.Count("pk"), enabled_endpoints=enabled)

    def _shown(self, tenants: Sequence[_Tenant]) -> _Rows:
        period = statistics.period(per="day", now=timezone.now())
        names = [row.tenant_id for row in tenants]
        totals = statistics.totals_by_tenant(self.application.pk, names, period, using=self.using)
        return [
            {
                "tenant_id": row.tenant_id,
                "endpoints": row.endpoints,
                "enabled_endpoints": row.enabled_endpoints,
                "attempts": totals[row.tenant_id].attempts,
                "delivered": totals[row.tenant_id].delivered,
                "dead_lettered": totals[row.tenant_id].columns["dead_lettered"],
                "error_rate": totals[row.tenant_id].error_rate,
            }
            for row in tenants
        ]
