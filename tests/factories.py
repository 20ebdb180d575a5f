"""Plain functions that make rows as the package itself would; arguments overrule what is usual."""

import uuid

from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from django_relay import emit, ids
from django_relay.models import (
    ApiKey,
    Application,
    Attempt,
    Delivery,
    DLQEntry,
    Endpoint,
    Event,
    EventType,
    PortalSession,
    Replay,
)
from django_relay.models.lease import Lease, ReadyEndpoint, Settled
from django_relay.rules import envelopes, retries
from django_relay.transport.base import Outcome, Request
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
    return Attempt.objects.create(delivery=delivery, endpoint_id=delivery.endpoint_id, **{**usual, **values})


def make_lease(delivery, **values):
    """Make what a worker holds of a delivery, without leasing it."""
    event, ready = delivery.event, ReadyEndpoint(delivery.endpoint)
    shown = {
        name: getattr(event, name)
        for name in ("event_type", "occurred_at", "payload", "schema_version", "subject", "traceparent")
    }
    usual = {
        "delivery_id": delivery.pk,
        "tenant_id": delivery.tenant_id,
        "attempt_count": delivery.attempt_count,
        "max_attempts": delivery.max_attempts,
        "trigger": delivery.trigger,
        "event": envelopes.Facts(event_id=event.pk, source=ready.source, **shown),
        "ready": ready,
        "token": uuid.uuid4(),
    }
    return Lease(**{**usual, **values})


def make_settled(status_code=200, *, delivery=None, endpoint=None, number=1, is_ours=True, **came_back):
    """Make what settlement returns of one attempt, recording nothing; an error kind has no status code."""
    delivery = delivery or make_delivery(endpoint=endpoint)
    if came_back.get("error_kind"):
        status_code = None
    now = came_back.setdefault("started_at", timezone.now())
    request = Request(ids.new("att_"), delivery.tenant_id, delivery.endpoint.url, {}, b"{}", 15, 1)
    outcome = Outcome(request=request, **{"duration_ms": 12, "status_code": status_code, **came_back})
    decision = retries.decide(
        status_code=status_code,
        error_kind=outcome.error_kind,
        attempt_number=number,
        max_attempts=delivery.max_attempts,
        schedule=delivery.endpoint.schedule,
        policy="always",
        retry_after=None,
        now=now,
        retry_after_max_seconds=60,
        jitter=0,
        random=0,
    )
    lease = make_lease(delivery, attempt_count=number - 1)
    return Settled(lease, outcome, decision, is_ours)


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


def make_api_key(person=ALICE, **values):
    """Issue a key and return it with its token: a tenant's, or with ``operator=True`` an operator's."""
    owner = {} if values.get("operator") else {"tenant_id": person.tenant_id}
    return ApiKey.objects.issue(**{**owner, **values})


def make_link(person=ALICE, **values):
    """Make a portal session of which nobody has used the link; return it with the link's token."""
    return PortalSession.objects.invite(**{"tenant_id": person.tenant_id, **values})


def make_portal_session(person=ALICE, *, now=None, **values):
    """Make a portal session that is open, and return it with its token."""
    now = now or timezone.now()
    _session, token = make_link(person, now=now, **values)
    return PortalSession.objects.exchange(token, now=now)


def make_replay(person=ALICE, *, kind="failed", **values):
    """Make a replay as it is stored, without what it does."""
    application = Application.objects.get(slug="default")
    return Replay.objects.create(application=application, tenant_id=person.tenant_id, kind=kind, **values)


def unknown_id(prefix):
    """Return an id that no row has."""
    return ids.new(prefix)
