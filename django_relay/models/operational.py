"""Operational events: what becomes of deliveries and endpoints, as events of the tenant ``OPERATIONAL_TENANT``.

============================== ========================================= ==========================================
event type                     is stored with                            its data, besides the ids
============================== ========================================= ==========================================
relay.delivery_succeeded       the attempt that was answered 2xx         attempt, max_attempts, status_code,
relay.delivery_failed          the attempt, when there will be another   error_kind, reason, next_attempt_at
relay.delivery_dead_lettered   the DLQ entry                             (``null`` when there is no other attempt)
relay.endpoint_failing         the first failure after a success         reason, failing_since, last_success_at,
relay.endpoint_recovered       the first success after that              disabled_at (``null`` what there is not)
relay.endpoint_disabled        the endpoint's change
============================== ========================================= ==========================================

They are ordinary events of the application ``default``, stored in the transaction of the change they tell of. A
worker's next turn fans them out to that tenant's endpoints, so no other tenant can get one, whatever it subscribes to.
They name rows by id and hold no URL, secret or payload. So that none is about another, deliveries of operational events
make none, and neither do the endpoints of the operational tenant: those tell by signals alone.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django_relay import conf
from django_relay.models import writing
from django_relay.models.application import Application
from django_relay.models.event import Event
from django_relay.rules import event_names

if TYPE_CHECKING:
    from django_relay.models.endpoint import Endpoint
    from django_relay.models.lease import Settled

APPLICATION = "default"

_OF_ACTION = {
    "delivered": "relay.delivery_succeeded",
    "retry": "relay.delivery_failed",
    "dead": "relay.delivery_dead_lettered",
}
_OF_FACT = {
    "endpoint.disabled": "relay.endpoint_disabled",
    "endpoint.failing": "relay.endpoint_failing",
    "endpoint.recovered": "relay.endpoint_recovered",
}


def of_deliveries(settled: Sequence["Settled"], *, now: datetime, using: str) -> None:
    """Store what became of each delivery, in the current transaction; nothing about one whose lease was lost."""
    tenant_id = conf.settings.OPERATIONAL_TENANT
    if tenant_id is not None:
        events = [
            _of_delivery(item, now)
            for item in settled
            if item.is_ours and not item.lease.event.event_type.startswith(event_names.RESERVED)
        ]
        _store(events, tenant_id, using=using)


def of_endpoints(facts: Iterable[tuple[str, "Endpoint"]], *, now: datetime, using: str) -> None:
    """Store what became of endpoints, in the current transaction.

    ``facts`` are names such as ``endpoint.disabled``, each with the endpoint as it is now; others make no event.
    """
    tenant_id = conf.settings.OPERATIONAL_TENANT
    if tenant_id is not None:
        events = [
            _of_endpoint(_OF_FACT[fact], endpoint, now)
            for fact, endpoint in facts
            if fact in _OF_FACT and endpoint.tenant_id != tenant_id
        ]
        _store(events, tenant_id, using=using)


def _of_delivery(item: "Settled", now: datetime) -> Event:
    lease, outcome, decision = item.lease, item.outcome, item.decision
    again = now + timedelta(seconds=decision.delay_seconds) if decision.action == "retry" else None
    data = {
        "delivery_id": lease.delivery_id,
        "event_id": lease.event.event_id,
        "event_type": lease.event.event_type,
        "endpoint_id": lease.endpoint_id,
        "tenant_id": lease.tenant_id,
        "attempt": item.lease.number,
        "max_attempts": lease.max_attempts,
        "status_code": outcome.status_code,
        "error_kind": outcome.error_kind,
        "reason": decision.reason,
        "next_attempt_at": _time(again),
    }
    subject = f"{Event._meta.app_label}.Delivery:{lease.delivery_id}"
    return _event(_OF_ACTION[decision.action], data, now, subject=subject, origin=lease.event.event_id)


def _of_endpoint(event_type: str, endpoint: "Endpoint", now: datetime) -> Event:
    data = {
        "endpoint_id": endpoint.pk,
        "tenant_id": endpoint.tenant_id,
        "reason": str(endpoint.disabled_reason),
        "failing_since": _time(endpoint.failing_since),
        "last_success_at": _time(endpoint.last_success_at),
        "disabled_at": _time(endpoint.disabled_at),
    }
    return _event(event_type, data, now, subject=f"{endpoint._meta.label}:{endpoint.pk}")


def _event(event_type: str, data: dict[str, Any], now: datetime, *, subject: str, origin: str = "") -> Event:
    payload = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Event(
        event_type=event_type,
        payload=payload,
        payload_hash=hashlib.sha256(payload.encode()).hexdigest(),
        occurred_at=now,
        created_at=now,
        subject=subject,
        origin=origin,
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _store(events: Sequence[Event], tenant_id: str, *, using: str) -> None:
    if not events:
        return
    # A default that somebody deleted is made again: no delivery may fail because nobody can be told of it.
    application, _created = Application.objects.using(using).get_or_create(
        slug=APPLICATION, defaults={"name": APPLICATION.capitalize()}
    )
    for event in events:
        event.application, event.tenant_id = application, tenant_id
    writing.insert_new(events, using=using)
