"""Presence rows: how running workers are counted and seen."""

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import DatabaseError, connections, models

from django_relay.models import Application, WorkerPresence, writing

logger = logging.getLogger(__name__)


def enter(runner: str, *, now: datetime, using: str) -> WorkerPresence:
    """Say that this process works now."""
    return WorkerPresence.objects.using(using).create(
        runner=runner, hostname=platform.node(), pid=os.getpid(), started_at=now, seen_at=now
    )


@writing.in_transaction
def admit(runner: str, *, at_most: int, now: datetime, using: str) -> WorkerPresence | None:
    """Say that this process works now, unless ``at_most`` workers of this runner are alive already.

    Admissions are serialised by a row lock, so that two processes never take the same last place.
    """
    no_key = connections[using].features.has_select_for_no_key_update
    Application.objects.using(using).order_by("pk").select_for_update(no_key=no_key).first()
    if len(WorkerPresence.objects.using(using).filter(runner=runner).alive(now)) >= at_most:
        return None
    return enter(runner, now=now, using=using)


def pulses(runner: str, *, using: str) -> dict[str, datetime]:
    """Return when each worker that claims was last seen, by its own clock: what moves is alive."""
    rows = WorkerPresence.objects.using(using).filter(runner=runner, claiming=True)
    return dict(rows.values_list("pk", "seen_at"))


def beat(presence: WorkerPresence, in_flight: int, *, now: datetime) -> None:
    """Say that this worker is still there."""
    _rows(presence).update(seen_at=now, in_flight=in_flight)


def release(presence: WorkerPresence) -> None:
    """Say that this worker claims nothing more, so that a successor may. A database that fails is only logged."""
    with _best_effort(presence):
        _rows(presence).update(claiming=False)


def leave(presence: WorkerPresence) -> None:
    """Say that this worker is gone. A database that fails is only logged."""
    with _best_effort(presence):
        _rows(presence).delete()


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
