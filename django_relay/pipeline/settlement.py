"""Step 5: what came back is recorded, and the decision applied, under the lease; one batch a transaction.

Attempts are recorded always. A delivery changes only while its lease token is still the attempt's: a worker that lost
its lease changes no delivery. Every delivery that becomes ``failed`` gets its DLQ entry in the same transaction, but
for tests: of those nothing is kept but the attempt.
"""

import logging
import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.db import connections, transaction

from django_relay import conf, ids, signals
from django_relay.models import Attempt, Delivery, DLQEntry, EndpointHour, operational, postgres, writing
from django_relay.models.delivery import NO_LEASE
from django_relay.models.lease import Lease, Settled
from django_relay.rules import retries, texts
from django_relay.transport.base import Outcome

logger = logging.getLogger(__name__)

REDACTED = "[redacted]"
_SHOWN = {"webhook-id", "webhook-timestamp", "webhook-attempt", "content-type", "user-agent", "traceparent"}
"""Request headers whose values are no secret: ours, but for the signature."""
_SECRET_RESPONSE_HEADERS = {
    "set-cookie",
    "set-cookie2",
    "authorization",
    "proxy-authorization",
    "www-authenticate",
}
_SUMMARY_CHARACTERS = 1_000
_SECRET_CHARACTERS = 6  # what is shorter is no secret, and stands in any text


@writing.in_transaction
def settle(results: Sequence[tuple[Lease, Outcome]], *, now: datetime, using: str) -> list[Settled]:
    """Record each attempt and apply its decision where the lease is still ours; return what was done."""
    settings = conf.settings
    policy = _Policy(settings.RETRY_POLICY, settings.RETRY_AFTER_MAX_SECONDS, settings.RETRY_JITTER)
    records = [_record(lease, outcome, _decide(lease, outcome, policy, now), now) for lease, outcome in results]
    write = _write_on_postgres if connections[using].vendor == "postgresql" else _write_anywhere
    ours = write(records, now=now, using=using)
    for record in records:
        lease = record.settled.lease
        record.settled.is_ours = (lease.delivery_id, lease.token) in ours
    # A batch whose commit went unanswered is settled again: what stands already is skipped.
    recorded = writing.insert(Attempt, [_attempt(record) for record in records], using=using)
    entries = [_dlq_entry(record, now) for record in records if record.settled.is_dead and not record.settled.is_test]
    writing.insert_new(entries, using=using)
    settled = [record.settled for record in records]
    new = [item for item in settled if item.outcome.request.id in recorded and not item.is_test]
    operational.of_deliveries(new, now=now, using=using)
    EndpointHour.objects.using(using).add(new, now)  # last: other workers write the same rows
    transaction.on_commit(partial(_announce, records, entries, using), using=using, robust=True)
    return settled


@dataclass(slots=True)
class _Record:
    """What is written of one attempt."""

    settled: Settled
    headers: list[list[str]]
    """The response's, without secrets."""
    body: str
    change: dict[str, Any]
    """The delivery's columns; a text that is left out is empty, a next attempt that is left out stays as it was."""

    @property
    def next_attempt_at(self) -> datetime | None:
        """When the delivery is attempted again, if it is."""
        retried = self.settled.is_ours and self.settled.decision.action == "retry"
        return self.change.get("next_attempt_at") if retried else None


def _record(lease: Lease, outcome: Outcome, decision: retries.Decision, now: datetime) -> _Record:
    headers, body = _response(outcome)
    change: dict[str, Any] = {
        "state": _STATES[decision.action],
        "attempt_count": lease.number,
        "last_status_code": outcome.status_code,
        "last_latency_ms": outcome.duration_ms,
    }
    if body:
        change["last_response"] = body[:_SUMMARY_CHARACTERS]
    if decision.action == "retry":
        change["next_attempt_at"] = now + timedelta(seconds=decision.delay_seconds)
    if decision.action != "delivered":
        change["last_error_kind"] = outcome.error_kind
        change["last_error"] = texts.cleaned(outcome.error or outcome.error_kind) or f"HTTP {outcome.status_code}"
    return _Record(Settled(lease, outcome, decision), headers, body, change)


_STATES = {
    "delivered": Delivery.State.DELIVERED.value,
    "retry": Delivery.State.PENDING.value,
    "dead": Delivery.State.FAILED.value,
}

_Ours = set[tuple[str, uuid.UUID]]
"""Delivery and token of each lease that was still ours."""


def _write_anywhere(records: Sequence[_Record], *, now: datetime, using: str) -> _Ours:
    """Write each change where the lease is still ours."""
    rows, ours = Delivery.objects.using(using).pending(), set()
    for lease, change in ((record.settled.lease, record.change) for record in records):
        completed_at = None if change["state"] == Delivery.State.PENDING else now
        values = {**_EMPTY, **change, **NO_LEASE, "completed_at": completed_at, "updated_at": now}
        if rows.filter(pk=lease.delivery_id, lease_token=lease.token).update(**values):
            ours.add((lease.delivery_id, lease.token))
    return ours


def _write_on_postgres(records: Sequence[_Record], *, now: datetime, using: str) -> _Ours:
    """Write all changes whose lease is still ours in one statement."""
    document = []
    for record in records:
        lease = record.settled.lease
        key = ids.to_hex(lease.delivery_id, prefix="del_")
        document.append({"id": key, "lease_token": lease.token.hex, **record.change})
    with postgres.cursor(using) as cursor:
        cursor.execute(_WRITE, [now, now, writing.dumps(document)])
        return {(ids.from_uuid(found, prefix="del_"), token) for found, token in cursor.fetchall()}


_EMPTY = {"last_error": "", "last_error_kind": "", "last_response": ""}
_COLUMNS = {
    "id": "uuid",
    "lease_token": "uuid",
    "state": "varchar",
    "attempt_count": "smallint",
    "next_attempt_at": "timestamptz",
    "last_error": "text",
    "last_error_kind": "varchar",
    "last_status_code": "smallint",
    "last_response": "text",
    "last_latency_ms": "integer",
}
_WRITE = f"""
    UPDATE django_relay_delivery d SET
        state = new.state, attempt_count = new.attempt_count,
        next_attempt_at = coalesce(new.next_attempt_at, d.next_attempt_at),
        {", ".join(f"{name} = coalesce(new.{name}, '')" for name in _EMPTY)},
        last_status_code = new.last_status_code, last_latency_ms = new.last_latency_ms,
        completed_at = CASE WHEN new.state = 'pending' THEN NULL ELSE %s END, updated_at = %s,
        lease_token = NULL, leased_at = NULL, leased_until = NULL
    FROM {writing.recordset(_COLUMNS)}
    WHERE d.id = new.id AND d.lease_token = new.lease_token AND d.state = 'pending'
    RETURNING d.id, new.lease_token
"""


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


def _attempt(record: _Record) -> dict[str, Any]:
    settled, outcome = record.settled, record.settled.outcome
    return {
        "id": outcome.request.id,
        "delivery_id": settled.lease.delivery_id,
        "endpoint_id": settled.endpoint_id,
        "number": settled.lease.number,
        "trigger": settled.lease.trigger,
        "started_at": outcome.started_at,
        "duration_ms": outcome.duration_ms,
        "status_code": outcome.status_code,
        "error_kind": outcome.error_kind,
        "error": record.change.get("last_error", ""),
        "request_headers": [
            [name, value if name in _SHOWN else REDACTED] for name, value in outcome.request.headers.items()
        ],
        "response_headers": record.headers,
        "response_body": record.body,
        "remote_address": outcome.remote_address,
        "next_attempt_at": record.next_attempt_at,
    }


def _dlq_entry(record: _Record, now: datetime) -> DLQEntry:
    lease, change = record.settled.lease, record.change
    return DLQEntry(
        delivery_id=lease.delivery_id,
        event_id=lease.event.event_id,
        endpoint=lease.ready.endpoint,
        event_type=lease.event.event_type,
        tenant_id=lease.tenant_id,
        url=lease.ready.endpoint.url,
        error=change["last_error"],
        error_kind=change["last_error_kind"],
        attempt_count=record.settled.lease.number,
        last_status_code=record.settled.outcome.status_code,
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
        "next_attempt_at": record.next_attempt_at,
    }
    logger.log(
        level,
        "%(event)s %(delivery_id)s attempt %(attempt)s/%(max_attempts)s: %(status_code)s %(error_kind)s → %(decision)s "
        "(%(reason)s)",
        facts,
        extra=facts,
    )


def _response(outcome: Outcome) -> tuple[list[list[str]], str]:
    """Return the response's headers and body as storable text.

    A receiver that echoes our request must not make us keep its secrets in the clear.
    """
    if not outcome.headers and not outcome.body:
        return [], ""
    secrets = [
        value
        for name, value in outcome.request.headers.items()
        if name not in _SHOWN and len(value) >= _SECRET_CHARACTERS
    ]
    headers = []
    for name, value in outcome.headers:
        shown = REDACTED if name.lower() in _SECRET_RESPONSE_HEADERS else _without(secrets, value)
        headers.append([texts.cleaned(name), shown])
    return headers, _without(secrets, outcome.body.decode("utf-8", "replace"))


def _without(secrets: Iterable[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return texts.cleaned(text)
