"""Step 5: what came back is recorded, and the decision applied, under the lease; one batch a transaction.

Attempts are recorded always. A delivery changes only while its lease token is still the attempt's: a worker that lost
its lease changes no delivery. Every delivery that becomes ``failed`` gets its DLQ entry in the same transaction.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db import connections, transaction

from django_relay import conf, signals
from django_relay.models import Attempt, Delivery, DLQEntry, Endpoint, writing
from django_relay.models.delivery import Lease
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
_NOT_THE_RECEIVERS = {"local_error", "unknown"}
_SUMMARY_CHARACTERS = 1_000
_SECRET_CHARACTERS = 6  # what is shorter is no secret, and stands in any text


@dataclass(slots=True)
class Settled:
    """One attempt and what was decided about it."""

    lease: Lease
    outcome: Outcome
    decision: retries.Decision
    row: Delivery | None
    """The delivery as written; ``None`` when the lease was lost."""

    @property
    def next_attempt_at(self) -> datetime | None:
        """When the delivery is attempted again, if it is."""
        return self.row.next_attempt_at if self.row is not None and self.decision.action == "retry" else None


@writing.in_transaction
def settle(results: Sequence[tuple[Lease, Outcome]], *, now: datetime, using: str) -> list[Settled]:
    """Record each attempt and apply its decision where the lease is still ours; return what was done."""
    ids = [lease.delivery.pk for lease, _outcome in results]
    locked = Delivery.objects.using(using).filter(pk__in=ids).order_by("pk").select_for_update()
    rows = {row.pk: row for row in locked}
    settled = [_settle_one(lease, outcome, rows, now) for lease, outcome in results]
    # A batch whose commit went unanswered is settled again: what stands already is skipped.
    writing.insert_new([_attempt(item) for item in settled], using=using)
    changed = [item.row for item in settled if item.row is not None]
    if changed:
        Delivery.objects.using(using).bulk_update(changed, _WRITTEN)
    entries = [_dlq_entry(item, now) for item in settled if item.decision.action == "dead" and item.row]
    writing.insert_new(entries, using=using)
    transaction.on_commit(partial(_announce, settled, entries), using=using, robust=True)
    return settled


@writing.in_transaction
def keep_health(settled: Sequence[Settled], *, now: datetime, using: str) -> list[Settled]:
    """Write when endpoints last succeeded and since when they only fail, and disable those that are gone.

    In a transaction of its own, one UPDATE for each kind, and never waiting for a row that somebody else holds: a
    host's long transaction about one endpoint must not stop deliveries to all. Returns what would have disabled an
    endpoint and was passed over for that reason; give it again in the next turn.
    """
    by_endpoint = {item.lease.delivery.endpoint_id: item.lease.delivery.endpoint for item in settled}
    succeeded = {_endpoint_id(item) for item in settled if item.decision.action == "delivered"}
    failed = {_endpoint_id(item) for item in settled if item.outcome.error_kind not in _NOT_THE_RECEIVERS} - succeeded
    gone = {_endpoint_id(item) for item in settled if item.decision.disable_endpoint}
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    endpoints = Endpoint.objects.using(using)
    concerned = endpoints.filter(pk__in=succeeded | failed | gone).order_by("pk")
    rows = concerned.select_for_update(skip_locked=skip_locked)
    ours = set(rows.values_list("pk", flat=True))
    endpoints.filter(pk__in=succeeded & ours).update(last_success_at=now, failing_since=None)
    endpoints.filter(pk__in=failed & ours, failing_since__isnull=True).update(failing_since=now)
    for endpoint_id in gone & ours:
        by_endpoint[endpoint_id].disable(Endpoint.Reason.GONE, at=now)
    held = set(endpoints.filter(pk__in=gone - ours).values_list("pk", flat=True))
    return [item for item in settled if item.decision.disable_endpoint and _endpoint_id(item) in held]


def _endpoint_id(item: Settled) -> str:
    return str(item.lease.delivery.endpoint_id)


_WRITTEN = [
    "state", "attempt_count", "next_attempt_at", "leased_at", "leased_until", "lease_token", "last_error",
    "last_error_kind", "last_status_code", "last_response", "last_latency_ms", "completed_at", "updated_at",
]  # fmt: skip


def _settle_one(lease: Lease, outcome: Outcome, rows: dict[str, Delivery], now: datetime) -> Settled:
    decision = _decide(lease, outcome, now)
    row = rows.get(lease.delivery.pk)
    if row is None or row.state != Delivery.State.PENDING or row.lease_token != lease.token:
        return Settled(lease, outcome, decision, None)
    row.release()
    row.attempt_count = lease.number
    row.last_error, row.last_error_kind = _error(outcome, decision), outcome.error_kind
    row.last_status_code, row.last_latency_ms = outcome.status_code, outcome.duration_ms
    row.last_response = _body(outcome)[:_SUMMARY_CHARACTERS]
    row.updated_at = now
    if decision.action == "retry":
        row.next_attempt_at = now + timedelta(seconds=decision.delay_seconds)
    else:
        delivered = decision.action == "delivered"
        row.state = Delivery.State.DELIVERED if delivered else Delivery.State.FAILED
        row.completed_at = now
    return Settled(lease, outcome, decision, row)


def _decide(lease: Lease, outcome: Outcome, now: datetime) -> retries.Decision:
    headers = {name.lower(): value for name, value in outcome.headers}
    return retries.decide(
        status_code=outcome.status_code,
        error_kind=outcome.error_kind,
        attempt_number=lease.number,
        max_attempts=lease.delivery.max_attempts,
        schedule=lease.delivery.endpoint.schedule,
        policy=conf.settings.RETRY_POLICY,
        retry_after=headers.get("retry-after"),
        now=now,
        retry_after_max_seconds=conf.settings.RETRY_AFTER_MAX_SECONDS,
        jitter=conf.settings.RETRY_JITTER,
        random=random.random(),  # noqa: S311 - spreads load, guards nothing
    )


def _attempt(item: Settled) -> Attempt:
    outcome, delivery = item.outcome, item.lease.delivery
    return Attempt(
        id=outcome.request.id,
        delivery=delivery,
        number=item.lease.number,
        trigger=delivery.trigger,
        started_at=outcome.started_at,
        duration_ms=outcome.duration_ms,
        status_code=outcome.status_code,
        error_kind=outcome.error_kind,
        error=_error(outcome, item.decision),
        request_headers=[
            [name, value if name.lower() in _SHOWN else REDACTED] for name, value in outcome.request.headers.items()
        ],
        response_headers=[
            [
                texts.cleaned(name),
                REDACTED if name.lower() in _SECRET_RESPONSE_HEADERS else _without_secrets(value, outcome),
            ]
            for name, value in outcome.headers
        ],
        response_body=_body(outcome),
        remote_address=outcome.remote_address,
        next_attempt_at=item.next_attempt_at,
    )


def _dlq_entry(item: Settled, now: datetime) -> DLQEntry:
    delivery, outcome = item.lease.delivery, item.outcome
    return DLQEntry(
        delivery=delivery,
        event=delivery.event,
        endpoint=delivery.endpoint,
        event_type=delivery.event.event_type,
        tenant_id=delivery.tenant_id,
        url=delivery.endpoint.url,
        error=_error(outcome, item.decision),
        error_kind=outcome.error_kind,
        attempt_count=item.lease.number,
        last_status_code=outcome.status_code,
        failed_at=now,
    )


def _announce(settled: Sequence[Settled], entries: Sequence[DLQEntry]) -> None:
    for item in settled:
        _log(item)
        if item.row is None:
            continue
        if item.decision.action == "delivered":
            signals.delivery_succeeded.send_robust(Delivery, instance=item.row)
        elif item.decision.action == "retry":
            signals.attempt_failed.send_robust(Delivery, instance=item.row)
    for entry in entries:
        signals.delivery_dead_lettered.send_robust(DLQEntry, instance=entry)


def _log(item: Settled) -> None:
    delivery, outcome = item.lease.delivery, item.outcome
    facts = {
        "event": "delivery.attempted" if item.row is not None else "lease.lost",
        "delivery_id": delivery.pk,
        "event_id": delivery.event_id,
        "event_type": delivery.event.event_type,
        "endpoint_id": delivery.endpoint_id,
        "tenant_id": delivery.tenant_id,
        "attempt": item.lease.number,
        "max_attempts": delivery.max_attempts,
        "status_code": outcome.status_code,
        "error_kind": outcome.error_kind,
        "duration_ms": outcome.duration_ms,
        "decision": item.decision.action,
        "reason": item.decision.reason,
        "next_attempt_at": item.next_attempt_at,
    }
    logger.log(
        logging.WARNING if item.decision.action == "dead" else logging.INFO,
        "%(event)s %(delivery_id)s attempt %(attempt)s/%(max_attempts)s: %(status_code)s %(error_kind)s → %(decision)s "
        "(%(reason)s)",
        facts,
        extra=facts,
    )


def _error(outcome: Outcome, decision: retries.Decision) -> str:
    if decision.action == "delivered":
        return ""
    return texts.cleaned(outcome.error or outcome.error_kind) or f"HTTP {outcome.status_code}"


def _body(outcome: Outcome) -> str:
    return _without_secrets(outcome.body.decode("utf-8", "replace"), outcome)


def _without_secrets(text: str, outcome: Outcome) -> str:
    """Return storable text; a receiver that echoes our request must not make us keep its secrets in the clear."""
    for name, value in outcome.request.headers.items():
        if name.lower() not in _SHOWN and len(value) >= _SECRET_CHARACTERS:
            text = text.replace(value, REDACTED)
    return texts.cleaned(text)
