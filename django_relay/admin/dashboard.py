"""The dashboard: how webhooks do, in a fixed number of queries, each figure a link to the list behind it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import router
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from django_relay.admin import cells
from django_relay.models import Delivery, DLQEntry, WorkerPresence, rankings, statistics
from django_relay.portal import charts

SPANS = ("24h", "7d")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, what it says, and where it leads."""

    label: str
    value: str
    url: str
    kind: str = ""
    """``bad`` or ``warn`` if somebody should look."""
    note: str = ""


def of(request: HttpRequest, *, site: str = "admin") -> dict[str, Any]:
    """Return what the person may see of how webhooks do."""
    user, now = request.user, timezone.now()
    using = router.db_for_write(Delivery)
    asked = request.GET.get("span", "")
    span = asked if asked in SPANS else SPANS[0]
    context: dict[str, Any] = {"span": span, "spans": SPANS, "figures": []}
    if user.has_perm("django_relay.view_delivery"):
        period = charts.period(span, now=now)
        stats = statistics.of_all(period, using=using)
        context |= {"stats": stats, "chart": charts.of_outcomes(stats.buckets), "growth": _growth(stats)}
        context["deliveries_url"] = cells.url_of(Delivery, site=site)
        context["figures"] += _delivery_figures(stats, now, site, using)
    if user.has_perm("django_relay.view_dlqentry"):
        context["dlq_url"] = cells.url_of(DLQEntry, site=site, query="?state=open")
        context["figures"].append(_dlq_figure(site, using))
    else:
        context.pop("growth", None)
    if user.has_perm("django_relay.view_workerpresence"):
        context["figures"].append(_worker_figure(now, site, using))
    if user.has_perm("django_relay.view_endpoint"):
        period = charts.period(span, now=now)
        context["failing"] = rankings.most_failing(period, using=using)
        context["slowest"] = rankings.slowest(period, using=using)
    return context


def _delivery_figures(stats: statistics.Statistics, now: datetime, site: str, using: str) -> list[Figure]:
    oldest = statistics.oldest_due(now=now, using=using)
    waits = (now - oldest).total_seconds() if oldest is not None else 0
    pending, held = statistics.pending(using=using), statistics.held(using=using)
    url = cells.url_of(Delivery, site=site)
    rate = stats.total.error_rate
    return [
        Figure(_("Attempts"), f"{stats.total.attempts:,}", url),
        Figure(_("Failed"), cells.share(rate), f"{url}?state=failed", "warn" if rate and rate > 0.05 else ""),
        Figure(
            _("Oldest due"),
            _seconds(waits) if oldest else cells.NOTHING,
            f"{url}?state=pending",
            "bad" if waits > 300 else "warn" if waits > 60 else "",
            _("since a delivery waits for a worker") if oldest else _("no delivery waits"),
        ),
        Figure(_("Pending"), str(pending), f"{url}?state=pending", "", _("%(held)s held") % {"held": held}),
    ]


def _dlq_figure(site: str, using: str) -> Figure:
    count = statistics.in_dlq(using=using)
    url = cells.url_of(DLQEntry, site=site, query="?state=open")
    return Figure(_("Open in the DLQ"), str(count), url, "bad" if count.count else "")


def _worker_figure(now: datetime, site: str, using: str) -> Figure:
    alive = WorkerPresence.objects.using(using).alive(now)
    in_flight = sum(presence.in_flight for presence in alive)
    note = _("%(count)d requests in flight") % {"count": in_flight} if alive else _("nothing is sent")
    return Figure(
        _("Workers alive"), str(len(alive)), cells.url_of(WorkerPresence, site=site), "" if alive else "bad", note
    )


def _growth(stats: statistics.Statistics) -> charts.Chart:
    return charts.stack([(bucket.starts_at, {"bad": bucket.columns["dead_lettered"]}) for bucket in stats.buckets])


def _seconds(seconds: float) -> str:
    for size, name in ((86_400, _("d")), (3_600, _("h")), (60, _("min"))):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
