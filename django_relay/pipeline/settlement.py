"""Step 5: what came back is recorded, and the decision applied, under the lease; one batch a transaction.

Attempts are recorded always. A delivery changes only while its lease token is still the attempt's: a worker that lost
its lease changes no delivery. Every delivery that becomes ``failed`` gets its DLQ entry in the same transaction, but
for tests: of those nothing is kept but the attempt.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connections

from django_relay import conf, ids, signals
from django_relay.models import Attempt, Delivery, DLQEntry, EndpointHour, operational, postgres, writing
from django_relay.models.delivery import NO_LEASE
from django_relay.models.lease import Lease, Settled
from django_relay.rules import redaction, retries, texts
from django_relay.transport.base import Outcome

logger = logging.getLogger(__name__)

_SUMMARY_CHARACTERS = 1_000


@writing.in_transaction
def settle(results: Sequence[tuple[Lease, Outcome]], *, now: datetime, using: str) -> list[Settled]:
    """Record each attempt and apply its decision where the lease is still ours; return what was done."""
    settings = conf.settings
    policy = _Policy(settings.RETRY_POLICY, settings.RETRY_AFTER_MAX_SECONDS, settings.RETRY_JITTER)
    records = [_record(lease, outcome, _decide(lease, outcome, policy, now), now) for lease, outcome in results]
    write = _write_on_postgres if connections[using].vendor == "postgresql" else _write_anywhere
    # A test counts nowhere but in its own attempt.
    new = [item for item in write(records, now=now, using=using) if not item.is_test]
    entries = [_dlq_entry(record, now) for record in records if record.settled.is_dead and not record.settled.is_test]
    writing.insert_new(entries, using=using)
    operational.of_deliveries(new, now=now, using=using)
    EndpointHour.objects.using(using).add(new, now)  # last: other workers write the same rows
    writing.after_commit(_announce, records, entries, using, using=using)
    return [record.settled for record in records]


@dataclass(slots=True)
class _Record:
    """What is written of one attempt."""

    settled: Settled
    attempt: dict[str, Any]
    """Its columns, but for the ids and the next attempt; the delivery's follow from them."""
    next_attempt_at: datetime | None
    """When the delivery is attempted again, if it is, and if the lease is still ours."""


def _record(lease: Lease, outcome: Outcome, decision: retries.Decision, now: datetime) -> _Record:
    headers, body = redaction.of_response(outcome.headers, outcome.body, request_headers=outcome.request.headers)
    error = ""
    if decision.action != "delivered":
        error = texts.cleaned(outcome.error or outcome.error_kind) or f"HTTP {outcome.status_code}"
    attempt = {
        "number": lease.number,
        "trigger": lease.trigger,
        "started_at": outcome.started_at,
        "duration_ms": outcome.duration_ms,
        "status_code": outcome.status_code,
        "error_kind": outcome.error_kind,
        "error": error,
        "request_headers": redaction.of_request(outcome.request.headers),
        "response_headers": headers,
        "response_body": body,
        "remote_address": outcome.remote_address,
    }
    again = now + timedelta(seconds=decision.delay_seconds) if decision.action == "retry" else None
    return _Record(Settled(lease, outcome, decision), attempt, again)


_STATES = {
    "delivered": Delivery.State.DELIVERED.value,
    "retry": Delivery.State.PENDING.value,
    "dead": Delivery.State.FAILED.value,
}


def _write_anywhere(records: Sequence[_Record], *, now: datetime, using: str) -> list[Settled]:
    """Write each delivery whose lease is still ours, say so, record all attempts, and return those that are new.

    A batch whose commit went unanswered is settled again: what stands already is not new.
    """
    rows, attempts = Delivery.objects.using(using).pending(), []
    for record in records:
        settled, attempt = record.settled, record.attempt
        state = _STATES[settled.decision.action]
        values = {
            "state": state,
            "attempt_count": attempt["number"],
            "last_error": attempt["error"],
            "last_error_kind": attempt["error_kind"],
            "last_status_code": attempt["status_code"],
            "last_response": attempt["response_body"][:_SUMMARY_CHARACTERS],
            "last_latency_ms": attempt["duration_ms"],
            "completed_at": None if state == Delivery.State.PENDING else now,
            "updated_at": now,
            **({"next_attempt_at": record.next_attempt_at} if record.next_attempt_at else {}),
            **NO_LEASE,
        }
        ours = rows.filter(pk=settled.lease.delivery_id, lease_token=settled.lease.token)
        settled.is_ours = bool(ours.update(**values))
        keys = {
            "id": settled.outcome.request.id,
            "delivery_id": settled.lease.delivery_id,
            "endpoint_id": settled.endpoint_id,
        }
        again = record.next_attempt_at if settled.is_ours else None
        attempts.append({**keys, **attempt, "next_attempt_at": again})
    recorded = writing.insert(Attempt, attempts, using=using)
    return [record.settled for record in records if record.settled.outcome.request.id in recorded]


def _write_on_postgres(records: Sequence[_Record], *, now: datetime, using: str) -> list[Settled]:
    """Do the same in one statement."""
    document = []
    for place, record in enumerate(records):
        settled = record.settled
        keys = {
            "place": place,
            "id": ids.to_hex(settled.outcome.request.id, prefix="att_"),
            "delivery_id": ids.to_hex(settled.lease.delivery_id, prefix="del_"),
            "endpoint_id": ids.to_hex(settled.endpoint_id, prefix="ep_"),
            "lease_token": settled.lease.token.hex,
            "state": _STATES[settled.decision.action],
        }
        if record.next_attempt_at is not None:
            keys["next_attempt_at"] = record.next_attempt_at
        document.append({**keys, **record.attempt})
    new = []
    with postgres.cursor(using, keeps_plan=True) as cursor:
        cursor.execute(_WRITE, [writing.dumps(document), now, now])
        for place, is_ours, is_new in cursor.fetchall():
            settled = records[place].settled
            settled.is_ours = is_ours
            if is_new:
                new.append(settled)
    return new


_ATTEMPT = {
    "id": "uuid",
    "delivery_id": "uuid",
    "endpoint_id": "uuid",
    "number": "smallint",
    "trigger": "varchar",
    "started_at": "timestamptz",
    "duration_ms": "integer",
    "status_code": "smallint",
    "error_kind": "varchar",
    "error": "text",
    "request_headers": "jsonb",
    "response_headers": "jsonb",
    "response_body": "text",
    "remote_address": "varchar",
}
_COLUMNS = {"place": "integer", "lease_token": "uuid", "state": "varchar", "next_attempt_at": "timestamptz", **_ATTEMPT}
# Asked by IN, what was written is hashed, however few rows the planner expects.
_WRITE = f"""
    WITH new AS MATERIALIZED (
        SELECT * FROM {writing.recordset(_COLUMNS)}
    ), written AS (
        UPDATE django_relay_delivery d SET
            state = new.state, attempt_count = new.number,
            next_attempt_at = coalesce(new.next_attempt_at, d.next_attempt_at),
            last_error = new.error, last_error_kind = new.error_kind, last_status_code = new.status_code,
            last_response = left(new.response_body, {_SUMMARY_CHARACTERS}), last_latency_ms = new.duration_ms,
            completed_at = CASE WHEN new.state = 'pending' THEN NULL ELSE %s END, updated_at = %s,
            lease_token = NULL, leased_at = NULL, leased_until = NULL
        FROM new
        WHERE d.id = new.delivery_id AND d.lease_token = new.lease_token AND d.state = 'pending'
        RETURNING new.place
    ), recorded AS (
        INSERT INTO django_relay_attempt ({", ".join(_ATTEMPT)}, next_attempt_at)
        SELECT {", ".join(_ATTEMPT)}, CASE WHEN place IN (SELECT place FROM written) THEN next_attempt_at END FROM new
        ON CONFLICT DO NOTHING
        RETURNING id
    )
    SELECT place, place IN (SELECT place FROM written), id IN (SELECT id FROM recorded) FROM new
"""
"""Writes a document of attempts, each with its place in it, the lease's token and the delivery's new state."""


class _Policy(NamedTuple):
    """The settings that decide, read once a batch."""

    name: str
    retry_after_max_seconds: float
    jitter: float


def _decide(lease: Lease, outcome: Outcome, policy: _Policy, now: datetime) -> retries.Decision:
    retry_after = next((value for name, value in outcome.headers if name.lower() == "retry-after"), None)
    return retries.decide(
        status_code=outcome.status_code,
        error_kind=outcome.error_kind,
        attempt_number=lease.number,
        max_attempts=lease.max_attempts,
        schedule=lease.ready.schedule,
        retry_after=retry_after,
        now=now,
        random=random.random(),  # noqa: S311 - spreads load, guards nothing
        policy=policy.name,
        retry_after_max_seconds=policy.retry_after_max_seconds,
        jitter=policy.jitter,
    )


def _dlq_entry(record: _Record, now: datetime) -> DLQEntry:
    lease, attempt = record.settled.lease, record.attempt
    return DLQEntry(
        delivery_id=lease.delivery_id,
        event_id=lease.event.event_id,
        endpoint=lease.ready.endpoint,
        event_type=lease.event.event_type,
        tenant_id=lease.tenant_id,
        url=lease.ready.endpoint.url,
        error=attempt["error"],
        error_kind=attempt["error_kind"],
        attempt_count=attempt["number"],
        last_status_code=attempt["status_code"],
        failed_at=now,
    )


def _announce(records: Sequence[_Record], entries: Sequence[DLQEntry], using: str) -> None:
    heard = {action: signal for action, signal in _SIGNALS.items() if signal.has_listeners(Delivery)}
    ours = [record.settled for record in records if record.settled.is_ours and not record.settled.is_test]
    told = [item for item in ours if item.decision.action in heard]
    deliveries = Delivery.objects.using(using).in_bulk([item.lease.delivery_id for item in told])
    for record in records:
        _log(record)
    for item in told:
        if (delivery := deliveries.get(item.lease.delivery_id)) is not None:
            heard[item.decision.action].send_robust(Delivery, instance=delivery)
    for entry in entries:
        signals.delivery_dead_lettered.send_robust(DLQEntry, instance=entry)


_SIGNALS = {"delivered": signals.delivery_succeeded, "retry": signals.delivery_failed}


def _log(record: _Record) -> None:
    settled, outcome, lease = record.settled, record.settled.outcome, record.settled.lease
    level = logging.WARNING if settled.decision.action == "dead" else logging.INFO
    if not logger.isEnabledFor(level):
        return
    facts = {
        "event": "delivery.attempted" if settled.is_ours else "lease.lost",
        "delivery_id": lease.delivery_id,
        "event_id": lease.event.event_id,
        "event_type": lease.event.event_type,
        "endpoint_id": settled.endpoint_id,
        "tenant_id": lease.tenant_id,
        "attempt": settled.lease.number,
        "max_attempts": lease.max_attempts,
        "status_code": outcome.status_code,
        "error_kind": outcome.error_kind,
        "duration_ms": outcome.duration_ms,
        "decision": settled.decision.action,
        "reason": settled.decision.reason,
        "next_attempt_at": record.next_attempt_at if settled.is_ours else None,
    }
    logger.log(
        level,
        "%(event)s %(delivery_id)s attempt %(attempt)s/%(max_attempts)s: %(status_code)s %(error_kind)s → %(decision)s "
        "(%(reason)s)",
        facts,
        extra=facts,
    )
