"""The 13 event types of a job's life: what each says, and the setting that chooses among them.

Their names, under the prefix ``dispatch``, are those of the dispatch engine's webhooks. They are in the catalog only
while the setting ``JOBS`` is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django_relay import conf
from django_relay.catalog.registry import WebhookDefinition
from django_relay.sources.job_facts import JobFact, milliseconds

PREFIX = "dispatch"
APPLICATION = "default"


@dataclass(frozen=True)
class JobEvent:
    """One of the types: its name without the prefix, and the fields of its data; ``optional`` ones may be absent."""

    name: str
    group: str
    description: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


_JOB = ("job_id", "name", "queue", "func", "scheduled")
_SCOPE = ("scope_app_id", "scope_org_id")
_OF_JOB = ("group", "arguments", *_SCOPE)
_RUN = ("run_id", "name")
_STEP = (*_RUN, "step", "step_number", "job_id")

_EVENTS = (
    JobEvent("job.enqueued", "jobs", "A job was put into its queue.", (*_JOB, "enqueued_at"), _OF_JOB),
    JobEvent(
        "job.started", "jobs", "A worker began to run a job; each attempt does.",
        (*_JOB, "attempt", "started_at"), ("enqueued_at", *_OF_JOB),
    ),
    JobEvent(
        "job.completed", "jobs", "A job ended with success.",
        (*_JOB, "attempt", "completed_at"), ("enqueued_at", "started_at", "elapsed_ms", *_OF_JOB),
    ),
    JobEvent(
        "job.failed", "jobs", "A job failed, and will not be run again.",
        (*_JOB, "attempt", "completed_at", "error"), ("enqueued_at", "started_at", "elapsed_ms", *_OF_JOB),
    ),
    JobEvent(
        "job.retrying", "jobs", "An attempt to run a job failed, and there will be another.",
        (*_JOB, "attempt", "error", "next_run_at"), ("enqueued_at", "started_at", "elapsed_ms", *_OF_JOB),
    ),
    JobEvent(
        "job.dlq", "jobs", "A job that failed for good was put where failed jobs are kept.",
        (*_JOB, "attempt", "completed_at", "error"), ("enqueued_at", "started_at", *_OF_JOB),
    ),
    JobEvent(
        "workflow.started", "workflows", "The first step of a workflow began.",
        (*_RUN, "started_at"), ("steps", *_SCOPE),
    ),
    JobEvent(
        "workflow.step.completed", "workflows", "A step of a workflow ended with success.",
        _STEP, ("steps", "elapsed_ms", *_SCOPE),
    ),
    JobEvent(
        "workflow.step.failed", "workflows", "A step of a workflow failed.",
        (*_STEP, "error"), ("steps", "elapsed_ms", *_SCOPE),
    ),
    JobEvent(
        "workflow.completed", "workflows", "All steps of a workflow ended with success.",
        (*_RUN, "completed_at"), ("steps", "elapsed_ms", *_SCOPE),
    ),
    JobEvent(
        "workflow.failed", "workflows", "A workflow failed with one of its steps; it fails once.",
        (*_RUN, "completed_at", "error"), ("step", "step_number", "steps", "elapsed_ms", *_SCOPE),
    ),
    JobEvent(
        "cron.fired", "cron", "A schedule came due and enqueued a job.",
        ("entry_name", "schedule", "job_id", "func"), ("queue", *_SCOPE),
    ),
    JobEvent(
        "shutdown", "system", "A cluster of workers was stopped and has ended its jobs.",
        ("worker", "completed_at"), ("queue", "started_at", "elapsed_ms", *_SCOPE),
    ),
)  # fmt: skip
EVENTS: Mapping[str, JobEvent] = {event.name: event for event in _EVENTS}
"""Every type by its name without the prefix."""

_TEXT = {"type": "string"}
_MOMENT = {"type": "string", "format": "date-time"}
_COUNT = {"type": "integer", "minimum": 1}
_ERROR = {
    "type": "object",
    "required": ["type", "message"],
    "properties": {"type": _TEXT, "message": _TEXT},
}

FIELDS: Mapping[str, tuple[Mapping[str, Any], Any]] = {
    "job_id": (_TEXT, "5f3a9c0de8b14c7fb2a1d0c3e4f56789"),
    "name": (_TEXT, "import-prices"),
    "queue": (_TEXT, "default"),
    "func": (_TEXT, "billing.tasks.import_prices"),
    "group": (_TEXT, "nightly"),
    "scheduled": ({"type": "boolean"}, False),
    "attempt": (_COUNT, 1),
    "enqueued_at": (_MOMENT, "2026-11-22T12:00:00.000123Z"),
    "started_at": (_MOMENT, "2026-11-22T12:00:01.000123Z"),
    "completed_at": (_MOMENT, "2026-11-22T12:00:03.500123Z"),
    "elapsed_ms": ({"type": "integer", "minimum": 0}, 2_500),
    "error": (_ERROR, {"type": "ValueError", "message": "no such price list"}),
    "next_run_at": ({"type": ["string", "null"], "format": "date-time"}, "2026-11-22T12:01:03.500123Z"),
    "arguments": (
        {"type": "object", "properties": {"args": {"type": "array"}, "kwargs": {"type": "object"}}},
        {"args": [7], "kwargs": {"dry_run": True}},
    ),
    "scope_app_id": (_TEXT, "shop"),
    "scope_org_id": (_TEXT, "acme"),
    "run_id": (_TEXT, "0d9a7c53f1e2484b9c6d5e4f3a2b1c0d"),
    "step": (_TEXT, "billing.tasks.send_report"),
    "step_number": (_COUNT, 2),
    "steps": (_COUNT, 3),
    "entry_name": (_TEXT, "nightly"),
    "schedule": (_TEXT, "0 3 * * *"),
    "worker": (_TEXT, "web-1:4711"),
}
"""Each field's JSON Schema and an example of it."""


def settings() -> Mapping[str, Any] | None:
    """Return the setting ``JOBS``; ``None`` while job sources are off."""
    found: Mapping[str, Any] | None = conf.settings.JOBS
    return found


def full_name(name: str) -> str:
    """Return the name of a type with the project's prefix."""
    return f"{(settings() or {}).get('PREFIX', PREFIX)}.{name}"


def is_wanted(name: str) -> bool:
    """Return whether the project asks for events of a type, named without the prefix."""
    chosen = settings()
    return chosen is not None and ("EVENTS" not in chosen or full_name(name) in chosen["EVENTS"])


def definitions() -> list[WebhookDefinition]:
    """Return the declarations of the types that the project asks for; where it makes the data itself, any fits."""
    chosen = settings() or {}
    own = chosen.get("PAYLOADS", {})
    return [
        WebhookDefinition(
            full_name(event.name),
            event.description,
            group=event.group,
            schema=None if full_name(event.name) in own else schema(event),
            example=None if full_name(event.name) in own else example(event),
            application=chosen.get("APPLICATION", APPLICATION),
        )
        for event in EVENTS.values()
        if is_wanted(event.name)
    ]


def schema(event: JobEvent) -> dict[str, Any]:
    """Return the JSON Schema of a type's data."""
    return {
        "type": "object",
        "required": list(event.required),
        "properties": {name: dict(FIELDS[name][0]) for name in (*event.required, *event.optional)},
    }


def example(event: JobEvent) -> dict[str, Any]:
    """Return the data of a type as it might be, without what a project has to ask for."""
    shown = [name for name in (*event.required, *event.optional) if name not in ("arguments", "scope_app_id")]
    return {name: FIELDS[name][1] for name in shown}


def data(name: str, fact: JobFact, *, tenant_id: str) -> dict[str, Any]:
    """Return the data of an event of type ``name`` about ``fact``, as JSON values."""
    event, application = EVENTS[name], (settings() or {}).get("APPLICATION", APPLICATION)
    values: dict[str, Any] = {
        **_values(fact),
        "scope_app_id": "" if application == APPLICATION else application,
        "scope_org_id": tenant_id,
    }
    if name.startswith("workflow.") and fact.workflow is not None:
        values.update(_run_values(fact, is_step=".step." in name))
    found = {field: values[field] for field in event.required}
    found.update({field: values[field] for field in event.optional if values[field] not in (None, "")})
    return found


def _values(fact: JobFact) -> dict[str, Any]:
    values = {name: getattr(fact, name, None) for name in FIELDS}
    values["error"] = fact.error and {"type": fact.error.type, "message": fact.error.message}
    return {name: moment(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _run_values(fact: JobFact, *, is_step: bool) -> dict[str, Any]:
    run = fact.workflow
    assert run is not None  # noqa: S101 - the caller looked
    began_at = run.started_at or fact.started_at
    values = {"run_id": run.run_id, "name": run.name, "step": run.step, "step_number": run.step_number}
    values |= {"steps": run.steps, "started_at": began_at and moment(began_at)}
    return values if is_step else {**values, "elapsed_ms": milliseconds(began_at, fact.completed_at)}


def moment(value: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
