"""Presence rows: how running workers are counted and seen."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import DatabaseError, connections, models

from django_relay.models import Application, WorkerPresence, machine, writing

logger = logging.getLogger(__name__)

_SAME_TIME = timedelta(seconds=10)


def enter(runner: str, *, now: datetime, using: str) -> WorkerPresence:
    """Say that this process works now."""
    return WorkerPresence.objects.using(using).create(
        runner=runner,
        state=WorkerPresence.State.WORKING,
        hostname=machine.name(),
        pid=os.getpid(),
        started_at=now,
        seen_at=now,
    )


def ask(runner: str, *, now: datetime, using: str) -> str:
    """Ask for a worker and return its token. Those asked for before stay valid: a long queue only delays them."""
    asked = WorkerPresence.objects.using(using).create(
        runner=runner, state=WorkerPresence.State.QUEUED, started_at=now, seen_at=now
    )
    return str(asked.pk)


def withdraw(token: str, *, using: str) -> None:
    """Ask for that worker no more."""
    WorkerPresence.objects.using(using).queued().filter(pk=token).delete()


@writing.in_transaction
def give_up(token: str, *, at_most: int, now: datetime, using: str) -> bool:
    """Withdraw a worker that was asked for if ``at_most`` of its runner are alive; return whether it was.

    Serialised with :func:`release`: a worker that ends meanwhile either leaves it its place, or sees that nobody waits.
    """
    _one_at_a_time(using)
    rows = WorkerPresence.objects.using(using)
    row = rows.queued().filter(pk=token).first()
    if row is not None and len(rows.filter(runner=row.runner).alive(now)) < at_most:
        return False
    withdraw(token, using=using)
    return True


@writing.in_transaction
def admit(token: str, *, at_most: int, now: datetime, using: str) -> WorkerPresence | None:
    """Make a worker that was asked for one that works, unless ``at_most`` of its runner are alive already.

    Admissions are serialised, so that two processes never take the same last place.
    """
    _one_at_a_time(using)
    rows = WorkerPresence.objects.using(using)
    row = rows.queued().filter(pk=token).first()
    if row is None or len(rows.filter(runner=row.runner).alive(now)) >= at_most:
        return None
    # A queue is first in, first out: what was asked for well before this and has not begun is lost.
    rows.filter(runner=row.runner).queued().filter(seen_at__lt=row.seen_at - _SAME_TIME).delete()
    row.state, row.hostname, row.pid = WorkerPresence.State.WORKING, machine.name(), os.getpid()
    row.started_at = row.seen_at = now
    row.save()
    return row


def is_asked_for(token: str, *, using: str) -> bool:
    """Return whether the token is still valid and nobody has begun with it."""
    return WorkerPresence.objects.using(using).queued().filter(pk=token).exists()


def pulses(runner: str, *, using: str) -> dict[str, datetime]:
    """Return when each worker that claims was last seen, by its own clock: what moves is alive."""
    return dict(WorkerPresence.objects.using(using).filter(runner=runner).working().values_list("pk", "seen_at"))


def beat(presence: WorkerPresence, in_flight: int, *, now: datetime) -> None:
    """Say that this worker is still there."""
    _rows(presence).update(seen_at=now, in_flight=in_flight)


def release(presence: WorkerPresence) -> None:
    """Say that this worker claims nothing more, so that a successor may. A database that fails is only logged."""
    with _best_effort(presence):
        _release(presence, using=str(presence._state.db))


def leave(presence: WorkerPresence) -> None:
    """Say that this worker is gone. A database that fails is only logged."""
    with _best_effort(presence):
        _rows(presence).delete()


@writing.in_transaction
def _release(presence: WorkerPresence, *, using: str) -> None:
    _one_at_a_time(using)
    _rows(presence).update(state=WorkerPresence.State.FINISHING)


def _one_at_a_time(using: str) -> None:
    """Let those wait who would change who works, by a lock on a row that is always there."""
    no_key = connections[using].features.has_select_for_no_key_update
    Application.objects.using(using).order_by("pk").select_for_update(no_key=no_key).first()


@contextmanager
def _best_effort(presence: WorkerPresence) -> Iterator[None]:
    """Let no lost connection keep a worker from settling what is in its hands; its row is soon stale by itself."""
    try:
        yield
    except DatabaseError as error:
        logger.warning("A presence could not be written: %s", error, extra={"event": "worker.presence_failed"})
        connections[str(presence._state.db)].close()


def _rows(presence: WorkerPresence) -> models.QuerySet[WorkerPresence]:
    return WorkerPresence.objects.using(presence._state.db).filter(pk=presence.pk)
