"""Statistics and health."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import fields
from django_relay.api.endpoints import EndpointResource
from django_relay.api.resources import Resource, operation
from django_relay.models import Endpoint, WorkerPresence, statistics

_MOST = 2**53


class CappedShown(fields.Shown):
    """A count that stops at 10,000."""

    count = fields.Whole(min_value=0, max_value=statistics.COUNTED)
    has_more = fields.Flag(help_text="There are more than that.")


class CountsShown(fields.Shown):
    """What became of attempts."""

    attempts = fields.Whole(min_value=0, max_value=_MOST)
    delivered = fields.Whole(min_value=0, max_value=_MOST)
    retried = fields.Whole(min_value=0, max_value=_MOST, source="columns.retried")
    dead_lettered = fields.Whole(min_value=0, max_value=_MOST, source="columns.dead_lettered")
    inconclusive = fields.Whole(min_value=0, max_value=_MOST, source="columns.inconclusive")
    timeouts = fields.Whole(min_value=0, max_value=_MOST, source="columns.timeouts")
    status_classes = fields.Mapped(help_text="Counts of 2xx, 3xx, 4xx, 5xx and none.")
    error_rate = fields.Number(allow_null=True, help_text="0 to 1; null without attempts.")
    latency_p50_ms = fields.Number(allow_null=True)
    latency_p95_ms = fields.Number(allow_null=True)


class BucketShown(CountsShown):
    """What became of the attempts of one hour or day."""

    starts_at = fields.Moment()


class StatisticsShown(fields.Shown):
    """What became of attempts, in all and by the hour or day; from hourly counts."""

    since = fields.Moment()
    until = fields.Moment()
    total = CountsShown()
    buckets = BucketShown(many=True)


class PeriodQuery(fields.Owned):
    """Which time, in whole buckets; by default the last 24 hours, or 30 days."""

    since = fields.Moment(required=False)
    until = fields.Moment(required=False)
    per = fields.Choice(tuple(statistics.STEPS), required=False, help_text="Default hour.")


class HealthShown(fields.Shown):
    """How the sending goes."""

    status = fields.Choice(("ok", "no_worker", "late"), help_text="late: something is due for more than a minute.")
    workers_alive = fields.Whole(min_value=0, max_value=_MOST)
    pending = CappedShown()
    held = CappedShown()
    oldest_due_at = fields.Moment(allow_null=True)
    oldest_due_age_seconds = fields.Number(allow_null=True)
    in_dlq = CappedShown()
    disabled_endpoints = CappedShown()
    last_hours = CountsShown(help_text="Of the hour before and of this one.")


LATE = timedelta(minutes=1)


class EndpointStatistics(EndpointResource):
    """How one endpoint fares."""

    tag = "Statistics"

    @operation("read", "Show an endpoint's statistics", query=PeriodQuery, answers={200: StatisticsShown}, may=(404,))
    def retrieve(self, request: Request, endpoint_id: str) -> Response:
        """Return counts by outcome and status class, and latencies."""
        row = self.endpoint(endpoint_id)
        period = statistics.period(now=timezone.now(), **_asked(self))
        return Response(StatisticsShown(statistics.of_endpoint(row.pk, period, using=self.using)).data)


class Statistics(Resource):
    """How everything fares."""

    tag = "Statistics"

    @operation(
        "read", "Show statistics", query=PeriodQuery, answers={200: StatisticsShown}, operator_only=True, may=(404,)
    )
    def retrieve(self, request: Request) -> Response:
        """Return counts of an application, a tenant, or of everything if neither is named."""
        period = statistics.period(now=timezone.now(), **_asked(self))
        if {"application", "tenant_id"} & self.query.keys():
            found = statistics.of_owner(self.owner, period, using=self.using)
        else:
            found = statistics.of_all(period, using=self.using)
        return Response(StatisticsShown(found).data)

    @operation("read", "Show health", query=fields.Query, answers={200: HealthShown}, operator_only=True)
    def health(self, request: Request) -> Response:
        """Return what waits, since when, and who works."""
        now = timezone.now()
        alive = len(WorkerPresence.objects.using(self.using).alive(now))
        oldest = statistics.oldest_due(now=now, using=self.using)
        age = None if oldest is None else now - oldest
        status = "no_worker" if not alive else "late" if age is not None and age > LATE else "ok"
        disabled = Endpoint.objects.using(self.using).filter(enabled=False, deleted_at__isnull=True)
        period = statistics.period(now - timedelta(hours=1), now, now=now)
        shown = {
            "status": status,
            "workers_alive": alive,
            "pending": statistics.pending(using=self.using),
            "held": statistics.held(using=self.using),
            "oldest_due_at": oldest,
            "oldest_due_age_seconds": None if age is None else age.total_seconds(),
            "in_dlq": statistics.in_dlq(using=self.using),
            "disabled_endpoints": statistics.count(disabled),
            "last_hours": statistics.of_all(period, using=self.using).total,
        }
        return Response(HealthShown(shown).data)


def _asked(view: Resource) -> dict[str, Any]:
    return {name: view.query[name] for name in ("since", "until", "per") if name in view.query}
