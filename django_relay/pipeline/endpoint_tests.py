"""Try an endpoint: an event for it alone, sent by the workers as any other, with one attempt and without consequences.

A test that fails makes no DLQ entry, is not retried, and counts neither in the endpoint's health nor in its statistics;
nobody is told of it by signals or operational events. It is fanned out to no other endpoint, and never replayed.
"""

import logging
from typing import Any, NamedTuple

from django.db import router, transaction

from django_relay import exceptions
from django_relay.catalog import lookup, registry
from django_relay.models import Attempt, Delivery, Endpoint, Event, EventType
from django_relay.models.delivery import FIRST
from django_relay.pipeline import outbox

logger = logging.getLogger(__name__)


class Result(NamedTuple):
    """What became of a test."""

    delivery: Delivery
    attempt: Attempt | None
    """What was sent and what came back; ``None`` while that is not known."""


def send(endpoint: Endpoint, event_type: str, *, data: Any = None, actor: str = "") -> Event:
    """Send a test event to one endpoint, whether it subscribes to the type or not; :func:`result` says what came back.

    Args:
        endpoint: an enabled endpoint.
        event_type: a type of its application's catalog.
        data: what to send; default the type's example, or ``{}`` for a type that has neither example nor schema.
        actor: who asked for it; logged.

    Raises:
        WrongState: ``endpoint_disabled``: workers send nothing to a disabled endpoint, so enable it first;
            ``endpoint_deleted``.
        SendingDisabled: the kill switch is off.
        InvalidPayload: ``no_example``, there is nothing to send; and as :func:`outbox.emit`.
        UnknownEventType, DeprecatedEventType: as :func:`outbox.emit`.
    """
    using = endpoint._state.db or router.db_for_write(Event)
    if not outbox.is_enabled():
        raise exceptions.SendingDisabled
    stored = Endpoint.objects.using(using).select_related("application").filter(pk=endpoint.pk).first()
    if stored is None or stored.deleted_at is not None:
        raise exceptions.WrongState("The endpoint was deleted.", code="endpoint_deleted")
    if not stored.enabled:
        raise exceptions.WrongState("Enable the endpoint first: nothing is sent to it now.", code="endpoint_disabled")
    slug = stored.application.slug
    if data is None:
        data = _example(event_type, stored, using)
    event = outbox.build(event_type=event_type, data=data, tenant_id=stored.tenant_id, application=slug, using=using)
    event.only_endpoint_id = stored.pk
    outbox.store([event], using=using)
    extra = {"event": "endpoint.tested", "endpoint_id": stored.pk, "event_id": event.pk, "actor": actor}
    transaction.on_commit(lambda: logger.info("endpoint.tested %s", stored.pk, extra=extra), using=using, robust=True)
    return event


def result(event: Event) -> Result | None:
    """Return what became of a test event so far; ``None`` while it is not fanned out.

    It stays ``None`` when the endpoint was disabled before that: then the event's status is ``no_match``.
    """
    using = event._state.db or router.db_for_read(Delivery)
    made = Delivery.objects.using(using).filter(FIRST, event_id=event.pk, endpoint_id=event.only_endpoint_id)
    delivery = made.first()
    if delivery is None:
        return None
    attempts = Attempt.objects.using(using).filter(delivery_id=delivery.pk)
    return Result(delivery, attempts.order_by("number", "pk").first())


def _example(event_type: str, endpoint: Endpoint, using: str) -> Any:
    """Return the example of a type, as the catalog shows it."""
    slug = endpoint.application.slug
    entry = lookup.find(event_type, application=slug, using=using)
    row = EventType.objects.using(using).filter(application_id=endpoint.application_id, name=entry.name).first()
    declared = row or registry.find(slug, entry.name)
    example = None if declared is None else declared.example
    if example is None and entry.schema is not None:
        raise exceptions.InvalidPayload(
            f"{entry.name} has no example to send; give the data of the test.", code="no_example"
        )
    return {} if example is None else example
