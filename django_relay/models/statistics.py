"""Statistics: what became of attempts in a stretch of time, and how much is waiting; never by counting history.

Outcomes, status classes, error rates and latencies come from the hourly counts alone, and so are as exact as those
(:mod:`django_relay.models.endpoint_hour`). What waits, and events by type, are counted up to
:data:`COUNTED` and no further.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import models

from django_relay import exceptions
from django_relay.models.delivery import Delivery
from django_relay.models.dlq_entry import DLQEntry
from django_relay.models.endpoint import Endpoint
from django_relay.models.endpoint_hour import COUNTS, EndpointHour, hour_of, percentile
from django_relay.models.event import Event
from django_relay.models.lists import Owner

COUNTED = 10_000
"""How far what waits is counted."""

STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
"""The widths of a bucket."""
MAX_BUCKETS = 24 * 31


@dataclass(frozen=True, slots=True)
class Capped:
    """A count that stops at :data:`COUNTED`; ``has_more`` says that it did."""

    count: int
    has_more: bool = False

    def __str__(self) -> str:
        return f"{self.count:,}{'+' if self.has_more else ''}"


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of some attempts."""

    columns: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    """By the name of each column that counts (see ``endpoint_hour.COUNTS``)."""

    @property
    def delivered(self) -> int:
        """Attempts that delivered."""
        return self.columns["delivered"]

    @property
    def failed(self) -> int:
        """Attempts that failed, to be retried or not."""
        return self.columns["retried"] + self.columns["dead_lettered"]

    @property
    def attempts(self) -> int:
        """All attempts, those that say nothing about the receiver included."""
        return self.delivered + self.failed + self.columns["inconclusive"]

    @property
    def error_rate(self) -> float | None:
        """Which part failed of those that say something about the receiver, 0 to 1; ``None`` if there were none."""
        told = self.delivered + self.failed
        return self.failed / told if told else None

    @property
    def status_classes(self) -> dict[str, int]:
        """Attempts by status class: ``2xx`` to ``5xx``, and ``none``."""
        return {name: self.columns[f"status_{name}"] for name in ("2xx", "3xx", "4xx", "5xx", "none")}

    @property
    def latency_p50_ms(self) -> float | None:
        """Half of what was answered or timed out took no longer; ``None`` if there was nothing."""
        return percentile(self.columns, 0.5)

    @property
    def latency_p95_ms(self) -> float | None:
        """19 of 20 that were answered or timed out took no longer; ``None`` if there was nothing."""
        return percentile(self.columns, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket(Counts):
    """What became of the attempts of one hour or day, which begins at ``starts_at``."""

    starts_at: datetime


@dataclass(frozen=True, slots=True)
class Statistics:
    """What became of attempts from ``since`` to before ``until``, in all and by the bucket; no bucket is left out."""

    since: datetime
    until: datetime
    total: Counts
    buckets: list[Bucket]


@dataclass(frozen=True, slots=True)
class TypeCounts:
    """How many events there were of each type."""

    counts: Mapping[str, int]
    since: datetime | None = None
    """When the oldest that was counted happened, if there were more than are counted; else all were."""

    @property
    def total(self) -> int:
        """How many events were counted."""
        return sum(self.counts.values())


class Period(NamedTuple):
    """From ``since`` to before ``until``, both beginnings of a bucket of ``per``: ``hour`` or ``day`` (UTC)."""

    since: datetime
    until: datetime
    per: str


def period(since: datetime | None = None, until: datetime | None = None, *, per: str = "hour", now: datetime) -> Period:
    """Return the whole buckets that hold ``since`` to ``until``; by default the last 24 hours, or 30 days.

    Raises:
        InvalidInput: ``bad_period``, there is no such bucket, it ends before it begins, or has too many buckets.
    """
    if per not in STEPS:
        raise exceptions.InvalidInput("A bucket is an hour or a day.", code="bad_period")
    step = STEPS[per]
    last = _beginning(until or now, per)
    if last < (until or now):
        last += step
    first = _beginning(since, per) if since else last - step * (24 if per == "hour" else 30)
    if not first < last or last - first > step * MAX_BUCKETS:
        message = f"Ask for at least one and at most {MAX_BUCKETS} buckets, the earlier time first."
        raise exceptions.InvalidInput(message, code="bad_period")
    return Period(first, last, per)


def of_endpoint(endpoint_id: str, wanted: Period, *, using: str) -> Statistics:
    """Return the statistics of one endpoint; one query."""
    return _of(EndpointHour.objects.using(using).filter(endpoint_id=endpoint_id), wanted)


def of_owner(owner: Owner, wanted: Period, *, using: str) -> Statistics:
    """Return the statistics of a tenant, or of a whole application; one query."""
    return _of(EndpointHour.objects.using(using).filter(endpoint__in=_endpoints(owner, using)), wanted)


def types_of_owner(owner: Owner, wanted: Period, *, using: str) -> TypeCounts:
    """Count the newest events of a tenant in a period by type, up to :data:`COUNTED`; one query along its list."""
    rows = Event.objects.using(using).filter(application_id=owner.application_id, tenant_id=owner.tenant_id)
    rows = rows.filter(created_at__gte=wanted.since, created_at__lt=wanted.until).order_by("-created_at", "-id")
    found = list(rows.values_list("event_type", "created_at")[: COUNTED + 1])
    counted = found[:COUNTED]
    counts = Counter(event_type for event_type, _created_at in counted)
    return TypeCounts(counts, counted[-1][1] if len(found) > COUNTED else None)


def of_all(wanted: Period, *, using: str) -> Statistics:
    """Return the statistics of everything; one query."""
    return _of(EndpointHour.objects.using(using), wanted)


def totals_by_endpoint(endpoint_ids: Collection[str], wanted: Period, *, using: str) -> dict[str, Counts]:
    """Return what became of each endpoint's attempts; one query. Every id given is there."""
    return _by(
        EndpointHour.objects.using(using).filter(endpoint_id__in=endpoint_ids), "endpoint_id", endpoint_ids, wanted
    )


def series_by_endpoint(endpoint_ids: Collection[str], wanted: Period, *, using: str) -> dict[str, Statistics]:
    """Return the statistics of each endpoint, as for a list of small charts; one query."""
    rows = _within(EndpointHour.objects.using(using).filter(endpoint_id__in=endpoint_ids), wanted)
    hours: dict[str, list[dict[str, Any]]] = {key: [] for key in endpoint_ids}
    for row in rows.values("endpoint_id", "hour", *COUNTS):
        hours[row["endpoint_id"]].append(row)
    return {key: _in_buckets(found, wanted) for key, found in hours.items()}


def totals_by_tenant(
    application_id: str, tenant_ids: Collection[str], wanted: Period, *, using: str
) -> dict[str, Counts]:
    """Return what became of each tenant's attempts; one query. Every tenant given is there."""
    hours = EndpointHour.objects.using(using).filter(
        endpoint__application_id=application_id, endpoint__tenant_id__in=tenant_ids
    )
    return _by(hours, "endpoint__tenant_id", tenant_ids, wanted)


def count(rows: "models.QuerySet[Any]") -> Capped:
    """Count rows up to :data:`COUNTED`."""
    found = rows.order_by()[: COUNTED + 1].count()
    return Capped(min(found, COUNTED), found > COUNTED)


def pending(endpoint_ids: Collection[str] | None = None, *, using: str) -> Capped:
    """Count deliveries that are not settled: of some endpoints, or of all."""
    rows = Delivery.objects.using(using).pending()
    return count(rows.of_anybody() if endpoint_ids is None else rows.filter(endpoint_id__in=endpoint_ids))


def held(endpoint_ids: Collection[str] | None = None, *, using: str) -> Capped:
    """Count deliveries that wait until their endpoint is enabled: of some endpoints, or of all."""
    disabled = Endpoint.objects.using(using).filter(enabled=False, deleted_at__isnull=True)
    if endpoint_ids is not None:
        disabled = disabled.filter(pk__in=endpoint_ids)
    return pending(list(disabled.values_list("pk", flat=True)[:COUNTED]), using=using)


def in_dlq(endpoint_ids: Collection[str] | None = None, *, using: str) -> Capped:
    """Count open DLQ entries: of some endpoints, or of all."""
    rows = DLQEntry.objects.using(using).open()
    return count(rows if endpoint_ids is None else rows.filter(endpoint_id__in=endpoint_ids))


def oldest_due(*, now: datetime, using: str) -> datetime | None:
    """Return since when the longest waiting delivery of an enabled endpoint is due; ``None`` if none is.

    One look into an index for each endpoint, so that no backlog of a disabled one is waded through.
    """
    waiting = Delivery.objects.using(using).pending().filter(endpoint_id=models.OuterRef("pk"))
    first = models.Subquery(waiting.order_by("next_attempt_at").values("next_attempt_at")[:1])
    found = Endpoint.objects.using(using).open().annotate(first=first).aggregate(oldest=models.Min("first"))["oldest"]
    return found if found is not None and found <= now else None


def _endpoints(owner: Owner, using: str) -> "models.QuerySet[Endpoint]":
    rows = Endpoint.objects.using(using).filter(application_id=owner.application_id)
    return rows if owner.tenant_id is None else rows.filter(tenant_id=owner.tenant_id)


def _beginning(moment: datetime, per: str) -> datetime:
    hour = hour_of(moment)
    return hour if per == "hour" else hour.replace(hour=0)


def _within(hours: "models.QuerySet[EndpointHour]", wanted: Period) -> "models.QuerySet[EndpointHour]":
    return hours.filter(hour__gte=wanted.since, hour__lt=wanted.until)


def _of(hours: "models.QuerySet[EndpointHour]", wanted: Period) -> Statistics:
    sums = _within(hours, wanted).order_by().values("hour").annotate(**_SUMS)
    return _in_buckets(({"hour": row["hour"], **_read(row)} for row in sums), wanted)


def _by(hours: "models.QuerySet[EndpointHour]", name: str, keys: Collection[str], wanted: Period) -> dict[str, Counts]:
    sums = _within(hours, wanted).order_by().values(name).annotate(**_SUMS)
    return {**{key: Counts() for key in keys}, **{row[name]: Counts(_read(row)) for row in sums}}


_SUMS = {f"total_{name}": models.Sum(name) for name in COUNTS}


def _read(row: Mapping[str, Any]) -> dict[str, int]:
    return {name: row[f"total_{name}"] for name in COUNTS}


def _in_buckets(hours: Iterable[Mapping[str, Any]], wanted: Period) -> Statistics:
    step = STEPS[wanted.per]
    columns: dict[datetime, dict[str, int]] = {}
    moment = wanted.since
    while moment < wanted.until:
        columns[moment] = dict.fromkeys(COUNTS, 0)
        moment += step
    total = dict.fromkeys(COUNTS, 0)
    for hour in hours:
        bucket = columns[_beginning(hour["hour"], wanted.per)]
        for name in COUNTS:
            bucket[name] += hour[name]
            total[name] += hour[name]
    buckets = [Bucket(counts, starts_at=starts_at) for starts_at, counts in columns.items()]
    return Statistics(wanted.since, wanted.until, Counts(total), buckets)
