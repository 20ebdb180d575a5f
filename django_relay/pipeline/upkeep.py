"""What must be done now and then: retention, destroyed secrets, work stranded by deleted endpoints.

Everything works in short batches and is safe to run anywhere at any time by several workers. Retention never touches an
event or a delivery that is pending or in the DLQ; DLQ entries themselves have a retention of their own.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, models

from django_relay import conf
from django_relay.models import (
    ApiKey,
    Attempt,
    AuditEntry,
    Delivery,
    DLQEntry,
    Endpoint,
    EndpointHour,
    Event,
    JobRun,
    PortalSession,
    PublishFailure,
    Replay,
    SigningSecret,
    WorkerPresence,
    writing,
)
from django_relay.models.delivery import NO_LEASE, WAYS

DLQ_RETENTION_DAYS_MIN = 30
ROUND_SECONDS = 60.0
"""After how long there may be something to do again."""
_WALK_SECONDS = 2.0
"""After how long the next part is looked through, of what takes several."""
_PART = 10
"""How many batches of old rows a chore looks through at a time, for those that nothing keeps."""
_places: dict[tuple[str, str], datetime] = {}
"""How far chores have come that are not at their end, by name and database."""


def tidy(*, now: datetime, using: str) -> float:
    """Do one batch of every chore; return after how many seconds to do the next: 0 where one filled its batch."""
    touched = [chore(now=now, using=using) for chore in CHORES.values()]
    if max(touched) >= conf.settings.RETENTION_BATCH:
        return 0
    return _WALK_SECONDS if any(where == using for _name, where in _places) else ROUND_SECONDS


def tidy_all(*, now: datetime, using: str) -> Iterator[tuple[str, int]]:
    """Do every chore until nothing is left, yielding each batch's name and row count."""
    for name, chore in CHORES.items():
        _places.pop((name, using), None)
        while (touched := chore(now=now, using=using)) or (name, using) in _places:
            yield name, touched


@writing.in_transaction
def cancel_stranded(*, now: datetime, using: str) -> int:
    """Cancel pending deliveries of deleted endpoints, but not those with a request under way."""
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    size = conf.settings.RETENTION_BATCH
    deliveries = Delivery.objects.using(using)
    # One look into an index for each endpoint: planners would read everybody's backlog to find that none is stranded.
    first = models.Subquery(deliveries.unleased(now).filter(endpoint_id=models.OuterRef("pk")).values("pk")[:1])
    deleted = Endpoint.objects.using(using).filter(deleted_at__isnull=False)
    behind = deleted.annotate(first=first).filter(first__isnull=False).values_list("pk", flat=True)[:size]
    stranded = deliveries.unleased(now).filter(endpoint_id__in=list(behind))
    batch = stranded.select_for_update(skip_locked=skip_locked).values_list("pk", flat=True)[:size]
    return deliveries.filter(pk__in=list(batch)).update(
        state=Delivery.State.CANCELLED, completed_at=now, updated_at=now, **NO_LEASE
    )


@writing.in_transaction
def destroy_secrets(*, now: datetime, using: str) -> int:
    """Delete signing secrets whose overlap is over."""
    return _delete(SigningSecret.objects.using(using).expired(now))


@writing.in_transaction
def prune_attempts(*, now: datetime, using: str) -> int:
    """Delete old attempts of settled deliveries that are not in the DLQ."""
    old = now - timedelta(days=conf.settings.ATTEMPT_RETENTION_DAYS)
    attempts = Attempt.objects.using(using).filter(started_at__lt=old)
    kept = (
        Delivery.objects.using(using)
        .filter(pk=models.OuterRef("delivery_id"))
        .filter(models.Q(state=Delivery.State.PENDING) | models.Exists(_entries_of("pk", using)))
    )
    return _prune("attempts", attempts, settled=models.Q(), kept=[models.Exists(kept)], by="started_at")


@writing.in_transaction
def prune_deliveries(*, now: datetime, using: str) -> int:
    """Delete old settled deliveries that are not in the DLQ, once their attempts are gone."""
    # Those whose attempts are kept for longer are not looked at in vain.
    days = max(conf.settings.DELIVERY_RETENTION_DAYS, conf.settings.ATTEMPT_RETENTION_DAYS)
    old = now - timedelta(days=days)
    deliveries = Delivery.objects.using(using)
    attempts = Attempt.objects.using(using).filter(delivery_id=models.OuterRef("pk"))
    replays = deliveries.filter(replay_of_id=models.OuterRef("pk"), state=Delivery.State.PENDING)
    return _prune(
        "deliveries",
        deliveries.filter(created_at__lt=old),
        settled=models.Q(completed_at__lt=old) & ~models.Q(state=Delivery.State.PENDING),
        kept=[models.Exists(one) for one in (_entries_of("pk", using), attempts, replays)],
        by="created_at",
    )


@writing.in_transaction
def prune_events(*, now: datetime, using: str) -> int:
    """Delete old fanned-out events of which nothing is pending or in the DLQ."""
    old = now - timedelta(days=conf.settings.EVENT_RETENTION_DAYS)
    pending = Delivery.objects.using(using).pending().filter(event_id=models.OuterRef("pk"))
    entries = DLQEntry.objects.using(using).filter(event_id=models.OuterRef("pk"))
    return _prune(
        "events",
        Event.objects.using(using).filter(created_at__lt=old),
        settled=~models.Q(status=Event.Status.PENDING),
        # Not whether one is pending, but whether one of each way is: else the whole backlog would be read each time.
        kept=[models.Exists(entries), *(models.Exists(pending.filter(way)) for way in WAYS)],
        by="created_at",
    )


@writing.in_transaction
def prune_dlq(*, now: datetime, using: str) -> int:
    """Delete old DLQ entries, never younger than 30 days nor while their replay is under way."""
    days = max(conf.settings.DLQ_RETENTION_DAYS, DLQ_RETENTION_DAYS_MIN)
    replays = Delivery.objects.using(using).pending().filter(replay_of_id=models.OuterRef("delivery_id"))
    return _delete(
        DLQEntry.objects.using(using).filter(~models.Exists(replays), failed_at__lt=now - timedelta(days=days))
    )


@writing.in_transaction
def prune_publish_failures(*, now: datetime, using: str) -> int:
    """Delete old publish failures."""
    old = now - timedelta(days=conf.settings.PUBLISH_FAILURE_RETENTION_DAYS)
    return _delete(PublishFailure.objects.using(using).filter(created_at__lt=old))


@writing.in_transaction
def prune_hours(*, now: datetime, using: str) -> int:
    """Delete old hourly counts of endpoints."""
    old = now - timedelta(days=conf.settings.HOUR_RETENTION_DAYS)
    return _delete(EndpointHour.objects.using(using).filter(hour__lt=old))


@writing.in_transaction
def prune_api_keys(*, now: datetime, using: str) -> int:
    """Delete API keys that were revoked or expired long ago."""
    old = now - timedelta(days=conf.settings.API_KEY_RETENTION_DAYS)
    return _delete(ApiKey.objects.using(using).ended_before(old))


@writing.in_transaction
def prune_portal_sessions(*, now: datetime, using: str) -> int:
    """Delete portal sessions, used or not, that ended long ago."""
    old = now - timedelta(days=conf.settings.PORTAL_SESSION_RETENTION_DAYS)
    return _delete(PortalSession.objects.using(using).ended_before(old))


@writing.in_transaction
def prune_audit_entries(*, now: datetime, using: str) -> int:
    """Delete old audit entries."""
    old = now - timedelta(days=conf.settings.AUDIT_RETENTION_DAYS)
    return _delete(AuditEntry.objects.using(using).older_than(old))


@writing.in_transaction
def prune_replays(*, now: datetime, using: str) -> int:
    """Delete replays that ended as long ago as deliveries are kept; those of the DLQ may outlive theirs."""
    old = now - timedelta(days=conf.settings.DELIVERY_RETENTION_DAYS)
    return _delete(Replay.objects.using(using).filter(completed_at__lt=old))


@writing.in_transaction
def prune_job_runs(*, now: datetime, using: str) -> int:
    """Forget jobs of which nothing was heard for long."""
    old = now - timedelta(days=conf.settings.JOB_RETENTION_DAYS)
    return _delete(JobRun.objects.using(using).untouched_since(old))


@writing.in_transaction
def prune_presences(*, now: datetime, using: str) -> int:
    """Delete the presences of workers that vanished."""
    return _delete(WorkerPresence.objects.using(using).stale(now))


CHORES: dict[str, Callable[..., int]] = {
    "cancelled deliveries": cancel_stranded,
    "signing secrets": destroy_secrets,
    "DLQ entries": prune_dlq,
    "attempts": prune_attempts,
    "deliveries": prune_deliveries,
    "events": prune_events,
    "publish failures": prune_publish_failures,
    "endpoint hours": prune_hours,
    "API keys": prune_api_keys,
    "portal sessions": prune_portal_sessions,
    "audit entries": prune_audit_entries,
    "replays": prune_replays,
    "job runs": prune_job_runs,
    "workers": prune_presences,
}
"""Every chore by what it touches, in an order in which each frees the next. A source may add one of its own."""


def _entries_of(outer: str, using: str) -> models.QuerySet[DLQEntry]:
    return DLQEntry.objects.using(using).filter(delivery_id=models.OuterRef(outer))


def _prune(
    name: str,
    rows: models.QuerySet[Any],
    *,
    settled: models.Q,
    kept: Collection[models.Exists],
    by: str,
) -> int:
    """Delete a batch of the old rows that are ``settled`` and that nothing keeps; return how many went.

    What is kept stays in front of what is younger, and there may be millions of it. So a look goes through a part, by
    age, and the next one goes on from there; after the last part comes the oldest again.
    """
    size, place = conf.settings.RETENTION_BATCH, (name, rows.db)
    if place in _places:
        rows = rows.filter(**{f"{by}__gt": _places[place]})
    part = _PART * size
    last = rows.order_by(by).values_list(by, flat=True)[part - 1 : part].first()
    if last is not None:
        rows = rows.filter(**{f"{by}__lte": last})
    deleted = _delete(rows.filter(settled, *(~models.Q(one) for one in kept)).order_by(by))
    if deleted < size:
        _places.pop(place, None)
        if last is not None:
            _places[place] = last
    return deleted


def _delete(rows: models.QuerySet[models.Model]) -> int:
    """Delete a batch; return how many went. Large tables must come in the order of an index.

    Unordered, planners would compare all that is old with all of another table, whatever the batch takes of it.
    """
    skip_locked = connections[rows.db].features.has_select_for_update_skip_locked
    locked = rows.select_for_update(skip_locked=skip_locked)  # a replay under way keeps its entry
    batch = list(locked.values_list("pk", flat=True)[: conf.settings.RETENTION_BATCH])
    # The base manager: audit entries refuse to be deleted by anybody else.
    deleted, _by_model = rows.model._base_manager.using(rows.db).filter(pk__in=batch).delete()
    return deleted
