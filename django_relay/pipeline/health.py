"""After step 5: what attempts say of their endpoints is kept; those that are gone or only fail are disabled.

============================================ =============================================== =======================
what came back                               changes                                         is told
============================================ =============================================== =======================
2xx                                          ``last_success_at``; ``failing_since`` ends     ``endpoint_recovered``
a failure after a success                    ``failing_since`` begins                        ``endpoint_failing``
a failure, the first one ``DISABLE_AFTER``   disabled, reason ``failing``                    ``endpoint_disabled``
ago and ``DISABLE_MIN_FAILURES`` since
410                                          disabled, reason ``gone``                       ``endpoint_disabled``
``local_error``, ``unknown``                 nothing: they say nothing of the receiver       nothing
anything of a test                           nothing                                         nothing
============================================ =============================================== =======================

A success and failures in one batch are a success. Each change is told once, whoever many workers see it. Endpoints that
are disabled already, or deleted, keep noting successes, and nothing is told of them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from django_relay import conf
from django_relay.models import Endpoint, EndpointHour, facts, writing
from django_relay.models.endpoint_hour import INCONCLUSIVE
from django_relay.models.lease import Settled

FRESH = timedelta(seconds=5)
"""What was read or written of an endpoint's health so lately is not read or written again for a batch that says the
same: the row of a busy endpoint must not be rewritten by every batch."""

_KNOWN = ("last_success_at", "failing_since", "enabled", "disabled_reason", "disabled_at")


@dataclass(slots=True)
class _Seen:
    """What one batch says of an endpoint."""

    instances: list[Endpoint]
    """The endpoint as the worker knows it; more than one if it was read anew between two leases, the newest last."""
    succeeded: Settled | None = None
    gone: Settled | None = None
    failed: bool = False


def keep(settled: Sequence[Settled], *, now: datetime, using: str) -> list[Settled]:
    """Keep the health of the endpoints that a batch was sent to; call it when the batch has been recorded.

    In a transaction of its own, in a number of statements that does not grow with the batch, and never waiting for a
    row that somebody else holds: a host's long transaction about one endpoint must not stop deliveries to all. Costs no
    statement at all when the leases' own endpoint instances show that nothing changes. Those are brought up to date
    after commit.

    Returns what would have disabled an endpoint or ended its failing, and was passed over because its row was held:
    give it again with the next batch.
    """
    seen = _look(settled)
    news = {endpoint_id: found for endpoint_id, found in seen.items() if _is_news(found, now)}
    return _write(news, now=now, using=using) if news else []


def _look(settled: Sequence[Settled]) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}
    for item in settled:
        if item.outcome.error_kind in INCONCLUSIVE or item.is_test:
            continue
        endpoint = item.lease.ready.endpoint
        found = seen.get(endpoint.pk)
        if found is None:
            found = seen[endpoint.pk] = _Seen([endpoint])
        elif endpoint is not found.instances[-1]:
            found.instances.append(endpoint)
        if item.decision.action == "delivered":
            found.succeeded = item
        else:
            found.failed = True
            if item.decision.disable_endpoint:
                found.gone = item
    return seen


def _is_news(seen: _Seen, now: datetime) -> bool:
    """Return whether the batch may change what the worker knows of the endpoint."""
    known = seen.instances[-1]
    if seen.gone is not None:
        return True
    if seen.succeeded is not None:
        return known.failing_since is not None or not _is_fresh(known.last_success_at, now)
    return known.failing_since is None or not _is_fresh(known.health_read_at, now)


def _is_fresh(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and now - moment < FRESH


@writing.in_transaction
def _write(news: Mapping[str, _Seen], *, now: datetime, using: str) -> list[Settled]:
    endpoints = Endpoint.objects.using(using)
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    free = endpoints.filter(pk__in=news).order_by("pk").select_for_update(skip_locked=skip_locked, no_key=True)
    rows = {row.pk: row for row in free.defer("headers")}
    worn_out = _worn_out([row for row in rows.values() if not news[row.pk].succeeded], now=now, using=using)
    changed: dict[tuple[tuple[str, Any], ...], list[str]] = defaultdict(list)
    told: list[tuple[str, Endpoint]] = []
    for row in rows.values():
        reason = Endpoint.Reason.GONE if news[row.pk].gone else Endpoint.Reason.FAILING if row.pk in worn_out else ""
        values, fact = _change(row, news[row.pk], reason, now)
        if values:
            changed[tuple(values.items())].append(row.pk)
        for name, value in values.items():
            setattr(row, name, value)
        if fact:
            told.append((fact, row))
    for items, found in changed.items():
        endpoints.filter(pk__in=found).update(**dict(items))
    writing.after_commit(_learn, rows, news, now, using=using)
    facts.tell(told, now=now, using=using)
    return _passed_over({key: seen for key, seen in news.items() if key not in rows}, using=using)


def _worn_out(rows: Sequence[Endpoint], *, now: datetime, using: str) -> set[str]:
    """Return those that did nothing but fail for too long, and often enough."""
    after = conf.settings.DISABLE_AFTER
    if after is None:
        return set()
    since = {
        row.pk: row.failing_since
        for row in rows
        if row.enabled and row.failing_since is not None and row.failing_since <= now - after
    }
    failures = EndpointHour.objects.using(using).failures_since(since) if since else {}
    return {endpoint_id for endpoint_id, count in failures.items() if count >= conf.settings.DISABLE_MIN_FAILURES}


def _change(row: Endpoint, seen: _Seen, reason: str, now: datetime) -> tuple[dict[str, Any], str]:
    """Return what is to be written of an endpoint, and the fact that is to be told of it, if any."""
    values: dict[str, Any] = {}
    fact = ""
    if seen.succeeded is not None:
        if row.failing_since is not None or not _is_fresh(row.last_success_at, now):
            values = {"last_success_at": now, "failing_since": None}
        if row.failing_since is not None and row.enabled:
            fact = "endpoint.recovered"
    elif row.failing_since is None and row.enabled:
        values, fact = {"failing_since": now}, "endpoint.failing"
    if reason and row.enabled:
        return {**values, **Endpoint.disabling(reason, at=now)}, "endpoint.disabled"
    return values, fact


def _learn(rows: Mapping[str, Endpoint], news: Mapping[str, _Seen], now: datetime) -> None:
    """Tell the worker's instances what stands in the database."""
    for endpoint_id, row in rows.items():
        for instance in news[endpoint_id].instances:
            instance.health_read_at = now
            for name in _KNOWN:
                setattr(instance, name, getattr(row, name))


def _passed_over(news: Mapping[str, _Seen], *, using: str) -> list[Settled]:
    """Return what must not be lost although its endpoint's row was held: one 410 and one end of failing each."""
    if not news:
        return []
    held = dict(Endpoint.objects.using(using).filter(pk__in=news).values_list("pk", "failing_since"))
    gone = [seen.gone for endpoint_id, seen in news.items() if seen.gone and endpoint_id in held]
    recovered = [seen.succeeded for endpoint_id, seen in news.items() if seen.succeeded and held.get(endpoint_id)]
    return [*gone, *recovered]
