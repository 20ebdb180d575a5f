"""Send again in bulk: durable, in chunks, without delaying what is new.

:func:`start` only writes down what is wanted. A worker then takes the replay chunk by chunk (:func:`advance`), each in
one transaction with its cursor: a worker that dies repeats nothing and leaves nothing out. The endpoints take turns,
and each has at most ``MAX_REPLAY_DUE_PER_ENDPOINT`` deliveries of a replay due at once; the lease's fairness does the
rest. What is held for a disabled endpoint, and what waits for its next retry, is not counted.

Only what there was at the start is matched: ``until`` is never later than that.
"""

import logging
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Unpack

from django.db import InterfaceError, OperationalError, connections, models, router, transaction
from django.utils import timezone

from django_relay import conf, exceptions
from django_relay.models import Delivery, DLQEntry, Endpoint, Event, Replay, TenantLock, writing
from django_relay.models.clock import DatabaseClock
from django_relay.pipeline import matching, wakeup

logger = logging.getLogger(__name__)

CHUNK = 500
"""The most matches of one transaction."""
_LOOKED_AT = 5
"""How many replays one turn looks at, chosen at random, until one has something to do."""


def start(
    kind: str,
    *,
    tenant_id: str,
    application: str = "default",
    actor: str = "",
    using: str | None = None,
    **wanted: Unpack[matching.Wanted],
) -> Replay:
    """Have everything sent again that matches, and return the replay; the workers do it.

    Args:
        kind: ``failed`` sends again what stands open in the DLQ (*recover*); ``missing`` the events that an endpoint
            wants and never got a delivery of (*replay missing*); ``all`` every event it wants, delivered or not;
            ``discard`` sends nothing, and discards what stands open in the DLQ.
        tenant_id: whose.
        application: the slug of the application.
        actor: who asked for it; kept in ``requested_by``, and logged.
        using: the database alias.
        wanted: :class:`matching.Wanted`: ``since``, ``until``, ``event_types``, ``endpoint_ids``, ``entry_ids``.

    Raises:
        InvalidReplay: ``bad_kind``, ``bad_window``, ``since_required``, ``bad_ids``, ``unknown_endpoint``.
        InvalidPattern: of ``event_types``.
        InvalidInput: ``bad_tenant_id``.
        UnknownApplication: no application has that slug.
        LimitReached: ``too_many_replays``, the tenant has ``MAX_REPLAYS_PER_TENANT`` in progress.
    """
    using = using or router.db_for_write(Replay)
    replay = matching.asked(kind, tenant_id, application, now=DatabaseClock(using)(), using=using, **wanted)
    replay.requested_by = actor[:255]
    replay.total_count = matching.count(replay, using=using)
    return _start(replay, using=using)


def count(
    kind: str,
    *,
    tenant_id: str,
    application: str = "default",
    using: str | None = None,
    **wanted: Unpack[matching.Wanted],
) -> int:
    """Return how many deliveries :func:`start` would make now (or entries discard), exactly, and do nothing.

    Takes and raises what :func:`start` does, but for the limit.
    """
    using = using or router.db_for_write(Replay)
    replay = matching.asked(kind, tenant_id, application, now=DatabaseClock(using)(), using=using, **wanted)
    return matching.count(replay, using=using)


def cancel(replay: Replay, *, actor: str = "") -> Replay:
    """End a replay: nothing more is matched. Deliveries that it made already are sent, as any others.

    Raises:
        WrongState: ``not_in_progress``, it has ended already.
    """
    using = replay._state.db or router.db_for_write(Replay)
    now = timezone.now()
    rows = Replay.objects.using(using).in_progress().filter(pk=replay.pk)
    changed = rows.update(state=Replay.State.CANCELLED, completed_at=now, updated_at=now)
    replay.refresh_from_db(using=using)
    if not changed:
        raise exceptions.WrongState(f"The replay is {replay.state} already.", code="not_in_progress")
    _log_after_commit("replay.cancelled", replay, using, actor=actor)
    return replay


def again(event: Event, *, endpoint_ids: Sequence[str] | None = None, actor: str = "") -> Replay:
    """Send one event again, at once, and return the replay, completed; its ``deliveries`` are the new ones.

    Args:
        event: the event, also one that no endpoint wanted.
        endpoint_ids: endpoints of its tenant, whether they want it or not; default those enabled ones that want it as
            they are now. Where a delivery of it is under way, none is made (``skipped``: ``pending``).
        actor: who asked for it; kept in ``requested_by``, and logged.

    Raises:
        NotReplayable: ``event_gone``, ``test_event``; ``not_fanned_out``, it will be sent by itself; ``no_endpoint``,
            nobody wants it; ``already_pending``, it is on its way to all of them.
        InvalidReplay: ``bad_ids``, ``unknown_endpoint``.
    """
    using = event._state.db or router.db_for_write(Event)
    return _again(event.pk, endpoint_ids, actor, now=DatabaseClock(using)(), using=using)


def advance(*, now: datetime, using: str) -> int:
    """Do one chunk of one replay that is in progress; return how much of it was looked at, 0 if none can go on now.

    Costs one query when there is none. A replay that fails is logged and cancelled, and holds up no other.
    """
    found = list(Replay.objects.using(using).in_progress().values_list("pk", flat=True))
    for replay_id in random.sample(found, min(len(found), _LOOKED_AT)):
        try:
            looked_at = _advance(replay_id, now=now, using=using)
        except (OperationalError, InterfaceError):
            raise  # the database's trouble is the worker's to wait for
        except Exception:
            logger.exception(
                "A replay cannot go on, and is cancelled.", extra={"event": "replay.failed", "replay_id": replay_id}
            )
            ended = {"state": Replay.State.CANCELLED, "completed_at": now, "updated_at": now}
            Replay.objects.using(using).in_progress().filter(pk=replay_id).update(**ended)
        else:
            if looked_at:
                return looked_at
    return 0


@writing.in_transaction
def _start(replay: Replay, *, using: str) -> Replay:
    TenantLock.objects.using(using).take(replay.application_id, replay.tenant_id)
    rows = Replay.objects.using(using).in_progress()
    most = conf.settings.MAX_REPLAYS_PER_TENANT
    if rows.filter(application=replay.application_id, tenant_id=replay.tenant_id).count() >= most:
        raise exceptions.LimitReached(
            f"{most} replays are in progress, and no more may be; wait for one, or cancel it.", code="too_many_replays"
        )
    replay.cursor = [[endpoint.pk, ""] for endpoint in matching.named_endpoints(replay, using=using)]
    replay.save(using=using, force_insert=True)
    writing.after_commit(wakeup.wake, using, using=using)
    _log_after_commit("replay.started", replay, using, actor=replay.requested_by)
    return replay


@writing.in_transaction
def _again(event_id: str, endpoint_ids: Sequence[str] | None, actor: str, *, now: datetime, using: str) -> Replay:
    event = Event.objects.using(using).filter(pk=event_id).first()
    if event is None:
        raise exceptions.NotReplayable("The event is no longer stored.", code="event_gone")
    if event.only_endpoint_id is not None:
        raise exceptions.NotReplayable("A test is not sent again; send a new one.", code="test_event")
    if event.status == Event.Status.PENDING:
        raise exceptions.NotReplayable("The event is on its way to all who want it.", code="not_fanned_out")
    replay = Replay(
        application_id=event.application_id, tenant_id=event.tenant_id, kind=Replay.Kind.EVENT, cursor=[],
        filter={"ids": [event_id]}, state=Replay.State.COMPLETED, requested_by=actor[:255],
        created_at=now, updated_at=now, started_at=now, completed_at=now,
    )  # fmt: skip
    if endpoint_ids is not None:
        replay.filter["endpoint_ids"] = matching.valid_ids(endpoint_ids, "ep_")
    chosen = matching.named_endpoints(replay, using=using)
    if endpoint_ids is None:
        chosen = [endpoint for endpoint in chosen if endpoint.enabled and matching.wants(endpoint, event)]
    if not chosen:
        raise exceptions.NotReplayable(
            "No endpoint wants the event; name those that are to get it.", code="no_endpoint"
        )
    replay.endpoint_id = chosen[0].pk if len(chosen) == 1 else None
    replay.total_count = len(chosen)
    for endpoint in chosen:
        taken = matching.of(replay, endpoint, using=using).take([event_id])
        _skip(replay, "pending", 1 - len(taken))
        _send(replay, endpoint, taken, now=now, using=using)
    if not replay.done_count:
        raise exceptions.NotReplayable("The event is on its way to them already.", code="already_pending")
    replay.save(using=using, force_insert=True)
    writing.after_commit(wakeup.wake, using, using=using)
    _log_after_commit("replay.completed", replay, using, actor=actor)
    return replay


# What the workers do


@writing.in_transaction
def _advance(replay_id: str, *, now: datetime, using: str) -> int:
    """Do one chunk of a replay, unless another worker is at it; return how much was looked at."""
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    rows = Replay.objects.using(using).in_progress().select_for_update(skip_locked=skip_locked)
    replay = rows.filter(pk=replay_id).first()
    if replay is None:
        return 0
    looked_at = 1
    if replay.cursor:
        number, room = _turn(replay, now=now, using=using)
        if not room:
            return 0
        endpoint_id, after = replay.cursor.pop(number)
        looked_at += _chunk(replay, endpoint_id, after, min(room, CHUNK), now=now, using=using)
    replay.started_at = replay.started_at or now
    replay.updated_at = now
    replay.state = Replay.State.RUNNING
    if not replay.cursor:
        replay.state, replay.completed_at = Replay.State.COMPLETED, now
        _log_after_commit("replay.completed", replay, using, actor=replay.requested_by)
    replay.save(
        using=using,
        update_fields=["state", "cursor", "done_count", "skipped", "started_at", "updated_at", "completed_at"],
    )
    return looked_at


def _turn(replay: Replay, *, now: datetime, using: str) -> tuple[int, int]:
    """Return whose turn it is, as a place in the cursor, and how many it may have; none while all have enough due."""
    if replay.kind == Replay.Kind.DISCARD:
        return 0, CHUNK
    most = conf.settings.MAX_REPLAY_DUE_PER_ENDPOINT
    left = [endpoint_id for endpoint_id, _after in replay.cursor]
    enabled = set(Endpoint.objects.using(using).filter(pk__in=left, enabled=True).values_list("pk", flat=True))
    if left[0] not in enabled:
        return 0, most
    due = Delivery.objects.using(using).pending().filter(replay=replay, next_attempt_at__lte=now)
    counted = due.filter(endpoint_id__in=enabled).values_list("endpoint_id").annotate(models.Count("pk"))
    counts = dict(counted.order_by())
    for number, (endpoint_id, _after) in enumerate(replay.cursor):
        room = most - counts.get(endpoint_id, 0)
        if 2 * room >= most:
            return number, room
    return 0, 0


def _chunk(replay: Replay, endpoint_id: str, after: str, limit: int, *, now: datetime, using: str) -> int:
    endpoint = Endpoint.objects.using(using).filter(pk=endpoint_id).first()
    if endpoint is None:
        return 0
    matches = matching.of(replay, endpoint, using=using)
    if endpoint.deleted_at is not None:
        _skip(replay, "endpoint_deleted", matches.count())
        return 0
    candidates, place = matches.page(after, limit)
    taken = matches.take(candidates)
    if replay.kind == Replay.Kind.DISCARD:
        entries = DLQEntry.objects.using(using).filter(pk__in=[found.entry_id for found in taken])
        replay.done_count += entries.update(discarded_at=now, updated_at=now)
    else:
        _send(replay, endpoint, taken, now=now, using=using)
    if place:
        replay.cursor.append([endpoint_id, place])
    return len(candidates)


def _send(replay: Replay, endpoint: Endpoint, taken: Sequence[matching.Found], *, now: datetime, using: str) -> None:
    """Make the new deliveries of one endpoint, mark the DLQ entries they replay, and count."""
    stored = set(
        Event.objects.using(using).filter(pk__in=[found.event_id for found in taken]).values_list("pk", flat=True)
    )
    deliveries = [
        Delivery.of(found.event_id, endpoint, now=now, replay_of_id=found.replay_of_id, replay_id=replay.pk)
        for found in taken
        if found.event_id in stored
    ]
    inserted = writing.insert_new(deliveries, using=using)
    sent = [delivery.event_id for delivery in deliveries if delivery.pk in inserted]
    entries = DLQEntry.objects.using(using).open().filter(endpoint=endpoint, event_id__in=sent)
    entries.update(replayed_at=now, replay_count=models.F("replay_count") + 1, updated_at=now)
    replay.done_count += len(sent)
    _skip(replay, "event_gone", len(taken) - len(deliveries))
    _skip(replay, "already_replaying", len(deliveries) - len(sent))


def _skip(replay: Replay, reason: str, number: int) -> None:
    if number:
        replay.skipped[reason] = replay.skipped.get(reason, 0) + number


def _log_after_commit(fact: str, replay: Replay, using: str, *, actor: str) -> None:
    extra = {
        "event": fact,
        "replay_id": replay.pk,
        "tenant_id": replay.tenant_id,
        "kind": str(replay.kind),
        "total": replay.total_count,
        "done": replay.done_count,
        "skipped": replay.skipped_count,
        "actor": actor,
    }
    transaction.on_commit(lambda: logger.info("%s %s", fact, replay.pk, extra=extra), using=using, robust=True)
