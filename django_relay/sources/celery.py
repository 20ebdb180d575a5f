"""The job source of Celery: its signals, told in the words of :mod:`~django_relay.sources.jobs`.

What is heard, and where:

- ``job.enqueued``: after a message is published; the broker has it at once, whatever becomes of the transaction around.
  So it is told after the commit, and after a roll-back by the worker that runs the job all the same.
- ``job.started`` and how it ended: in the process that runs the task. That the process was killed, that it ran out of
  time, and that a task was revoked or expired: in the worker's main process.
- ``cron.fired``: in beat, after the message of an entry is published.
- ``shutdown``: when a worker that was told to stop has ended its tasks.

What a job is to know of its enqueuing travels in a header of its message, also into retries and to all that follows it
in a chain or chord: :mod:`~django_relay.sources.celery_canvas`. A task run by ``apply`` or ``task_always_eager`` has no
message: there its start is the first that is heard, and a canvas is no workflow.

Celery's own tasks (``celery.…``) are not told of.
"""

import functools
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from billiard.process import current_process
from celery import current_task, signals
from celery.exceptions import Reject
from django.db import connections, router, transaction
from django.utils import timezone

from django_relay.models import Event
from django_relay.sources import celery_canvas, celery_facts, jobs
from django_relay.sources.job_facts import JobError, JobFact, Workflow

SOURCE = celery_facts.SOURCE
REPORTS: Mapping[str, str] = {
    "job.enqueued": "the message is published; in a transaction: it commits",
    "job.started": "each attempt",
    "job.completed": "success, or `Ignore`",
    "job.failed": "an exception without retries left, a time limit, a killed process, revoked, expired",
    "job.retrying": "`retry`, `autoretry_for`; the message is given out again",
    "workflow.started": "the first task of a chain or chord",
    "workflow.step.completed": "each task of it",
    "workflow.step.failed": "each task of it that fails for good",
    "workflow.completed": "its last task, or the body",
    "workflow.failed": "the first task of it that fails for good",
    "cron.fired": "beat publishes an entry's message",
    "shutdown": "a warm stop of a worker",
}
"""The events that this source tells, and when."""

_RUN = "django_relay_run"
_LOST_AFTER = timedelta(seconds=60)
"""How long after its hard time limit an attempt is certainly over: clocks differ, and processes are ended slowly."""
_started_at = timezone.now()


@dataclass
class _Run:
    """What runs in this process; kept on Celery's request of it."""

    fact: JobFact
    context: ExitStack
    is_told: bool = False
    is_replaced: bool = False


# Enqueued


@jobs.quietly
def _publishing(headers: dict[str, Any], body: Any, routing_key: str, **kwargs: Any) -> None:
    """Put into a message's headers what is to travel with it."""
    if not celery_facts.is_heard(headers):
        return
    run, travelling = _current(), celery_facts.travelling(headers)
    if travelling.get("id", headers["id"]) != headers["id"]:
        travelling = {}  # headers that the project's code has copied from another task's
    if run is not None and headers.get("replaced_task_nesting", 0) > run.fact.baggage.get("nesting", 0):
        run.is_replaced = True
    if "baggage" not in travelling:
        travelling = _new_travel(headers, body, run)
    _tell_step(run, travelling, job_id=headers["id"])
    headers[celery_facts.KEY] = json.dumps(
        {"enqueued_at": timezone.now().isoformat(), "queue": routing_key, **travelling, "id": headers["id"]}
    )


def _new_travel(headers: Mapping[str, Any], body: Any, run: _Run | None) -> dict[str, Any]:
    if run is not None and headers["id"] == run.fact.job_id:  # the task replaces itself
        return {"baggage": dict(run.fact.baggage), "workflow": run.fact.workflow and run.fact.workflow.as_json()}
    baggage = jobs.pack()

    def give(signature: celery_canvas.Signature, place: Workflow) -> None:
        options = signature.get("options") or {}
        travelling = json.dumps({"baggage": baggage, "workflow": place.as_json()})
        signature["options"] = {**options, "headers": {celery_facts.KEY: travelling, **(options.get("headers") or {})}}

    place = celery_canvas.begin(headers, body[2] or {}, give)
    return {
        "baggage": baggage,
        "workflow": place and place.as_json(),
        "scheduled": bool(headers.get("celery_beat_task")),
    }


def _tell_step(run: _Run | None, travelling: dict[str, Any], *, job_id: str) -> None:
    """Tell that a step succeeded before the next is published, which Celery does before it says so itself.

    The next one may run at once, and would be told of before.
    """
    here = run.fact.workflow if run is not None and not run.is_told and run.fact.job_id != job_id else None
    following = travelling.get("workflow")
    if run is not None and here is not None and following and following["run_id"] == here.run_id:
        run.is_told = True
        jobs.completed(run.fact.with_(completed_at=timezone.now()))
        following["started_at"] = here.as_json()["started_at"]


@jobs.quietly
def _published(headers: Mapping[str, Any], body: Any, **kwargs: Any) -> None:
    if not celery_facts.is_heard(headers) or headers.get("retries") or headers.get("replaced_task_nesting"):
        return
    fact = celery_facts.fact(headers, body[0], body[1])
    entry = celery_facts.due_entry() if headers.get("celery_beat_task") else None
    if entry is not None:
        with _for_a_moment():
            jobs.cron_fired(fact.with_(entry_name=entry.name, schedule=celery_facts.schedule_text(entry.schedule)))
            jobs.enqueued(fact)
        return
    tell = functools.partial(jobs.enqueued, fact)
    transaction.on_commit(tell, using=router.db_for_write(Event), robust=True)


# Run


@jobs.quietly
def _starting(task: Any, args: Any, kwargs: Any, **_: Any) -> None:
    request = task.request
    if not celery_facts.is_heard(vars(request)):
        return
    fact = jobs.started(celery_facts.fact(vars(request), args, kwargs, task=task), lost_at=_lost_at(task))
    run = _Run(fact, ExitStack())
    setattr(request, _RUN, run)
    run.context.enter_context(jobs.running(fact))


def _lost_at(task: Any) -> datetime | None:
    """Return when an attempt that starts now is certainly over: only in a pool's process is a time limit kept."""
    limit = (task.request.timelimit or [None])[0] or task.time_limit
    if not limit or "PoolWorker" not in current_process().name:
        return None
    return timezone.now() + timedelta(seconds=limit) + _LOST_AFTER


@jobs.quietly
def _succeeded(sender: Any, **kwargs: Any) -> None:
    run = getattr(sender.request, _RUN, None)
    if run is not None and not run.is_told:
        run.is_told = True
        jobs.completed(run.fact.with_(completed_at=timezone.now()))


@jobs.quietly
def _retrying(sender: Any, request: Any, reason: Any = None, **kwargs: Any) -> None:
    run = getattr(request, _RUN, None)
    error = celery_facts.error(reason) if reason is not None else JobError("cancelled", "The worker lost its broker.")
    with _for_a_moment() if run is None else ExitStack():
        fact = _heard_outside(vars(request)) if run is None else run.fact
        ended = {
            "error": error,
            "completed_at": timezone.now(),
            "next_run_at": celery_facts.moment(getattr(reason, "when", None)),
        }
        jobs.retrying(fact.with_(**ended))
    if run is not None:
        run.is_told = True


@jobs.quietly
def _failed(sender: Any, task_id: str, exception: BaseException, **kwargs: Any) -> None:
    run = getattr(sender.request, _RUN, None)
    if run is not None and run.fact.job_id == task_id:
        run.is_told = True
        _tell_failed(run.fact, celery_facts.error(exception))
    elif not celery_facts.is_celerys(sender.name):
        said = vars(sender.request) if sender.request.id == task_id else {"id": task_id, "task": sender.name}
        with _for_a_moment():
            _tell_failed(_heard_outside(said), celery_facts.error(exception))


@jobs.quietly
def _ended(sender: Any, retval: Any = None, state: Any = None, **kwargs: Any) -> None:
    """Tell of ends that have no signal of their own, and leave the job's context."""
    run = vars(sender.request).pop(_RUN, None)
    if run is None:
        return
    with suppress(ValueError):  # Celery may call this in another context than its start
        run.context.close()
    if run.is_told:
        return
    fact = run.fact.with_(completed_at=timezone.now())
    with _for_a_moment():
        if state == "REJECTED" and isinstance(retval, Reject):
            tell = jobs.retrying if retval.requeue else functools.partial(jobs.failed, in_dlq=False)
            tell(
                fact.with_(error=celery_facts.error(retval.reason if isinstance(retval.reason, Exception) else retval))
            )
        elif state == "IGNORED" and run.is_replaced:
            jobs.retrying(fact.with_(error=JobError("Ignore", "The task replaced itself.")))
        elif state == "IGNORED":
            jobs.completed(fact)
        elif sender.request.is_eager and (raised := sys.exc_info()[1]) is not None:
            _tell_failed(fact, celery_facts.error(raised))  # it is on its way to the caller, and has no signal


@jobs.quietly
def _revoked(request: Any, terminated: bool, expired: bool, **kwargs: Any) -> None:
    if not celery_facts.is_heard(vars(request)):
        return
    with _for_a_moment():
        fact = _heard_outside(vars(request))
        if terminated:
            _tell_failed(fact, JobError("terminated", "The task was terminated."))
        elif expired:
            _tell_failed(fact.with_(started_at=None), JobError("expired", "The task came too late to be run."))
        else:
            _tell_failed(fact.with_(started_at=None), JobError("revoked", "The task was revoked."))


def _tell_failed(fact: JobFact, error: JobError) -> None:
    jobs.failed(fact.with_(error=error, completed_at=timezone.now()), in_dlq=False)


def _tell_lost(fact: JobFact) -> None:
    """Tell what becomes of a job whose worker is gone: the broker has its message still, or nobody has."""
    if fact.baggage.get("acks_late"):
        jobs.retrying(fact)
    else:
        jobs.failed(fact, in_dlq=False)


@jobs.quietly
def _stopped(sender: Any, **kwargs: Any) -> None:
    if not getattr(sender, "exitcode", None):
        fact = JobFact(source=SOURCE, worker=sender.hostname, started_at=_started_at, completed_at=timezone.now())
        with _for_a_moment():
            jobs.shutdown(fact)


_RECEIVERS = (
    (signals.before_task_publish, _publishing),
    (signals.after_task_publish, _published),
    (signals.task_prerun, _starting),
    (signals.task_success, _succeeded),
    (signals.task_retry, _retrying),
    (signals.task_failure, _failed),
    (signals.task_postrun, _ended),
    (signals.task_revoked, _revoked),
    (signals.worker_shutdown, _stopped),
)


def connect() -> None:
    """Hear Celery."""
    jobs.connect(SOURCE, _tell_lost)
    for signal, receiver in _RECEIVERS:
        signal.connect(receiver)


# Processes


def _current() -> _Run | None:
    """Return what runs here, and publishes a message."""
    return getattr(current_task.request, _RUN, None) if current_task else None


def _heard_outside(said: Mapping[str, Any]) -> JobFact:
    """Return the fact of a task of which the worker's main process hears, with what the one that ran it knew."""
    return jobs.remembered(celery_facts.fact(said, said.get("args") or (), said.get("kwargs") or {}))


@contextmanager
def _for_a_moment() -> Iterator[None]:
    """Use the database and leave no connection behind, in processes that use none: workers fork, beat lives long."""
    connection = connections[router.db_for_write(Event)]
    was_open = connection.connection is not None
    try:
        yield
    finally:
        if not was_open and not connection.in_atomic_block:
            connection.close()
