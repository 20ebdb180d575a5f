"""The job source of Django's tasks, told in the words of :mod:`~django_relay.sources.jobs`.

It hears ``django.tasks`` (Django 6 and newer) and the package ``django_tasks``, which has signals of its own. There are
three: a task is enqueued, starts, has finished. So nothing is told of retries, of which these frameworks have none, of
workflows, schedules, and the stop of workers.

A task has no place for what is to travel with it. The backend ``django_tasks_db`` stores tasks in a table: there it is
put into the row, beside the arguments, in the same INSERT. With other backends it is remembered in a table of ours when
the task is enqueued, in the transaction of the caller: enqueue after the commit, for a worker may be quicker.
"""

import contextlib
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.db.models import Model
from django.db.models.signals import pre_save
from django.utils import timezone
from django.utils.module_loading import import_string

from django_relay.sources import jobs
from django_relay.sources.job_facts import LOST, JobError, JobFact

SOURCE = "django_tasks"
REPORTS: Mapping[str, str] = {
    "job.enqueued": "in the transaction of the caller",
    "job.started": "each attempt",
    "job.completed": "success",
    "job.failed": "an exception, a killed worker",
    "job.retrying": "a backend of its own retries starts the task again",
}
"""The events that this source tells, and when."""

FRAMEWORKS = ("django.tasks", "django_tasks")
_TABLE = "django_tasks_database"
_KEY = "django_relay"

_open: dict[str, tuple[JobFact, ExitStack]] = {}
"""The tasks whose code runs in this process, by id."""


@jobs.quietly
def _storing(instance: Any, **kwargs: Any) -> None:
    """Put what is to travel with a task into its row."""
    if instance._state.adding and _KEY not in instance.args_kwargs:
        instance.args_kwargs = {**instance.args_kwargs, _KEY: jobs.pack()}


@jobs.quietly
def _enqueued(task_result: Any, **kwargs: Any) -> None:
    fact = _fact(task_result)
    if not _carries(task_result):
        fact = fact.with_(baggage={**fact.baggage, **jobs.pack()})
        jobs.remember(fact.with_(next_run_at=task_result.task.run_after))
    jobs.enqueued(fact)


@jobs.quietly
def _started(task_result: Any, **kwargs: Any) -> None:
    fact = jobs.started(_fact(task_result))
    stack = ExitStack()
    _open[task_result.id] = fact, stack
    stack.enter_context(jobs.running(fact))


@jobs.quietly
def _finished(task_result: Any, **kwargs: Any) -> None:
    fact, stack = _open.pop(task_result.id, (None, ExitStack()))
    with contextlib.suppress(ValueError):  # a backend may call this in another context than the start
        stack.close()
    _tell_end(fact or _fact(task_result), task_result)


def _tell_end(fact: JobFact, task_result: Any) -> None:
    fact = fact.with_(completed_at=task_result.finished_at or timezone.now())
    if task_result.status == "SUCCESSFUL":
        jobs.completed(fact)
    elif task_result.status == "FAILED":
        jobs.failed(fact.with_(error=_error(task_result)), in_dlq=False)


def _tell_lost(fact: JobFact) -> None:
    """Tell what the backend says of a task whose worker is gone; if that runs on for ever, it failed."""
    framework, alias = fact.baggage.get("framework", ""), fact.baggage.get("backend")
    try:
        task_result = import_string(f"{framework}.task_backends")[alias].get_result(fact.job_id)
    except Exception:  # noqa: BLE001 - the backend keeps no results, or is gone, or raises what it likes
        task_result = None
    if task_result is not None and task_result.is_finished:
        _tell_end(fact.with_(error=None), task_result)
    elif task_result is not None and task_result.status == "READY":
        jobs.retrying(fact.with_(error=LOST, next_run_at=task_result.task.run_after))
    else:
        jobs.failed(fact.with_(error=LOST), in_dlq=False)


def connect() -> None:
    """Hear whichever of the two there is, and give tasks in the table of ``django_tasks_db`` what is to travel."""
    jobs.connect(SOURCE, _tell_lost)
    for framework in filter(find_spec, FRAMEWORKS):
        for name, receiver in (("enqueued", _enqueued), ("started", _started), ("finished", _finished)):
            import_string(f"{framework}.signals.task_{name}").connect(receiver)
    if (table := _table()) is not None:
        pre_save.connect(_storing, sender=table)


def _table() -> type[Model] | None:
    try:
        return apps.get_model(_TABLE, "DBTaskResult")
    except LookupError:
        return None


def _carries(task_result: Any) -> bool:
    """Return whether a task has its baggage with it."""
    row = getattr(task_result, "db_result", None)
    return row is not None and _KEY in row.args_kwargs


def _fact(task_result: Any) -> JobFact:
    """Return what the result of a task, in any state, says of it."""
    task = task_result.task
    baggage = dict(task_result.db_result.args_kwargs[_KEY]) if _carries(task_result) else {}
    framework = next((name for name in FRAMEWORKS if type(task_result.status).__module__.startswith(f"{name}.")), "")
    return JobFact(
        source=SOURCE,
        job_id=task_result.id,
        name=task.name,
        queue=task.queue_name,
        func=task.module_path,
        attempt=max(task_result.attempts, 1),
        enqueued_at=task_result.enqueued_at,
        started_at=task_result.last_attempted_at,
        arguments=jobs.shown_arguments(task_result.args, task_result.kwargs),
        baggage={**baggage, "framework": framework, "backend": task_result.backend},
    )


def _error(task_result: Any) -> JobError | None:
    """Return the last error of a task: its type, and its message as the traceback ends with it."""
    if not task_result.errors:
        return JobError("unknown")
    error = task_result.errors[-1]
    name = error.exception_class_path.removeprefix("builtins.")
    _before, found, message = error.traceback.rpartition(f"\n{name}: ")
    return JobError.of(name, message.rstrip("\n") if found else "")
