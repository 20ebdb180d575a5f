"""Endpoint hours: what came back of an endpoint's attempts, counted by the hour.

Charts, statistics and endpoint health read these few rows instead of counting deliveries. Each attempt is counted once:

- by outcome: ``delivered``, ``retried``, ``dead_lettered``, or ``inconclusive``, which is what says nothing about the
  receiver: a fault of our own side (``local_error``) and a worker that vanished (``unknown``). An inconclusive attempt
  is counted in no other column;
- by status class: ``status_2xx`` to ``status_5xx``, or ``status_none`` for no status, or one outside 200 to 599;
- ``timeouts``, if it reached the receiver and the deadline passed;
- by latency, if it was answered or timed out: in the narrowest of :data:`LATENCY_MS` that it fits.

What reached nothing is counted alike, whatever kept it (:mod:`django_relay.rules.failures`): tenants see these counts.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import connections, models
from django.utils.translation import gettext_lazy as _

from django_relay import ids
from django_relay.fields import PrefixedIdField
from django_relay.models.endpoint import Endpoint

if TYPE_CHECKING:
    from django_relay.models.lease import Settled

INCONCLUSIVE = frozenset({"local_error", "unknown"})
"""Error kinds that say nothing about the receiver."""

LATENCY_MS = {
    "within_25_ms": 25,
    "within_50_ms": 50,
    "within_100_ms": 100,
    "within_250_ms": 250,
    "within_500_ms": 500,
    "within_1000_ms": 1_000,
    "within_2500_ms": 2_500,
    "within_5000_ms": 5_000,
    "within_10000_ms": 10_000,
    "within_30000_ms": 30_000,
}
"""The columns of the histogram, each with its upper bound in milliseconds. A column counts what was slower than the one
before it; the last one, which ends at the longest deadline there is, also holds what was slower still."""

_OUTCOMES = ("delivered", "retried", "dead_lettered", "inconclusive")
_CLASSES = ("status_2xx", "status_3xx", "status_4xx", "status_5xx", "status_none")
COUNTS = (*_OUTCOMES, *_CLASSES, "timeouts", *LATENCY_MS)
"""Every column that counts."""

_DELIVERED, _RETRIED, _DEAD, _INCONCLUSIVE = map(COUNTS.index, _OUTCOMES)
_2XX, _NONE, _TIMEOUTS = map(COUNTS.index, ("status_2xx", "status_none", "timeouts"))
_FASTEST, _SLOWEST = COUNTS.index("within_25_ms"), COUNTS.index("within_30000_ms")
_BOUNDS = tuple(LATENCY_MS.values())


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour, in UTC, that ``moment`` is in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def percentile(counts: Mapping[str, int], fraction: float) -> float | None:
    """Estimate below which latency, in milliseconds, ``fraction`` of the attempts lie; ``None`` if there are none.

    ``counts`` are those of one hour or of many (:meth:`EndpointHourQuerySet.totals`); ``0.95`` asks for the p95. Within
    a column latencies are taken to be spread evenly, so the error is at most the column's width.
    """
    wanted = fraction * sum(counts[name] for name in LATENCY_MS)
    below, lower = 0, 0
    found: float | None = None
    for name, upper in LATENCY_MS.items():
        here = counts[name]
        if here:
            found = lower + (upper - lower) * min(max(wanted - below, 0) / here, 1)
            if below + here >= wanted:
                break
        below, lower = below + here, upper
    return found


class EndpointHourQuerySet(models.QuerySet["EndpointHour"]):
    """Hours added to and added up."""

    def add(self, settled: Sequence["Settled"], now: datetime) -> None:
        """Count each attempt into its endpoint's hour of ``now``.

        One ``INSERT … ON CONFLICT DO UPDATE`` that adds to what stands there, the same on every database, with the
        endpoints in order, so that two workers never wait for each other in a circle. A row stays locked until the
        transaction ends: call it last.
        """
        counts = _count(settled)
        connection = connections[self.db]
        hour = self.model._meta.get_field("hour").get_db_prep_save(hour_of(now), connection)
        adapt = self.model._meta.pk.get_db_prep_value
        rows = [
            (
                adapt(ids.to_uuid(ids.new("hour_"), prefix="hour_"), connection, prepared=True),
                adapt(ids.to_uuid(endpoint_id, prefix="ep_"), connection, prepared=True),
                hour,
                str(counts[endpoint_id])[1:-1],
            )
            for endpoint_id in sorted(counts)
        ]
        size = max(connection.ops.bulk_batch_size(["id", "endpoint_id", "hour"], rows), 1)
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            # The counts are integers of our own making: as literals they leave the parameters to the rest.
            marks = ", ".join(f"(%s, %s, %s, {row[3]})" for row in batch)
            with connection.cursor() as cursor:
                cursor.execute(_UPSERT.format(marks=marks), [value for row in batch for value in row[:3]])

    def totals(self) -> dict[str, int]:
        """Return the sum of every column over these hours, by its name."""
        sums = self.aggregate(**{f"total_{name}": models.Sum(name, default=0) for name in COUNTS})
        return {name: sums[f"total_{name}"] for name in COUNTS}

    def failures_since(self, moments: Mapping[str, datetime]) -> dict[str, int]:
        """Return how often each endpoint, given by id, failed since a moment; one that did not fail may be missing.

        Hours count whole. The hour of the moment itself counts if nothing was delivered in it: otherwise its failures
        may be older than the success that the moment comes after.
        """
        wanted = models.Q()
        for endpoint_id, moment in moments.items():
            first = hour_of(moment)
            hours = models.Q(hour__gt=first) | models.Q(hour=first, delivered=0)
            wanted |= models.Q(hours, endpoint_id=endpoint_id)
        if not moments:
            return {}
        failures = models.Sum(models.F("retried") + models.F("dead_lettered"))
        return dict(
            self.filter(wanted).values("endpoint_id").annotate(failures=failures).values_list("endpoint_id", "failures")
        )


class EndpointHour(models.Model):
    """What came back of one endpoint's attempts in one hour, which begins at ``hour``."""

    id = PrefixedIdField("hour_", primary_key=True)
    # Without a constraint: checking one takes a lock on the endpoint, which a host's transaction may hold for long.
    endpoint = models.ForeignKey(
        Endpoint,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="hours",
        verbose_name=_("endpoint"),
    )
    hour = models.DateTimeField(_("hour"))
    delivered = models.IntegerField(_("delivered"), default=0)
    retried = models.IntegerField(_("failed, to be retried"), default=0)
    dead_lettered = models.IntegerField(_("failed, given up"), default=0)
    inconclusive = models.IntegerField(_("inconclusive"), default=0)
    status_2xx = models.IntegerField("2xx", default=0)
    status_3xx = models.IntegerField("3xx", default=0)
    status_4xx = models.IntegerField("4xx", default=0)
    status_5xx = models.IntegerField("5xx", default=0)
    status_none = models.IntegerField(_("no status"), default=0)
    timeouts = models.IntegerField(_("time-outs"), default=0)
    within_25_ms = models.IntegerField("≤ 25 ms", default=0)
    within_50_ms = models.IntegerField("≤ 50 ms", default=0)
    within_100_ms = models.IntegerField("≤ 100 ms", default=0)
    within_250_ms = models.IntegerField("≤ 250 ms", default=0)
    within_500_ms = models.IntegerField("≤ 500 ms", default=0)
    within_1000_ms = models.IntegerField("≤ 1 s", default=0)
    within_2500_ms = models.IntegerField("≤ 2.5 s", default=0)
    within_5000_ms = models.IntegerField("≤ 5 s", default=0)
    within_10000_ms = models.IntegerField("≤ 10 s", default=0)
    within_30000_ms = models.IntegerField("≤ 30 s", default=0)

    objects = EndpointHourQuerySet.as_manager()

    class Meta:
        verbose_name = _("endpoint hour")
        verbose_name_plural = _("endpoint hours")
        indexes = [models.Index(fields=["hour"], name="relay_endpoint_hour_age")]
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "hour"], name="relay_endpoint_hour_once"),
        ]

    def __str__(self) -> str:
        return str(self.id)


_TABLE = f'"{EndpointHour._meta.db_table}"'
_UPSERT = (
    f"INSERT INTO {_TABLE} (id, endpoint_id, hour, {', '.join(COUNTS)}) VALUES {{marks}} "
    "ON CONFLICT (endpoint_id, hour) DO UPDATE SET "
    + ", ".join(f"{name} = {_TABLE}.{name} + excluded.{name}" for name in COUNTS)
)


def _count(settled: Sequence["Settled"]) -> dict[str, list[int]]:
    """Return, by endpoint, how much is to be added to each of :data:`COUNTS`."""
    counts: dict[str, list[int]] = {}
    for item in settled:
        endpoint_id = item.lease.endpoint_id
        row = counts.get(endpoint_id)
        if row is None:
            row = counts[endpoint_id] = [0] * len(COUNTS)
        for column in _columns(item):
            row[column] += 1
    return counts


def _columns(item: "Settled") -> tuple[int, ...]:
    outcome = item.outcome
    status_code, kind = outcome.status_code, outcome.error_kind
    if kind in INCONCLUSIVE:
        return (_INCONCLUSIVE,)
    what = _RETRIED
    if item.decision.action == "delivered":
        what = _DELIVERED
    elif item.is_dead:  # under a lost lease nothing is given up: the delivery is in other hands
        what = _DEAD
    if status_code is not None:
        status = _2XX + status_code // 100 - 2 if 200 <= status_code <= 599 else _NONE
        return what, status, min(_FASTEST + bisect_left(_BOUNDS, outcome.duration_ms), _SLOWEST)
    if kind == "timeout":
        return what, _NONE, _TIMEOUTS, min(_FASTEST + bisect_left(_BOUNDS, outcome.duration_ms), _SLOWEST)
    return what, _NONE
