"""Activity: how much was sent, what came back, and of which types."""

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from django_relay.models import Endpoint, statistics
from django_relay.portal import charts, frame
from django_relay.portal.visits import Visit

_BUSIEST = 10


@frame.page()
def show(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """Show the tenant's volume, answers, latency, busiest endpoints and types."""
    span = str(request.GET.get("span") if request.GET.get("span") in charts.SPANS else "24h")
    period = charts.period(span, now=timezone.now())
    stats = statistics.of_owner(visit.owner, period, using=visit.using)
    rows = _endpoints(visit)
    totals = statistics.totals_by_endpoint([row.pk for row in rows], period, using=visit.using)
    ranked = sorted(rows, key=lambda row: totals[row.pk].attempts, reverse=True)[:_BUSIEST]
    types = statistics.types_of_owner(visit.owner, period, using=visit.using)
    context = {
        "section": "activity",
        "span": span,
        "spans": charts.SPANS,
        "stats": stats,
        "chart": charts.of_outcomes(stats.buckets),
        "answers": charts.of_status_classes(stats.buckets),
        "endpoints": [{"endpoint": row, "total": totals[row.pk]} for row in ranked if totals[row.pk].attempts],
        "types": [
            (name, count, count / types.total)
            for name, count in sorted(types.counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_BUSIEST]
        ],
        "counted": types,
    }
    return frame.show(request, visit, "activity/activity.html", context)


def _endpoints(visit: Visit) -> list[Endpoint]:
    rows = Endpoint.objects.using(visit.using).filter(
        application_id=visit.owner.application_id, tenant_id=visit.owner.tenant_id, deleted_at__isnull=True
    )
    return list(rows.defer("headers").order_by("-pk")[:500])
