"""Rankings: which endpoints stand out, and which tenants there are; read from the hourly counts and short indexes."""

from collections.abc import Collection
from typing import Any

from django.db import models
from django.db.models.functions import Coalesce

from django_relay.models.dlq_entry import DLQEntry
from django_relay.models.endpoint import Endpoint
from django_relay.models.endpoint_hour import COUNTS, LATENCY_MS, EndpointHour
from django_relay.models.statistics import Counts, Period

SHOWN = 5
"""How many endpoints a ranking has."""
TENANTS = 50
"""How many tenants a page has."""
OPEN_COUNTED = 100
"""How far a tenant's open DLQ entries are counted."""

_SUMS = {f"total_{name}": models.Sum(name) for name in COUNTS}
_FAILED = models.Sum("retried") + models.Sum("dead_lettered")
_MEASURED = sum((models.Sum(name) for name in LATENCY_MS), models.Value(0))
_LATENCY = sum((models.Sum(name) * upper for name, upper in LATENCY_MS.items()), models.Value(0))

Ranking = list[tuple[Endpoint, Counts]]


def most_failing(wanted: Period, *, using: str) -> Ranking:
    """Return the endpoints that failed most often in a stretch of time, with what became of their attempts."""
    return _rank(_FAILED, wanted, using)


def slowest(wanted: Period, *, using: str) -> Ranking:
    """Return the endpoints that took longest on average, with what became of their attempts."""
    mean = models.ExpressionWrapper(
        _LATENCY * 1.0 / models.functions.NullIf(_MEASURED, models.Value(0)), output_field=models.FloatField()
    )
    return _rank(mean, wanted, using)


def tenants(application_id: str, *, after: str | None = None, using: str) -> list[str]:
    """Return the next tenants of an application that have endpoints, in the order of their names; one more than a page.

    ``after`` is the last one of the page before.
    """
    rows = Endpoint.objects.using(using).filter(application_id=application_id, deleted_at__isnull=True)
    if after is not None:
        rows = rows.filter(tenant_id__gt=after)
    return list(rows.order_by("tenant_id").values_list("tenant_id", flat=True).distinct()[: TENANTS + 1])


def endpoints_by_tenant(application_id: str, tenant_ids: Collection[str], *, using: str) -> dict[str, dict[str, Any]]:
    """Count each tenant's endpoints: ``all``, and of them ``disabled`` and ``failing``; one query."""
    rows = Endpoint.objects.using(using).filter(
        application_id=application_id, tenant_id__in=tenant_ids, deleted_at__isnull=True
    )
    off, failing = models.Q(enabled=False), models.Q(enabled=True, failing_since__isnull=False)
    counted = rows.order_by().values("tenant_id").annotate(
        all=models.Count("pk"), disabled=models.Count("pk", filter=off), failing=models.Count("pk", filter=failing)
    )  # fmt: skip
    return {str(row["tenant_id"]): dict(row) for row in counted}


def in_dlq_by_tenant(application_id: str, tenant_ids: Collection[str], *, using: str) -> dict[str, int]:
    """Count each tenant's open DLQ entries, up to :data:`OPEN_COUNTED` of each endpoint; one query."""
    some = DLQEntry.objects.using(using).open().filter(endpoint_id=models.OuterRef("pk")).order_by("-id")
    rows = Endpoint.objects.using(using).filter(
        application_id=application_id, tenant_id__in=tenant_ids, deleted_at__isnull=True
    )
    counted = rows.order_by().values_list("tenant_id").annotate(open=_CountUpTo(some.values("pk")[:OPEN_COUNTED]))
    found: dict[str, int] = {}
    for tenant_id, number in counted:
        found[tenant_id] = found.get(tenant_id, 0) + number
    return found


class _CountUpTo(models.Subquery):
    """How many rows a subquery has, which says itself how many it looks at."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = models.IntegerField()


def _rank(by: Any, wanted: Period, using: str) -> Ranking:
    hours = EndpointHour.objects.using(using).filter(hour__gte=wanted.since, hour__lt=wanted.until)
    ranked = hours.order_by().values("endpoint_id").annotate(rank=Coalesce(by, 0, output_field=models.FloatField()))
    top: list[Any] = list(ranked.filter(rank__gt=0).order_by("-rank", "endpoint_id").annotate(**_SUMS)[:SHOWN])
    rows = Endpoint.objects.using(using).defer("headers").in_bulk([row["endpoint_id"] for row in top])
    return [
        (rows[row["endpoint_id"]], Counts({name: row[f"total_{name}"] for name in COUNTS}))
        for row in top
        if row["endpoint_id"] in rows
    ]
