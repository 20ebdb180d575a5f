"""What Celery says of a task, in messages, requests and exceptions, as facts."""

import json
import traceback
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import schedules
from celery.exceptions import Retry
from celery.utils.serialization import UnpickleableExceptionWrapper
from django.utils import timezone

from django_relay.sources import jobs
from django_relay.sources.job_facts import JobError, JobFact, Workflow

SOURCE = "celery"
KEY = "django_relay"
"""The header in which a message carries what is to travel with it, as JSON."""


def is_heard(said: Mapping[str, Any]) -> bool:
    """Return whether this is a project's task, in a message of Celery's protocol 2: 1 has no headers to travel in."""
    return bool(said.get("id") and said.get("task")) and not is_celerys(said["task"])


def is_celerys(name: str) -> bool:
    """Return whether a task is one of Celery's own, of which nothing is told."""
    return name.startswith("celery.")


def fact(said: Mapping[str, Any], args: Any, kwargs: Any, *, task: Any = None) -> JobFact:
    """Return what a message's headers, or a request made of them, say of a task."""
    carried = travelling(said)
    run = carried.get("workflow")
    enqueued_at = carried.get("enqueued_at")
    baggage = dict(carried["baggage"] if "baggage" in carried else jobs.pack())
    if task is not None:
        baggage |= {"acks_late": bool(task.acks_late), "nesting": said.get("replaced_task_nesting", 0)}
    return JobFact(
        source=SOURCE,
        job_id=said["id"],
        name=said.get("shadow") or said["task"],
        queue=carried.get("queue") or (said.get("delivery_info") or {}).get("routing_key") or "",
        func=said["task"],
        group=said.get("group"),
        scheduled=carried.get("scheduled", False),
        attempt=(said.get("retries") or 0) + 1,
        enqueued_at=datetime.fromisoformat(enqueued_at) if enqueued_at else timezone.now(),
        arguments=jobs.shown_arguments(args, kwargs),
        workflow=Workflow.from_json(run) if run else None,
        baggage=baggage,
    )


def travelling(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was put into the headers when the message was published."""
    text = said.get(KEY) or (said.get("headers") or {}).get(KEY)
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return {}  # not ours
    return found if isinstance(found, dict) else {}


def error(raised: object) -> JobError:
    """Return an exception as its traceback names it; a worker that is gone is ``lost``, as in every job system."""
    if isinstance(raised, Retry):
        raised = raised.exc or raised.__context__ or raised
    if isinstance(raised, WorkerLostError):
        return JobError.of("lost", raised)
    if isinstance(raised, UnpickleableExceptionWrapper):
        return JobError.of(f"{raised.exc_module}.{raised.exc_cls_name}", ", ".join(map(str, raised.exc_args)))
    kind = type(raised)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return JobError.of(name, raised)


def moment(when: Any) -> datetime | None:
    """Return when a task is to be retried: Celery says it in seconds, or as a time."""
    if isinstance(when, datetime):
        return timezone.make_aware(when) if timezone.is_naive(when) else when
    return None if when is None else timezone.now() + timedelta(seconds=when)


def due_entry() -> Any:
    """Return the entry for which beat publishes a message: its code, which sends the signal, has it in hand."""
    for frame, _line in traceback.walk_stack(None):
        if frame.f_globals.get("__name__") == "celery.beat" and frame.f_code.co_name == "apply_async":
            return frame.f_locals.get("entry")
    return None


def schedule_text(schedule: Any) -> str:
    """Return when an entry fires: a crontab as crontab writes it, an interval in seconds, others in their own words."""
    if isinstance(schedule, schedules.crontab):
        parts = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        return " ".join(str(getattr(schedule, f"_orig_{part}")) for part in parts)
    if type(schedule) is schedules.schedule:
        return f"every {schedule.run_every.total_seconds():g} s"
    return str(schedule)
