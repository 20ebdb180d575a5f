"""The job source of django-q2: its signals and tables, told in the words of :mod:`~django_relay.sources.jobs`.

What is heard, and where:

- ``job.enqueued``: with the ORM broker when its row is inserted, in that transaction: an enqueue that is rolled back
  was none. Other brokers take a job at once, whatever becomes of the transaction; there it is told after the commit,
  and after a roll-back by the worker that runs the job all the same. (A broker that refuses a job outside a transaction
  raises in the caller after it was told: django-q2 has no signal after the broker.)
- ``job.started`` and how it ended: in the worker, before django-q2 records or acknowledges anything, so that it is
  heard with every broker and way of keeping results, and with ``sync``.
- ``cron.fired``: when the scheduler writes what it enqueued into its ``Schedule``, or deletes it (``ONCE``).
- ``shutdown``: when a cluster's sentinel ends because it was told to stop, after its last worker. A cluster that runs
  passes alone (``Q_CLUSTER_NAME``) is our own, and not told of.

A chain is a workflow; its run begins with the start of its first step. django-q2 goes on with the rest after a failed
attempt, even one that it makes again, and then once more: so the first failed attempt fails the run, and what is run of
it afterwards makes events of jobs, but none of a workflow. (With ``save_limit=-1`` it does not go on after a success.)

What a job is to know of its enqueuing travels in the signed task itself, under a key of its own; from step to step of a
chain as a keyword argument of the next step, put in by the worker that ends a step and taken out where its cluster's
monitor enqueues the next.
"""

import functools
import itertools
import multiprocessing
import multiprocessing.util
import os
import platform
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.db import router, transaction
from django.db.models.signals import post_delete, post_save
from django.utils import timezone, translation
from django.utils.module_loading import import_string
from django_q import signals as q_signals
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule, Task
from django_q.signing import SignedPackage
from django_q.utils import get_func_repr

from django_relay import conf
from django_relay.models import Event, writing
from django_relay.sources import jobs
from django_relay.sources.job_facts import JobError, JobFact, Workflow

SOURCE = "django_q"
REPORTS: Mapping[str, str] = {
    "job.enqueued": "`async_task` and the like; with the ORM broker in the caller's transaction",
    "job.started": "each attempt",
    "job.completed": "success",
    "job.failed": "no attempt is left",
    "job.retrying": "an attempt failed, and the broker gives the task out again",
    "job.dlq": "it is kept among the failed tasks",
    "workflow.started": "the first task of a chain",
    "workflow.step.completed": "each task of it",
    "workflow.step.failed": "the first failed attempt of one",
    "workflow.completed": "its last task",
    "workflow.failed": "the first failed attempt of a task of it",
    "cron.fired": "a `Schedule` enqueues its task",
    "shutdown": "a clean stop of a cluster",
}
"""The events that this source tells, and when."""
_OURS = "django_relay."
_KEY = "django_relay"
_PASSED_ON = "django_relay.passed_on"
_ACK_ID = "ack_id"
_TASKS = "django_q.tasks"
_LOST_AFTER = timedelta(seconds=63)
"""How long after its time-out an attempt is certainly over: the sentinel waits three seconds, and clocks differ."""

_Task = dict[str, Any]
_open: dict[int, tuple[JobFact, ExitStack]] = {}
"""The jobs whose code runs in this process, by the identity of their task; with ``sync`` there may be several."""
_fired = threading.local()


# Enqueued


def _enqueuing(task: _Task, **kwargs: Any) -> None:
    passed_on = task["kwargs"].pop(_PASSED_ON, None)  # before anything can fail: it must never reach the job's function
    _pack(task, passed_on)


@jobs.quietly
def _pack(task: _Task, passed_on: Mapping[str, Any] | None) -> None:
    """Put into a task what is to travel with it, and tell of it where no later signal will come."""
    if _is_ours(task["func"]):
        return
    is_scheduled = _is_from_schedule()
    _fired.job_id = task["id"] if is_scheduled else None
    task[_KEY] = {
        "baggage": passed_on["baggage"] if passed_on else jobs.pack(),
        "queue": task.get("cluster") or Conf.CLUSTER_NAME,
        "scheduled": is_scheduled,
        "timeout": task.get("timeout", Conf.TIMEOUT),
        "workflow": passed_on["workflow"] if passed_on else _new_run(task),
    }
    if task.get("sync"):
        jobs.enqueued(_fact(task))
    elif not _queues_in_database():
        tell = functools.partial(jobs.enqueued, _fact(task))
        transaction.on_commit(tell, using=router.db_for_write(Event), robust=True)


@jobs.quietly
def _queued(instance: OrmQ, created: bool, using: str, **kwargs: Any) -> None:
    if not created:
        return
    task = SignedPackage.loads(instance.payload)
    if _is_ours(task["func"]):
        return
    if using == router.db_for_write(Event):
        jobs.enqueued(_fact(task))
    else:
        writing.after_commit(jobs.enqueued, _fact(task), using=using)


def _queues_in_database() -> bool:
    """Return whether this project's broker is the ORM's, as ``django_q.brokers.get_broker`` chooses it."""
    if Conf.BROKER_CLASS:
        return issubclass(import_string(Conf.BROKER_CLASS), ORM)
    return bool(Conf.ORM) and not Conf.IRON_MQ and not isinstance(Conf.SQS, dict)


def _is_from_schedule() -> bool:
    """Return whether it is the scheduler of django-q2 that calls ``async_task``, which sends the signal."""
    callers = [frame.f_globals.get("__name__") for frame, _line in traceback.walk_stack(None)]
    outside = itertools.dropwhile(_TASKS.__eq__, itertools.dropwhile(_TASKS.__ne__, callers))
    return next(outside, None) == "django_q.scheduler"


def _new_run(task: _Task) -> dict[str, Any] | None:
    """Return the run that a task begins if it is the first of a chain."""
    if "chain" not in task:
        return None
    func = _path(task["func"])
    run = Workflow(
        run_id=str(task.get("group") or task["id"]),
        key=task["id"],
        name=func,
        step=func,
        step_number=1,
        steps=len(task["chain"]) + 1,
    )
    return asdict(run)


# Run


@jobs.quietly
def _starting(task: _Task, **kwargs: Any) -> None:
    if _is_ours(task["func"]):
        return
    fact = _fact(task)
    timeout = task.get(_KEY, {}).get("timeout", Conf.TIMEOUT)
    lost_at = timezone.now() + timedelta(seconds=timeout) + _LOST_AFTER if timeout and timeout > 0 else None
    fact = jobs.started(fact, lost_at=lost_at)
    stack = ExitStack()
    _open[id(task)] = fact, stack
    stack.enter_context(jobs.running(fact))


@jobs.quietly
def _ending(task: _Task, **kwargs: Any) -> None:
    if id(task) not in _open:
        return
    fact, stack = _open.pop(id(task))
    stack.close()
    after = fact if task.get("success") else fact.with_(workflow=None)
    try:
        after = _tell_end(fact.with_(completed_at=_aware(task.get("stopped", timezone.now()))), task)
    finally:
        if task.get("chain"):
            _pass_on(after, task["chain"])


def _tell_end(fact: JobFact, task: _Task) -> JobFact:
    if task.get("success"):
        return jobs.completed(fact)
    if "success" not in task:  # with sync the exception goes to the caller, and nothing is kept
        return jobs.failed(
            fact.with_(error=JobError.parse(f"{sys.exc_info()[1]} : {traceback.format_exc()}")), in_dlq=False
        )
    fact = fact.with_(error=JobError.parse(task["result"]))
    next_run_at = _given_back_at(task.get(_ACK_ID))
    if next_run_at == _NEVER or _is_acknowledged(task):
        return jobs.failed(fact, in_dlq=not task.get("cached"))
    return jobs.retrying(fact.with_(next_run_at=next_run_at), fails_run=True)


def _is_acknowledged(task: _Task) -> bool:
    """Return whether the monitor will take a failed task out of the queue: as ``django_q.monitor`` decides it."""
    if task.get("ack_failure", False):
        return True
    if task.get("cached") or Conf.MAX_ATTEMPTS <= 0:
        return False
    recorded = Task.objects.filter(id=task["id"], name=task["name"]).values_list("attempt_count", flat=True).first()
    return bool((recorded or 0) + 1 >= Conf.MAX_ATTEMPTS)


_NEVER = "never"


def _given_back_at(ack_id: object) -> Any:
    """Return when the broker gives a task out again that nobody acknowledged; ``None`` if that cannot be known."""
    if not ack_id:
        return _NEVER  # as Redis, which forgets what it has given out
    if not _queues_in_database():
        return None
    locked_until = OrmQ.objects.using(Conf.ORM).filter(pk=ack_id).values_list("lock", flat=True).first()
    return _NEVER if locked_until is None else _aware(locked_until)


def _pass_on(fact: JobFact, chain: list[Any]) -> None:
    """Give the next step of a chain its place in the run, or word that the run is over."""
    step = chain[0] if isinstance(chain[0], tuple) else (chain[0],)
    func, args, kwargs = step[0], step[1] if len(step) > 1 else (), step[2] if len(step) > 2 else {}
    run = None
    if fact.workflow is not None:
        number = fact.workflow.step_number + 1
        run = {**asdict(fact.workflow), "step": _path(func), "step_number": number}
    baggage = {name: value for name, value in fact.baggage.items() if name != _ACK_ID}
    chain[0] = (func, args, {**kwargs, _PASSED_ON: {"baggage": baggage, "workflow": run}})


def _tell_lost(fact: JobFact) -> None:
    """Tell what becomes of a job whose worker is gone: the broker gives it out again, or it is gone too."""
    task = Task.objects.filter(id=fact.job_id).first()
    if task is not None and task.success:
        jobs.completed(fact.with_(error=None, completed_at=_aware(task.stopped)))
        return
    next_run_at = _given_back_at(fact.baggage.get(_ACK_ID))
    if next_run_at == _NEVER:
        jobs.failed(fact, in_dlq=False)
    else:
        jobs.retrying(fact.with_(next_run_at=next_run_at))


# Schedules and clusters


@jobs.quietly
def _schedule_written(instance: Schedule, **kwargs: Any) -> None:
    if not instance.task or instance.task != getattr(_fired, "job_id", None):
        return
    _fired.job_id = None
    jobs.cron_fired(
        JobFact(
            source=SOURCE,
            job_id=instance.task,
            func=_path(instance.func),
            queue=instance.cluster or Conf.CLUSTER_NAME,
            entry_name=instance.name or str(instance.pk),
            schedule=_schedule(instance),
        )
    )


def _schedule(entry: Schedule) -> str:
    if entry.schedule_type == Schedule.CRON:
        return str(entry.cron)
    if entry.schedule_type == Schedule.MINUTES:
        return f"every {entry.minutes} min"
    with translation.override("en"):
        return str(entry.get_schedule_type_display()).lower()


def _forked(_module: object) -> None:
    """Have a cluster's sentinel tell when it has stopped: django-q2 has no signal of it, nor of the sentinel's start.

    Called in every process that multiprocessing starts from this one.
    """
    process = multiprocessing.current_process()
    target = getattr(process, "_target", None)
    if (getattr(target, "__module__", ""), getattr(target, "__name__", "")) == ("django_q.cluster", "Sentinel"):
        stop_event = process._args[0]  # type: ignore[attr-defined]  # noqa: SLF001 - see the docstring
        fact = JobFact(
            source=SOURCE,
            worker=f"{platform.node()}:{os.getppid()}",
            queue=Conf.CLUSTER_NAME,
            started_at=_aware(timezone.now()),
        )
        multiprocessing.util.Finalize(None, _stopped, (fact, stop_event), exitpriority=10)


@jobs.quietly
def _stopped(fact: JobFact, stop_event: Any) -> None:
    if stop_event.is_set() and Conf.CLUSTER_NAME != conf.settings.Q_CLUSTER_NAME:
        jobs.shutdown(fact.with_(completed_at=_aware(timezone.now())))


_RECEIVERS: tuple[tuple[Any, Callable[..., None], type | None], ...] = (
    (q_signals.pre_enqueue, _enqueuing, None),
    (post_save, _queued, OrmQ),
    (q_signals.pre_execute, _starting, None),
    (q_signals.post_execute_in_worker, _ending, None),
    (post_save, _schedule_written, Schedule),
    (post_delete, _schedule_written, Schedule),
)


def connect() -> None:
    """Hear django-q2."""
    jobs.connect(SOURCE, _tell_lost)
    for signal, receiver, sender in _RECEIVERS:
        signal.connect(receiver, sender=sender)
    multiprocessing.util.register_after_fork(sys.modules[__name__], _forked)


# Facts


def _fact(task: _Task) -> JobFact:
    """Return what a task says of itself."""
    travelled = task.get(_KEY, {})
    run = travelled.get("workflow")
    return JobFact(
        source=SOURCE,
        job_id=task["id"],
        name=task["name"],
        queue=travelled.get("queue") or task.get("cluster") or Conf.CLUSTER_NAME,
        func=_path(task["func"]),
        group=task.get("group"),
        scheduled=travelled.get("scheduled", False),
        enqueued_at=_aware(task["started"]),
        arguments=jobs.shown_arguments(task["args"], task["kwargs"]),
        workflow=Workflow(**run) if run else None,
        baggage={**travelled.get("baggage", {}), **({_ACK_ID: task[_ACK_ID]} if task.get(_ACK_ID) else {})},
    )


def _path(func: object) -> str:
    return str(get_func_repr(func))


def _is_ours(func: object) -> bool:
    """Return whether this is a pass, or another task of ours: nothing may feed itself."""
    return _path(func).startswith(_OURS)


def _aware(value: datetime) -> datetime:
    return timezone.make_aware(value) if timezone.is_naive(value) else value
