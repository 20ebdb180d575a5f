"""The default runner: resident passes of the worker loop in django-q2 workers.

A *pass* is one django-q2 task that runs the loop for ``PASS_SECONDS`` and puts its successor into the queue shortly
before it ends. A task carries no data, it only says "work", and which of the passes asked for it is: the tables hold
all truth, so a lost, late or repeated task loses and repeats nothing. At most ``PASSES`` passes claim at once, over all
machines; ``post_spawn`` and a one-minute Schedule see that there is one.
"""

import logging
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from django.db import router
from django.utils.module_loading import import_string
from django_q import signals as q_signals
from django_q.conf import Conf
from django_q.models import Schedule
from django_q.tasks import async_task

from django_relay import conf
from django_relay.models import Event, WorkerPresence, writing
from django_relay.models.clock import DatabaseClock
from django_relay.models.endpoint import MAX_TIMEOUT_SECONDS
from django_relay.models.worker_presence import ALIVE_SECONDS
from django_relay.pipeline.worker import Worker
from django_relay.runners import inline, presence

logger = logging.getLogger(__name__)

RUNNER = "django_q"
PASS = f"{__name__}.run_pass"
TEND = f"{__name__}.tend"
_SCHEDULE_NAME = "django_relay"
_LOOK_SECONDS = 5.0
_ON_ITS_WAY = timedelta(seconds=60)
_HANDOVER_SECONDS = 0.3
_ADMISSION_SECONDS = 2.0
_MARGIN_SECONDS = 15.0


class DjangoQRunner:
    """Puts a pass into the queue when no worker was seen alive; looked up at most once in five seconds a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at = float("-inf")

    def wake(self, using: str) -> None:
        """See that a pass runs. Called after commit: the broker is never touched inside the caller's transaction."""
        if Conf.SYNC:
            inline.InlineRunner().wake(using)
            return
        with self._lock:
            if time.monotonic() - self._looked_at < _LOOK_SECONDS:
                return
            self._looked_at = time.monotonic()
        if not WorkerPresence.objects.using(using).alive(DatabaseClock(using)()) and _missing(using):
            enqueue()

    def check(self) -> list[CheckMessage]:
        """Find a django-q2 that cannot run passes, or in which passes and tasks get in each other's way."""
        if not apps.is_installed("django_q"):
            hint = "Add 'django_q' to INSTALLED_APPS, or set DJANGO_RELAY['RUNNER'] to ProcessRunner's path."
            return [Error("The django-q2 runner needs the app django_q.", hint=hint, id="django_relay.E008")]
        name = conf.settings.Q_CLUSTER_NAME
        cluster = _cluster(name)
        if cluster is None:
            hint = f"Add {name!r} to Q_CLUSTER['ALT_CLUSTERS'], or correct the name."
            message = f"DJANGO_RELAY['Q_CLUSTER_NAME'] names a django-q2 cluster that there is not: {name!r}."
            return [Error(message, hint=hint, id="django_relay.E009")]
        found: list[CheckMessage] = []
        workers, retry = cluster.get("workers", Conf.WORKERS), cluster.get("retry", Conf.RETRY)
        if name is None and workers <= conf.settings.PASSES:
            found.append(
                Warning(
                    f"Passes take all {workers} workers of the django-q2 cluster; other jobs wait behind them.",
                    hint="Raise Q_CLUSTER['workers'] above DJANGO_RELAY['PASSES'], or name a cluster of their own in "
                    "DJANGO_RELAY['Q_CLUSTER_NAME'] and Q_CLUSTER['ALT_CLUSTERS'].",
                    id="django_relay.W010",
                )
            )
        if retry is not None and pass_timeout() >= retry:
            found.append(
                Warning(
                    f"The django-q2 cluster's 'retry' is {retry} s, but a pass may take {pass_timeout()} s.",
                    hint=f"Set 'retry' above {pass_timeout()}.",
                    id="django_relay.W011",
                )
            )
        return found


def _cluster(name: str | None) -> Mapping[str, Any] | None:
    """Return the settings of the cluster that is to run passes, or ``None`` if there is no such cluster."""
    settings: Mapping[str, Any] = getattr(django_settings, "Q_CLUSTER", {})
    if name is None or name in (settings.get("name"), settings.get("cluster_name")):
        return settings
    alternative = settings.get("ALT_CLUSTERS", {}).get(name)
    return None if alternative is None else {**settings, **alternative}


def connect() -> None:
    """Hear when django-q2 starts a worker process."""
    q_signals.post_spawn.connect(_worker_spawned, dispatch_uid="django_relay.post_spawn")


def enqueue() -> None:
    """Put a pass into the queue. What fails is logged: the next wake, spawn or minute tries again."""
    using = router.db_for_write(Event)
    try:
        token = presence.ask(RUNNER, now=DatabaseClock(using)(), using=using)
        try:
            async_task(PASS, token, q_options=_options("django_relay pass"))
        except Exception:
            presence.withdraw(token, using=using)
            raise
    except Exception:
        logger.exception("No pass could be queued.", extra={"event": "runner.enqueue_failed"})


def tend() -> None:
    """See that enough passes run; the one-minute Schedule calls it."""
    if _is_the_runner():
        for _one in range(_missing(router.db_for_write(Event))):
            enqueue()


def run_pass(token: str) -> None:
    """Run the worker loop for ``PASS_SECONDS``, unless enough passes run already; then hand over to a successor.

    ``token`` says which of the passes asked for this is; a task that is repeated, or was given up for lost, does
    nothing.
    """
    using = router.db_for_write(Event)
    row = _admit(token, using)
    if row is None:
        return
    with Worker(using=using) as worker:
        try:
            worker.run(
                until=_Handover(conf.settings.PASS_SECONDS, token=token, using=using),
                heartbeat=lambda in_flight: presence.beat(row, in_flight, now=worker.clock()),
            )
            presence.release(row)
            _queue_successor(token, using=using)  # again: whoever was counted on before may have given up meanwhile
            worker.finish()
        finally:
            presence.leave(row)


class _Handover:
    """Says when a pass ends, and queues its successor shortly before, so that it is there by then."""

    def __init__(self, seconds: float, *, token: str, using: str) -> None:
        self._token, self._using = token, using
        self._ends_at = time.monotonic() + seconds
        self._is_queued = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._ends_at - _HANDOVER_SECONDS and not self._is_queued:
            self._is_queued = True
            _queue_successor(self._token, using=self._using)
        return now >= self._ends_at


def _queue_successor(token: str, *, using: str) -> None:
    """Queue a pass, unless passes enough were asked for after the one of ``token``.

    So those that piled up before a cluster that stood still are worked off, and do not each become a chain. What was
    asked for before it and has not begun may be lost, and is not counted on.
    """
    queued = WorkerPresence.objects.using(using).queued().filter(runner=RUNNER, pk__gt=token)
    if queued.count() < conf.settings.PASSES:
        enqueue()


def pass_timeout() -> int:
    """Return after how many seconds django-q2 may take a pass for hung: its time, the longest attempt, a margin."""
    return int(conf.settings.PASS_SECONDS + MAX_TIMEOUT_SECONDS + _MARGIN_SECONDS)


def _missing(using: str) -> int:
    """Return how many passes neither work nor are on their way."""
    now = DatabaseClock(using)()
    presences = WorkerPresence.objects.using(using)
    on_their_way = presences.filter(runner=RUNNER).queued().filter(seen_at__gt=now - _ON_ITS_WAY).count()
    return max(conf.settings.PASSES - len(presences.filter(runner=RUNNER).alive(now)) - on_their_way, 0)


def _admit(token: str, using: str) -> WorkerPresence | None:
    """Return a place among the ``PASSES``, or ``None`` once they are seen to be taken by passes that live.

    A predecessor that is about to release its place is waited for. So is the row of a pass that was killed, which is
    taken for alive for some seconds: a cluster that restarts sooner would else stand still until the next :func:`tend`.
    """
    clock = DatabaseClock(using)
    began_at, before = time.monotonic(), presence.pulses(RUNNER, using=using)
    while (row := presence.admit(token, at_most=conf.settings.PASSES, now=clock(), using=using)) is None:
        waited = time.monotonic() - began_at
        if not presence.is_asked_for(token, using=using):
            return None
        if waited >= _ADMISSION_SECONDS:
            living = set(presence.pulses(RUNNER, using=using).items()) - set(before.items())
            is_crowded = len(living) >= conf.settings.PASSES or waited >= ALIVE_SECONDS + _ADMISSION_SECONDS
            if is_crowded and presence.give_up(token, at_most=conf.settings.PASSES, now=clock(), using=using):
                return None
        time.sleep(0.1)
    return row


def _options(name: str) -> dict[str, Any]:
    options = {"task_name": name, "save": False, "ack_failure": True, "timeout": pass_timeout()}
    if conf.settings.Q_CLUSTER_NAME is not None:
        options["cluster"] = conf.settings.Q_CLUSTER_NAME
    return options


def _worker_spawned(**kwargs: Any) -> None:
    """Start a pass when the cluster that runs them starts. django-q2 sends by ``send``: never raise into it.

    Whoever is said to be alive: that may be the pass whose death made the cluster start. One too many ends by itself.
    """
    if Conf.SYNC or (conf.settings.Q_CLUSTER_NAME or Conf.PREFIX) != Conf.CLUSTER_NAME:
        return  # in sync mode every task "spawns" its worker here: a pass would start a pass, and that another
    try:
        if not _is_the_runner():
            return
        _ensure_schedule(using=router.db_for_write(Schedule))
        enqueue()
    except Exception:
        logger.exception("No pass could be started.", extra={"event": "runner.spawn_failed"})


def _is_the_runner() -> bool:
    """Return whether the project's runner is this one: a cluster may also run where something else delivers."""
    runner = import_string(conf.settings.RUNNER)
    return isinstance(runner, type) and issubclass(runner, DjangoQRunner)


@writing.in_transaction
def _ensure_schedule(*, using: str) -> None:
    schedules = Schedule.objects.using(using).filter(func=TEND)
    schedules.exclude(cluster=conf.settings.Q_CLUSTER_NAME).update(cluster=conf.settings.Q_CLUSTER_NAME)
    if not schedules.exists():
        schedules.create(
            name=_SCHEDULE_NAME,
            func=TEND,
            schedule_type=Schedule.MINUTES,
            minutes=1,
            repeats=-1,
            cluster=conf.settings.Q_CLUSTER_NAME,
            kwargs=repr({"q_options": {"save": False, "ack_failure": True}}),
        )
