"""A past for the example: weeks in which three customers received webhooks, mostly well.

Rows are written as the package would have left them; nothing of it is ever sent. Made once, always the same. Single
events are a sample of the last hours: the hourly counts hold their attempts, and those of many more, none given up.
"""

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_relay import ids, register_event_type
from django_relay.models import Application, Attempt, Delivery, DLQEntry, Endpoint, EndpointHour, Event
from django_relay.models.endpoint_hour import COUNTS, LATENCY_MS, hour_of
from example_project.demo import catalog

DAYS = 30
"""How far back the hourly counts go."""
RECENT = timedelta(hours=30)
"""How far back single events go."""
_TYPES = ("invoice.paid", "invoice.paid", "invoice.created", "order.shipped", "customer.updated", "invoice.overdue")
_ANSWERS = {
    500: '{"error": "internal", "request": "8f31c0"}',
    502: "<html><body><h1>502 Bad Gateway</h1></body></html>",
    503: "upstream is being deployed, come back later",
    404: '{"message": "no route"}',
}


@dataclass(frozen=True)
class Kept:
    """One endpoint of the past."""

    tenant_id: str
    url: str
    event_types: tuple[str, ...]
    description: str = ""
    an_hour: int = 12
    """How many events it usually got in an hour."""
    fails: float = 0.01
    """Which part of its attempts failed."""
    failing: timedelta | None = None
    """Since how long ago it only failed."""
    disabled: str = ""
    values: tuple[tuple[str, Any], ...] = ()


ENDPOINTS = (
    Kept("acme", "https://hooks.acme.example/billing", ("invoice.*",), "Books invoices into the ledger", 40, 0.004),
    Kept("acme", "https://warehouse.acme.example/events", ("order.**",), "Tells the warehouse what to ship", 18, 0.06),
    Kept("acme", "https://crm.acme.example/incoming/webhooks/customers", ("customer.updated", "customer.created"),
         "CRM", 6, 0.02, failing=timedelta(hours=7)),
    Kept("acme", "https://old-reports.acme.example/hook", ("*",), "Nightly reports", 25, 0.1,
         failing=timedelta(days=6), disabled="failing"),
    Kept("acme", "https://staging.acme.example/hooks?source=shop", ("*",), "Staging", 3, 0.0, disabled="tenant",
         values=(("filters", {"region": ["eu"]}), ("headers", {"X-Environment": "staging"}), ("rate_limit", 5))),
    Kept("globex", "https://api.globex.example/shop-events", ("*",), "", 30, 0.01),
    Kept("initech", "https://initech.example/tps/receive", ("invoice.paid",), "TPS reports", 8, 0.3,
         failing=timedelta(hours=20)),
)  # fmt: skip


def write() -> None:
    """Write the past, unless it stands there."""
    if Endpoint.objects.filter(url=ENDPOINTS[0].url).exists():
        return
    dice, now = random.Random(42), timezone.now()  # a made-up past, the same each time
    application = Application.objects.get(slug="default")
    with transaction.atomic():
        for definition in catalog.CATALOG:
            register_event_type(definition)
        made = [(kept, _endpoint(kept, now)) for kept in ENDPOINTS]
        shown: dict[tuple[str, datetime], Counter[str]] = defaultdict(Counter)
        for tenant_id in sorted({kept.tenant_id for kept in ENDPOINTS}):
            own = [(kept, endpoint) for kept, endpoint in made if kept.tenant_id == tenant_id]
            for attempt in _write_events(application, tenant_id, own, now, dice):
                shown[attempt.endpoint_id, hour_of(attempt.started_at)].update(_counted(attempt))
        for kept, endpoint in made:
            EndpointHour.objects.bulk_create(_hours(kept, endpoint, shown, now, dice), batch_size=200)


def _endpoint(kept: Kept, now: datetime) -> Endpoint:
    endpoint = Endpoint.objects.register(
        tenant_id=kept.tenant_id,
        url=kept.url,
        event_types=list(kept.event_types),
        description=kept.description,
        **dict(kept.values),
    )
    changed: dict[str, Any] = {"created_at": now - timedelta(days=DAYS + 11), "last_success_at": now}
    if kept.failing is not None:
        changed["last_success_at"] = changed["failing_since"] = now - kept.failing
    if kept.disabled:
        changed |= Endpoint.disabling(kept.disabled, at=now - timedelta(hours=20))
    Endpoint.objects.filter(pk=endpoint.pk).update(**changed)
    endpoint.refresh_from_db()
    return endpoint


def _counted(attempt: Attempt) -> Iterator[str]:
    """Give the columns that count an attempt."""
    status, delivery = attempt.status_code, attempt.delivery
    if status == 200:
        yield "delivered"
    else:
        is_last = delivery.state == Delivery.State.FAILED and delivery.attempt_count == attempt.number
        yield "dead_lettered" if is_last else "retried"
    yield f"status_{status // 100}xx" if status else "status_none"
    if not status:
        yield "timeouts"
    yield next(name for name, upper in LATENCY_MS.items() if attempt.duration_ms <= upper)


def _hours(
    kept: Kept, endpoint: Endpoint, shown: Mapping[tuple[str, datetime], Mapping[str, int]], now: datetime,
    dice: random.Random,
) -> Iterator[EndpointHour]:  # fmt: skip
    hour = hour_of(now - timedelta(days=DAYS))
    while hour <= now:
        busy = 1.0 if 7 <= hour.hour <= 19 else 0.25
        attempts = round(kept.an_hour * busy * (0.4 if hour.weekday() > 4 else 1.0) * dice.uniform(0.6, 1.4))
        if endpoint.disabled_at is not None and hour > endpoint.disabled_at:
            attempts = 0
        down = kept.failing is not None and hour > now - kept.failing
        failed = attempts if down else sum(dice.random() < kept.fails for _ in range(attempts))
        counts = dict.fromkeys(COUNTS, 0)
        counts["delivered"] = counts["status_2xx"] = attempts - failed
        counts["retried"] = failed
        counts["timeouts"] = counts["status_none"] = failed // 5
        counts["status_4xx"] = failed // 8
        counts["status_5xx"] = failed - counts["status_none"] - counts["status_4xx"]
        counts["within_30000_ms"] = counts["timeouts"]
        quick = attempts - counts["timeouts"]
        counts["within_50_ms"], counts["within_100_ms"] = quick // 4, quick // 2
        counts["within_250_ms"] = quick - quick // 4 - quick // 2
        for name, number in shown.get((endpoint.pk, hour), {}).items():
            counts[name] += number
        yield EndpointHour(id=ids.new("hour_"), endpoint=endpoint, hour=hour, **counts)
        hour += timedelta(hours=1)


def _write_events(
    application: Application, tenant_id: str, own: list[tuple[Kept, Endpoint]], now: datetime, dice: random.Random
) -> list[Attempt]:
    """Write a tenant's events with all that came of them; return the attempts."""
    events: list[Event] = []
    deliveries: list[Delivery] = []
    attempts: list[Attempt] = []
    entries: list[DLQEntry] = []
    moments = sorted(now - RECENT * dice.random() ** 2 for _ in range(160))
    for number, at in enumerate(moments, start=4000):
        event = _event(application, tenant_id, at, number, dice)
        events.append(event)
        for kept, endpoint in own:
            if not _wants(kept, event.event_type):
                continue
            delivery = Delivery.of(event.pk, endpoint, now=at)
            delivery.id = _id("del_", at, dice)
            event.matched_count = (event.matched_count or 0) + 1
            deliveries.append(delivery)
            attempts += _attempts(kept, endpoint, delivery, at, now, dice)
            if delivery.state == Delivery.State.FAILED:
                entries.append(_entry(delivery, event, endpoint))
        event.status = Event.Status.DISPATCHED if event.matched_count else Event.Status.NO_MATCH
    Event.objects.bulk_create(events)
    Delivery.objects.bulk_create(deliveries, batch_size=200)
    Attempt.objects.bulk_create(attempts, batch_size=200)
    DLQEntry.objects.bulk_create(entries, batch_size=200)
    return attempts


def _event(application: Application, tenant_id: str, at: datetime, number: int, dice: random.Random) -> Event:
    event_type = dice.choice(_TYPES)
    data = {
        "number": f"2026-{number}",
        "amount": f"{dice.randint(9, 900)}.{dice.randint(0, 99):02}",
        "currency": "EUR",
        "customer": {"name": "Ada Lovelace", "country": dice.choice(["DE", "FR", "NL"])},
        "paid": event_type == "invoice.paid",
    }
    payload = json.dumps(data, separators=(",", ":"))
    return Event(
        id=_id("evt_", at, dice),
        application=application,
        tenant_id=tenant_id,
        event_type=event_type,
        payload=payload,
        payload_hash=hashlib.sha256(payload.encode()).hexdigest(),
        attributes={"region": [dice.choice(["eu", "us"])]},
        occurred_at=at,
        created_at=at,
        dispatched_at=at + timedelta(milliseconds=40),
        subject=f"shop.Invoice:{number}",
    )


def _attempts(
    kept: Kept, endpoint: Endpoint, delivery: Delivery, at: datetime, now: datetime, dice: random.Random
) -> Iterator[Attempt]:
    """Give the attempts of a delivery, and leave it as they do."""
    if endpoint.disabled_at is not None and at > endpoint.disabled_at:
        return  # held
    down = kept.failing is not None and at > now - kept.failing
    first_fails = down or dice.random() < kept.fails
    waits = [0.0, *(5, 300, 1_800, 7_200) * (first_fails)]
    moment = at + timedelta(milliseconds=90)
    for number, wait in enumerate(waits, start=1):
        moment += timedelta(seconds=wait)
        if moment > now:
            delivery.next_attempt_at = moment
            break
        fails = down or (first_fails and number == 1)
        attempt = _attempt(endpoint, delivery, number, moment, fails=fails, dice=dice)
        _settle(delivery, attempt, fails=fails, last=number == len(waits))
        yield attempt
        if not fails:
            break


def _attempt(
    endpoint: Endpoint, delivery: Delivery, number: int, at: datetime, *, fails: bool, dice: random.Random
) -> Attempt:
    answer = dice.choice([500, 502, 503, 404, None]) if fails else 200
    body = _ANSWERS.get(answer, "") if answer else ""
    return Attempt(
        id=_id("att_", at, dice),
        delivery=delivery,
        endpoint=endpoint,
        number=number,
        trigger="automatic",
        started_at=at,
        duration_ms=15_000 if answer is None else dice.randint(28, 240),
        status_code=answer,
        error_kind="" if answer else "timeout",
        request_headers=[["content-type", "application/json"], ["webhook-id", delivery.event_id],
                         ["webhook-signature", "v1,…"], ["user-agent", "django_relay/0.1.0"]],
        response_headers=[["content-type", "application/json"], ["server", "nginx"]] if answer else [],
        response_body=body or ('{"ok": true}' if answer == 200 else ""),
    )  # fmt: skip


def _settle(delivery: Delivery, attempt: Attempt, *, fails: bool, last: bool) -> None:
    delivery.attempt_count = attempt.number
    delivery.last_status_code = attempt.status_code
    delivery.last_error_kind = attempt.error_kind
    delivery.last_latency_ms = attempt.duration_ms
    if not fails or last:
        delivery.state = Delivery.State.FAILED if fails else Delivery.State.DELIVERED
        delivery.completed_at = attempt.started_at


def _entry(delivery: Delivery, event: Event, endpoint: Endpoint) -> DLQEntry:
    return DLQEntry(
        delivery=delivery,
        event=event,
        endpoint=endpoint,
        event_type=event.event_type,
        tenant_id=endpoint.tenant_id,
        url=endpoint.url,
        error_kind=delivery.last_error_kind,
        attempt_count=delivery.attempt_count,
        last_status_code=delivery.last_status_code,
        failed_at=delivery.completed_at or delivery.created_at,
    )


def _wants(kept: Kept, event_type: str) -> bool:
    return any(pattern == "*" or event_type.startswith(pattern.rstrip("*")) for pattern in kept.event_types)


def _id(prefix: str, at: datetime, dice: random.Random) -> str:
    """Return an id of that time, as lists are ordered by ids."""
    tail = ids.to_uuid(ids.new(prefix), prefix=prefix).int & ((1 << 62) - 1)
    first = ids.to_uuid(ids.earliest(at, prefix=prefix), prefix=prefix).int
    found = first | (0x7 << 76) | (dice.getrandbits(12) << 64) | (0b10 << 62) | tail
    return ids.from_uuid(type(ids.to_uuid(ids.new(prefix), prefix=prefix))(int=found), prefix=prefix)
