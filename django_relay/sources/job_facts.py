"""What a job source says of a job: plain values, the same for every job system."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from django_relay.rules import texts

_MAX_MESSAGE = 1_000
_MAX_NAME = 255
_LONGEST = 1_000
_TEXTS = ("job_id", "name", "queue", "func", "entry_name", "schedule", "worker")
"""What a job system says in its own words: made storable, and cut."""

_TRACEBACK = re.compile(r" : (?=Traceback \(most recent call last\):|  [+] Exception Group Traceback)")
_TYPE = re.compile(r"[^\W\d][\w.<>]*")


@dataclass(frozen=True)
class JobError:
    """What went wrong: the exception's type and message, without its traceback. Both are cut."""

    type: str
    message: str = ""

    @classmethod
    def of(cls, type_name: object, message: object) -> Self:
        """Return an error whose texts can be stored, and are short."""
        return cls(texts.cleaned(str(type_name))[:_MAX_NAME], texts.cleaned(str(message))[:_MAX_MESSAGE])

    @classmethod
    def parse(cls, text: object) -> Self:
        """Return the error behind ``<message> : <traceback>``, which job systems keep: the traceback names its type."""
        message, *rest = _TRACEBACK.split(str(text), maxsplit=1)
        first_line = message.partition("\n")[0]
        for line in reversed(rest[0].splitlines() if rest else []):
            name, _colon, said = line.partition(": ")
            if _TYPE.fullmatch(name.strip(" |")) and said == first_line:
                return cls.of(name.strip(" |"), message)
        return cls.of("Exception", message)


LOST = JobError("lost", "The worker that ran it is gone.")
"""The error of an attempt that took its worker with it, or whose worker was killed."""


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """The place of a job in a run of several: a chain of django-q2, a chain or chord of Celery.

    ``key`` tells runs apart that bear the same ``run_id``, if the job system lets a project reuse ids; ``part`` tells
    apart the jobs of one step, where several run side by side.
    """

    run_id: str
    name: str
    step: str
    step_number: int
    steps: int | None = None
    started_at: datetime | None = None
    key: str = ""
    part: str = ""

    @property
    def is_first(self) -> bool:
        """Whether the run begins with this step."""
        return self.step_number == 1

    @property
    def is_last(self) -> bool:
        """Whether the run is completed with this step."""
        return self.step_number == self.steps

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, for :meth:`from_json`."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the place behind :meth:`as_json`."""
        return cls(**_timed(values, cls))


@dataclass(frozen=True, kw_only=True)
class JobFact:
    """What is known of one job at one moment of its life; times are aware.

    Args:
        source: the job system, such as ``django_q``.
        type: the event type, set when it is reported; what functions of ``PAYLOADS`` and ``TENANT_RESOLVER`` look at.
        job_id: its id in the job system.
        name: the name it was given, else that of its function.
        queue: the queue or cluster it waits in.
        func: the dotted path of its function.
        group: what groups it with other jobs, if anything does.
        scheduled: whether a schedule enqueued it.
        attempt: which attempt to run it this is, from 1.
        enqueued_at, started_at, completed_at: when it came into the queue; when this attempt began and ended.
        error: why the attempt failed.
        next_run_at: when it is to be run again; ``None`` if that cannot be known.
        arguments: ``{"args": […], "kwargs": {…}}``, only where the setting asks for them.
        workflow: its place in a run of several jobs; ``None`` too once that run has failed.
        baggage: what :func:`~django_relay.sources.jobs.pack` packed where it was enqueued.
        entry_name, schedule: of ``cron.fired``: the entry's name, and when it fires.
        worker: of ``shutdown``: which worker or cluster stopped.
    """

    source: str
    type: str = ""
    job_id: str = ""
    name: str = ""
    queue: str = ""
    func: str = ""
    group: str | None = None
    scheduled: bool = False
    attempt: int = 1
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: JobError | None = None
    next_run_at: datetime | None = None
    arguments: Mapping[str, Any] | None = None
    workflow: Workflow | None = None
    baggage: Mapping[str, Any] = field(default_factory=dict)
    entry_name: str = ""
    schedule: str = ""
    worker: str = ""

    def __post_init__(self) -> None:
        for name in _TEXTS:
            object.__setattr__(self, name, texts.cleaned(getattr(self, name))[:_LONGEST])
        if self.group is not None:
            object.__setattr__(self, "group", texts.cleaned(str(self.group))[:_LONGEST])

    @property
    def elapsed_ms(self) -> int | None:
        """How long the attempt took, if both its ends are known."""
        return milliseconds(self.started_at, self.completed_at)

    def with_(self, **changes: Any) -> "JobFact":
        """Return the fact with some values changed."""
        return dataclasses.replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, for :meth:`from_json`."""
        return _plain({name: value for name, value in dataclasses.asdict(self).items() if value is not None})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "JobFact":
        """Return the fact behind :meth:`as_json`."""
        known = _timed(values, cls)
        if known.get("error"):
            known["error"] = JobError(**known["error"])
        if known.get("workflow"):
            known["workflow"] = Workflow.from_json(known["workflow"])
        return cls(**known)


def milliseconds(start: datetime | None, end: datetime | None) -> int | None:
    """Return the time between two moments, never less than 0; ``None`` if one is unknown."""
    return None if start is None or end is None else max(round((end - start).total_seconds() * 1_000), 0)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else _plain(value) if name == "workflow" else value
        for name, value in values.items()
    }


def _timed(values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Return the values that ``kind`` has, with their times read; others are of another version of us."""
    names = {item.name for item in dataclasses.fields(kind)}
    return {
        name: datetime.fromisoformat(value) if name.endswith("_at") and value is not None else value
        for name, value in values.items()
        if name in names
    }
