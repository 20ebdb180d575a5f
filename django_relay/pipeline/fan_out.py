"""Step 2: pending events become one delivery per matching endpoint, exactly once.

A batch is locked, matched, inserted and marked in one transaction. Two workers never hold the same event (``SKIP
LOCKED``, or SQLite's one writer), and the unique constraint on (event, endpoint) holds even if they did. There is no
cursor: an event that commits late is found all the same.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from django.db import connections, models

from django_relay.models import Delivery, Endpoint, Event, writing

logger = logging.getLogger(__name__)

_DELIVERIES = 5_000
"""About how many deliveries one transaction makes, so that it stays short whatever the number of endpoints."""


@writing.in_transaction
def expand(limit: int, *, now: datetime, using: str) -> int:
    """Fan out up to ``limit`` pending events; return how many were taken."""
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    pending = Event.objects.using(using).pending().order_by("id")
    events = list(pending.select_for_update(skip_locked=skip_locked)[:limit])
    if not events:
        return 0
    endpoints = _endpoints_by_owner(events, using=using)
    deliveries: list[Delivery] = []
    by_count: dict[int, list[str]] = defaultdict(list)
    for event in events:
        if len(deliveries) >= _DELIVERIES:
            break  # the rest stays pending
        wanted = _match(event, endpoints[event.application_id, event.tenant_id])
        deliveries += [Delivery.of(event, endpoint, now=now) for endpoint in wanted]
        by_count[len(wanted)].append(event.pk)
    writing.insert_new(deliveries, using=using)
    for count, found in by_count.items():
        Event.objects.using(using).filter(pk__in=found).update(
            status=Event.Status.DISPATCHED if count else Event.Status.NO_MATCH,
            matched_count=count,
            dispatched_at=now,
        )
    return sum(map(len, by_count.values()))


def _endpoints_by_owner(events: Iterable[Event], *, using: str) -> defaultdict[tuple[str, str], list[Endpoint]]:
    by_application: dict[str, set[str]] = defaultdict(set)
    for event in events:
        by_application[event.application_id].add(event.tenant_id)
    owned = models.Q()
    for application_id, tenants in by_application.items():
        owned |= models.Q(application_id=application_id, tenant_id__in=tenants)
    found: defaultdict[tuple[str, str], list[Endpoint]] = defaultdict(list)
    for endpoint in Endpoint.objects.using(using).open().filter(owned).defer("headers"):
        found[endpoint.application_id, endpoint.tenant_id].append(endpoint)
    return found


def _match(event: Event, endpoints: list[Endpoint]) -> list[Endpoint]:
    if event.only_endpoint_id is not None:
        return [endpoint for endpoint in endpoints if endpoint.pk == event.only_endpoint_id]
    return [endpoint for endpoint in endpoints if _wants(endpoint, event)]


def _wants(endpoint: Endpoint, event: Event) -> bool:
    """Return whether the endpoint subscribes to the event; a row that was spoilt past our checks holds up no other."""
    try:
        return endpoint.wants(event.event_type, event.attributes)
    except Exception:
        logger.exception(
            "An endpoint's subscription cannot be read; it gets nothing.",
            extra={"event": "endpoint.unreadable", "endpoint_id": endpoint.pk, "event_id": event.pk},
        )
        return False
