"""The life of background jobs as events: what every job source shares.

A source translates what its job system says into these calls, and holds no rule of its own. None of them ever raises,
and each costs one short transaction of this process's own connection::

    where a job is enqueued     baggage = jobs.pack()         JSON; travels in the message
                                jobs.enqueued(fact)           several may tell it: it is one event
                                jobs.remember(fact)           before it, where nothing carries the baggage
    in the worker, before       fact = jobs.started(fact)     with the attempt's number, for the calls after it
    while its code runs         with jobs.running(fact): …    under tenant, attributes and caused_by
    in the worker, after        jobs.completed(fact)
                                jobs.retrying(fact)           with error and next_run_at
                                jobs.failed(fact)             with error; in_dlq: it is kept among the failed
    in another process of it    fact = jobs.remembered(fact)  as the one that ran it knew it
    elsewhere                   jobs.cron_fired(fact)   jobs.shutdown(fact)
    when Django starts          jobs.connect(source, lost)    lost(fact) is asked to tell what became of a lost job

The fact's ``baggage`` is given back as it came; ``workflow`` makes the workflow's events as well: the run starts with
its first step, fails with the first step that fails (or, with ``fails_run``, fails and is tried again) and is completed
with its last. After a run has failed the returned fact has no workflow, and nothing more is told of it.

Each fact is one event, whoever tells it how often: events carry an idempotency key made of source, job, type and
attempt (their ids are ordinary ones, because ids give the order in which events are fanned out). What must not
contradict what was told before is decided by the job's ``JobRun``: its memory, which also numbers the attempts and from
which :func:`sweep` finds jobs whose worker is gone.

Whose events they are: what ``with tenant(…)`` said where the job was enqueued, else what ``TENANT_RESOLVER`` says, else
the global tenant. What cannot be stored is kept as a ``PublishFailure``.
"""

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, ParamSpec

from django.db import InterfaceError, OperationalError, connections, router, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from django_relay import context, exceptions, ids
from django_relay.catalog import registry
from django_relay.models import Event, JobRun, machine, writing
from django_relay.pipeline import outbox, publish_failures, upkeep
from django_relay.rules import filters, texts
from django_relay.sources import job_events
from django_relay.sources.job_facts import LOST, JobError, JobFact, Workflow

__all__ = ["JobError", "JobFact", "Workflow"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
Lost = Callable[[JobFact], object]

_TEXT = 255
_MAX_ARGUMENTS = 4_000
_ONCE_A_JOB = {"job.enqueued", "job.completed", "cron.fired"}
_lost: dict[str, Lost] = {}


def connect(source: str, lost: Lost) -> None:
    """Declare the event types, and have :func:`sweep` ask ``lost`` what became of a lost job of this source.

    ``lost`` gets the fact with the error ``lost`` and tells it with :func:`retrying`, :func:`failed` or
    :func:`completed`, or leaves it to a later sweep.
    """
    for definition in job_events.definitions():
        registry.register(definition)
    _lost[source] = lost
    upkeep.CHORES["lost jobs"] = sweep


def quietly(receiver: Callable[..., None]) -> Callable[..., None]:
    """Never raise into a job system from a receiver of its signals: what raises there ends workers and schedulers."""

    @functools.wraps(receiver)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            receiver(*args, **kwargs)
        except Exception:
            logger.exception("A job was not told of.", extra={"event": "job.not_reported"})

    return run


def pack() -> dict[str, Any]:
    """Return what the running code says of the jobs it enqueues, as JSON values to travel with them.

    That a job was enqueued while :func:`~django_relay.context.suppressed` travels too: nothing is told of its life. Its
    own code runs later, outside that block, and is heard.
    """
    said: dict[str, Any] = {}
    if (tenant_id := context.current_tenant()) is not None:
        said["tenant"] = tenant_id
    if origin := context.current_origin():
        said["origin"] = origin
    if context.is_suppressed():
        said["suppressed"] = True
    try:
        attributes = filters.validate_attributes(dict(context.current_attributes()))
    except exceptions.RelayError as error:
        logger.warning("Attributes cannot travel with a job: %s", error, extra={"event": "job.attributes_refused"})
    else:
        said.update({"attributes": attributes} if attributes else {})
    return said


def shown_arguments(args: Any, kwargs: Any) -> dict[str, Any] | None:
    """Return what a job is called with as JSON, for ``JobFact.arguments``; ``None`` unless the project asks for it.

    What has no JSON form is shown by its ``repr``, and all of it is when it is long.
    """
    if not (job_events.settings() or {}).get("ARGUMENTS", False):
        return None
    try:
        text = texts.cleaned(json.dumps({"args": list(args), "kwargs": dict(kwargs)}, default=repr, allow_nan=False))
        if len(text) <= _MAX_ARGUMENTS:
            shown: dict[str, Any] = json.loads(text)
            if texts.is_storable_json(shown):
                return shown
        return {"args": [texts.cleaned(ascii((args, kwargs)))[:_MAX_ARGUMENTS]], "kwargs": {}}
    except Exception as error:  # noqa: BLE001 - a repr may raise anything
        return {"args": [f"cannot be shown: {type(error).__name__}"], "kwargs": {}}


@contextmanager
def running(fact: JobFact) -> Iterator[None]:
    """Run a job's code as what it is: for the tenant it was enqueued for, and as the cause of what it makes."""
    baggage = fact.baggage
    with ExitStack() as stack:
        stack.enter_context(context.caused_by(subject(fact)))
        if "tenant" in baggage:
            stack.enter_context(context.tenant(baggage["tenant"]))
        if baggage.get("attributes"):
            stack.enter_context(context.attributes(**baggage["attributes"]))
        yield


def subject(fact: JobFact) -> str:
    """Return what a job is called in ``Event.subject`` of its events, and in ``Event.origin`` of those it causes."""
    return texts.cleaned(f"job:{fact.job_id}")[:_TEXT]


def _steadily(step: Callable[P, JobFact], *, even_suppressed: bool = False) -> Callable[P, JobFact]:
    """Do nothing while job sources are off or suppressed, and never raise into a job system.

    What fails is logged, and the fact returned as it was. A broken connection is renewed once.
    """

    @functools.wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> JobFact:
        fact = args[0]
        assert isinstance(fact, JobFact)  # noqa: S101 - the type of them all
        is_suppressed = fact.baggage.get("suppressed") or context.is_suppressed()
        if job_events.settings() is None or (is_suppressed and not even_suppressed):
            return fact
        try:
            connection = connections[router.db_for_write(Event)]
            try:
                return step(*args, **kwargs)
            except (OperationalError, InterfaceError):
                if connection.in_atomic_block:
                    raise
                connection.close()
                return step(*args, **kwargs)
        except Exception:
            logger.exception(
                "Events of a job were not stored.", extra={"event": "job.not_reported", "job_id": fact.job_id}
            )
            return fact

    return run


@_steadily
def enqueued(fact: JobFact) -> JobFact:
    """Tell that a job is in its queue, in the transaction of the caller."""
    report("job.enqueued", fact)
    return fact


@functools.partial(_steadily, even_suppressed=True)
def remember(fact: JobFact) -> JobFact:
    """Keep a job's baggage for :func:`started`, where its job system has no place for it.

    It is kept as a ``JobRun``, in the transaction of the caller, at least until ``fact.next_run_at``, when it may run.
    """
    run = JobRun(source=fact.source, job_id=_key(fact), state=JobRun.State.ENQUEUED, facts=fact.as_json())
    run.updated_at = max(fact.next_run_at or run.updated_at, run.updated_at)
    writing.insert_new([run], using=router.db_for_write(JobRun))
    return fact


@_steadily
def remembered(fact: JobFact) -> JobFact:
    """Return what the process that ran a job's last attempt knew of it; the fact itself if nothing is remembered."""
    run = JobRun.objects.using(router.db_for_write(JobRun)).of(fact.source, _key(fact)).first()
    return fact if run is None else JobFact.from_json(run.facts).with_(attempt=run.attempt)


@_steadily
def started(fact: JobFact, *, lost_at: datetime | None = None) -> JobFact:
    """Tell that an attempt begins in this process, and return the fact with the attempt's number.

    What nobody has told before is told first: that the job was enqueued, and that its last attempt is lost.
    ``lost_at`` is when the attempt is certainly over if its end was not told by then, wherever it runs.
    """
    return _begin(fact, lost_at, using=router.db_for_write(JobRun))


@_steadily
def completed(fact: JobFact) -> JobFact:
    """Tell that a job ended with success."""
    return _end(fact, JobRun.State.COMPLETED, using=router.db_for_write(JobRun))


@_steadily
def retrying(fact: JobFact, *, fails_run: bool = False) -> JobFact:
    """Tell that an attempt failed, and that there will be another, at ``fact.next_run_at`` if that is known.

    ``fails_run`` where the job system goes on with the rest of a workflow although a step of it failed.
    """
    return _end(fact, JobRun.State.RETRYING, fails_run=fails_run, using=router.db_for_write(JobRun))


@_steadily
def failed(fact: JobFact, *, in_dlq: bool = True) -> JobFact:
    """Tell that a job failed for good, and whether it is kept among the failed."""
    return _end(fact, JobRun.State.FAILED, fails_run=True, in_dlq=in_dlq, using=router.db_for_write(JobRun))


@_steadily
def cron_fired(fact: JobFact) -> JobFact:
    """Tell that an entry of a schedule came due and enqueued the job ``fact.job_id``."""
    report("cron.fired", fact)
    return fact


@_steadily
def shutdown(fact: JobFact) -> JobFact:
    """Tell that ``fact.worker`` was stopped, and has ended all it had in hand."""
    report("shutdown", fact)
    return fact


def sweep(*, now: datetime, using: str) -> int:
    """Have the sources tell of jobs whose worker is gone, and return of how many. Upkeep does it every minute."""
    swept = 0
    for run in JobRun.objects.using(using).running().filter(source__in=list(_lost)):
        if run.is_lost(now):
            fact = JobFact.from_json(run.facts)
            _lost[run.source](fact.with_(attempt=run.attempt, error=LOST, completed_at=timezone.now()))
            swept += not JobRun.objects.using(using).running().filter(pk=run.pk, attempt=run.attempt).exists()
    return swept


@writing.in_transaction
def _begin(fact: JobFact, lost_at: datetime | None, *, using: str) -> JobFact:
    rows = JobRun.objects.using(using)
    fact = fact.with_(started_at=fact.started_at or timezone.now())
    run = JobRun(
        source=fact.source, job_id=_key(fact), attempt=fact.attempt, lost_at=lost_at, facts=fact.as_json(),
        hostname=machine.name(), pid=os.getpid(),
    )  # fmt: skip
    if not writing.insert_new([run], using=using):
        last = rows.of(fact.source, _key(fact)).select_for_update().get()
        before = JobFact.from_json(last.facts)
        if last.state == JobRun.State.ENQUEUED:
            fact = fact.with_(baggage={**fact.baggage, **before.baggage})
            if fact.baggage.get("suppressed"):
                return fact
        else:
            fact = fact.with_(attempt=max(last.attempt + 1, fact.attempt), workflow=before.workflow and fact.workflow)
        if last.state == JobRun.State.COMPLETED:
            return fact
        if last.state == JobRun.State.RUNNING:
            report("job.retrying", before.with_(attempt=last.attempt, error=LOST, next_run_at=fact.started_at))
        run.pk, run._state.adding, run._state.db = last.pk, False, using
        run.attempt, run.facts, run.created_at = fact.attempt, fact.as_json(), last.created_at
        run.save(using=using)
    report("job.enqueued", fact)
    if fact.workflow and fact.workflow.is_first:
        fact = fact.with_(workflow=dataclasses.replace(fact.workflow, started_at=fact.started_at))
        report("workflow.started", fact)
    report("job.started", fact)
    return fact


@writing.in_transaction
def _end(fact: JobFact, state: JobRun.State, *, using: str, fails_run: bool = False, in_dlq: bool = False) -> JobFact:
    after = fact.with_(workflow=None) if fails_run else fact
    if not _may_end(after, state, using=using):
        return after
    told = {"completed": ["job.completed"], "retrying": ["job.retrying"], "failed": ["job.failed"]}[state]
    if in_dlq:
        told.append("job.dlq")
    if fact.workflow and state == JobRun.State.COMPLETED:
        told += ["workflow.step.completed", *(["workflow.completed"] if fact.workflow.is_last else [])]
    elif fact.workflow and fails_run:
        told += ["workflow.step.failed", "workflow.failed"]
    for name in told:
        report(name, fact)
    return after


def _may_end(fact: JobFact, state: JobRun.State, *, using: str) -> bool:
    rows = JobRun.objects.using(using).of(fact.source, _key(fact))
    if rows.end(state, fact.attempt, facts=fact.as_json()):
        return True
    unknown = JobRun(
        source=fact.source, job_id=_key(fact), attempt=fact.attempt, state=state, facts=fact.as_json()
    )  # its beginning was not heard
    return bool(writing.insert_new([unknown], using=using))


def report(name: str, fact: JobFact) -> None:
    """Emit one event about a job, unless the project does not ask for that type or it was emitted before.

    ``name`` is the type without the prefix. A ``PAYLOADS`` or ``TENANT_RESOLVER`` that raises, and data that cannot be
    stored, become a ``PublishFailure``; only a database that fails raises.
    """
    settings = job_events.settings()
    if settings is None or not job_events.is_wanted(name):
        return
    full_name = job_events.full_name(name)
    arguments: dict[str, Any] = {
        "application": settings.get("APPLICATION", job_events.APPLICATION),
        "idempotency_key": _idempotency_key(name, fact),
        "subject": subject(fact) if fact.job_id else "",
    }
    using = router.db_for_write(Event)
    data: Any = {}
    try:
        fact = fact.with_(type=full_name)
        arguments["attributes"] = fact.baggage.get("attributes")
        arguments["occurred_at"] = _occurred_at(name, fact)
        arguments["tenant_id"] = _tenant_of(fact, settings)
        data = job_events.data(name, fact, tenant_id=arguments["tenant_id"])
        if full_name in settings.get("PAYLOADS", {}):
            data = _loaded(settings["PAYLOADS"][full_name])(fact)
        with transaction.atomic(using), context.caused_by(fact.baggage.get("origin", "")):
            outbox.emit(full_name, data, using=using, **arguments)
    except exceptions.IdempotencyConflict:
        return  # told before, in other words
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001 - the project's own functions may raise anything
        publish_failures.keep({"event_type": full_name, "data": data, **arguments}, error, caller=__name__)


def _tenant_of(fact: JobFact, settings: Mapping[str, Any]) -> str:
    if "tenant" in fact.baggage:
        return str(fact.baggage["tenant"])
    resolver = settings.get("TENANT_RESOLVER")
    found = _loaded(resolver)(fact) if resolver else None
    return "" if found is None else found


def _loaded(path: Any) -> Callable[[JobFact], Any]:
    loaded: Callable[[JobFact], Any] = import_string(path) if isinstance(path, str) else path
    return loaded


def _occurred_at(name: str, fact: JobFact) -> datetime | None:
    if name == "job.enqueued":
        return fact.enqueued_at
    return fact.started_at if name.endswith(".started") else fact.completed_at


def _idempotency_key(name: str, fact: JobFact) -> str:
    parts: tuple[object, ...] = (fact.job_id, "" if name in _ONCE_A_JOB else fact.attempt)
    if name.startswith("workflow.") and fact.workflow:
        run = fact.workflow
        parts = (run.run_id, run.key, *([run.step_number, run.part] if ".step." in name else []))
    elif name == "shutdown":
        parts = (fact.worker, fact.started_at)
    return ids.deterministic_event_id(fact.source, name, *parts)


def _key(fact: JobFact) -> str:
    """Return the job's id as its ``JobRun`` has it: an id that is too long for the column by its digest."""
    cleaned = texts.cleaned(fact.job_id)
    return cleaned if len(cleaned) <= _TEXT else ids.deterministic_event_id(fact.job_id)
