"""Plain functions that make rows as the package itself would; arguments overrule what is usual."""

from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from django_relay import emit, ids
from django_relay.models import Application, Attempt, Delivery, DLQEntry, Endpoint, Event, EventType
from tests.people import ALICE

USING = DEFAULT_DB_ALIAS
"""The database under test: the one or the other, see conftest.py."""

INVOICE = {"number": "2026-0042", "amount": "99.00", "currency": "EUR"}


def make_application(slug="second"):
    return Application.objects.create(slug=slug, name=slug.title())


def make_event_type(name="order.placed", *, application="default", **values):
    return EventType.objects.create(application=Application.objects.get(slug=application), name=name, **values)


def make_endpoint(person=ALICE, *, event_types=("*",), **values):
    return Endpoint.objects.register(
        **{"tenant_id": person.tenant_id, "url": person.url, "event_types": list(event_types), **values}
    )


def make_event(event_type="invoice.paid", data=INVOICE, *, person=ALICE, **arguments):
    """Emit an event, as the host would."""
    event = emit(event_type, data, **{"tenant_id": person.tenant_id, **arguments})
    assert event is not None
    return event


def make_delivery(*, endpoint=None, event=None, **values):
    """Make a delivery of an event that is fanned out; a settled one is completed now."""
    endpoint = endpoint or make_endpoint()
    now = timezone.now()
    if event is None:
        event = emit("invoice.paid", INVOICE, tenant_id=endpoint.tenant_id, application=endpoint.application.slug)
    Event.objects.filter(pk=event.pk).update(status="dispatched", matched_count=1, dispatched_at=now)
    event.refresh_from_db()
    usual = {
        "tenant_id": endpoint.tenant_id,
        "max_attempts": 1 + len(endpoint.schedule),
        "next_attempt_at": now,
        "completed_at": None if values.get("state", "pending") == "pending" else now,
    }
    return Delivery.objects.create(event=event, endpoint=endpoint, **{**usual, **values})


def make_attempt(delivery, **values):
    usual = {
        "number": 1,
        "trigger": "automatic",
        "started_at": timezone.now(),
        "duration_ms": 5,
        "status_code": 500,
    }
    return Attempt.objects.create(delivery=delivery, **{**usual, **values})


def make_dlq_entry(delivery=None, **values):
    """Make a given-up delivery and its entry, as settlement leaves them."""
    delivery = delivery or make_delivery(state="failed", attempt_count=10)
    usual = {
        "event": delivery.event,
        "endpoint": delivery.endpoint,
        "event_type": delivery.event.event_type,
        "tenant_id": delivery.tenant_id,
        "url": delivery.endpoint.url,
        "error": "HTTP 500",
        "attempt_count": delivery.attempt_count,
        "last_status_code": 500,
        "failed_at": timezone.now(),
    }
    return DLQEntry.objects.create(delivery=delivery, **{**usual, **values})


def unknown_id(prefix):
    """Return an id that no row has."""
    return ids.new(prefix)
