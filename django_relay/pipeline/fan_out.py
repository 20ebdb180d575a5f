"""Step 2: pending events become one delivery per matching endpoint, exactly once.

A batch is locked, matched, inserted and marked in one transaction. Two workers never hold the same event (``SKIP
LOCKED``, or SQLite's one writer), and the unique constraint on (event, endpoint) holds even if they did. There is no
cursor: an event that commits late is found all the same.

Endpoints are read by the page and deliveries inserted by the page, so that memory stays the same whether an event has
one receiver or a hundred thousand.
"""

import json
import logging
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connections, models

from django_relay import ids
from django_relay.models import Delivery, Endpoint, Event, postgres, writing
from django_relay.models.endpoint_choices import schedule_of
from django_relay.pipeline.versioned import Versioned
from django_relay.rules import subscribing

logger = logging.getLogger(__name__)

_PAGE = 5_000
"""How many endpoints are looked at together, and about how many deliveries one transaction makes of many events."""
_KEPT = 20_000


_Owner = tuple[str, str]
"""Application and tenant."""


class _Event(NamedTuple):
    """What matching needs of an event: not its payload."""

    id: str
    application_id: str
    tenant_id: str
    event_type: str
    attributes: Mapping[str, Any]
    only_endpoint_id: str | None


@dataclass(frozen=True, slots=True)
class _Subscription:
    """What an endpoint subscribes to."""

    endpoint_id: str
    application_id: str
    tenant_id: str
    patterns: tuple[str, ...]
    filters: Mapping[str, Any]
    retry_schedule: Any

    def wants(self, event: _Event) -> bool:
        """Return whether the endpoint gets the event."""
        if event.only_endpoint_id is not None:
            return self.endpoint_id == event.only_endpoint_id
        name, attributes = event.event_type, event.attributes
        return subscribing.refusal(self.patterns, self.filters, event_type=name, attributes=attributes) is None


class Subscriptions:
    """The subscriptions a worker has read, by the version of the endpoint's row."""

    def __init__(self) -> None:
        self._kept = Versioned[_Subscription](_KEPT)

    def page(self, owners: Collection[_Owner], *, after: str | None, using: str) -> list[_Subscription]:
        """Return the open endpoints of some owners, ``_PAGE`` and one at most, by id, from the one after ``after``."""
        if connections[using].vendor != "postgresql":
            rows = Endpoint.objects.using(using).open().filter(_owned_by(owners)).order_by("id")
            rows = rows if after is None else rows.filter(id__gt=after)
            return [_subscription(row) for row in rows.values_list(*_COLUMNS)[: _PAGE + 1]]
        versions = _versions(owners, after, using)
        found = {key: self._kept.get(key, version) for key, version in versions.items()}
        missing = [key for key, kept in found.items() if kept is None]
        if missing:
            for row in Endpoint.objects.using(using).filter(id__in=missing).values_list(*_COLUMNS):
                found[row[0]] = subscription = _subscription(row)
                self._kept.put(row[0], versions[row[0]], subscription)
        return [kept for kept in found.values() if kept is not None]


def _owned_by(owners: Collection[_Owner]) -> models.Q:
    by_application: dict[str, set[str]] = defaultdict(set)
    for application_id, tenant_id in owners:
        by_application[application_id].add(tenant_id)
    owned = models.Q()
    for application_id, tenants in by_application.items():
        owned |= models.Q(application_id=application_id, tenant_id__in=tenants)
    return owned


def _versions(owners: Collection[_Owner], after: str | None, using: str) -> dict[str, str]:
    values = {
        "applications": [ids.to_uuid(application_id, prefix="app_") for application_id, _tenant_id in owners],
        "tenants": [tenant_id for _application_id, tenant_id in owners],
        "after": ids.to_uuid(after, prefix="ep_") if after else uuid.UUID(int=0),
        "limit": _PAGE + 1,
    }
    with postgres.cursor(using) as cursor:
        cursor.execute(_VERSIONS, values)
        return {ids.from_uuid(key, prefix="ep_"): version for key, version in cursor}


_VERSIONS = """
    SELECT e.id, concat(e.xmin, e.ctid) FROM django_relay_endpoint e
    WHERE (e.application_id, e.tenant_id) IN (SELECT * FROM unnest(%(applications)s::uuid[], %(tenants)s::varchar[]))
        AND e.enabled AND e.deleted_at IS NULL AND e.id > %(after)s
    ORDER BY e.id LIMIT %(limit)s
"""
"""The open endpoints of some owners with the version of each row itself (PostgreSQL manual, 5.6)."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """What a fan-out did."""

    events: int = 0
    """How many it took."""
    is_partial: bool = False
    """Whether more may be pending."""


def expand(limit: int, *, now: datetime, using: str, subscriptions: Subscriptions | None = None) -> Expansion:
    """Fan out up to ``limit`` pending events."""
    return _expand(limit, subscriptions or Subscriptions(), now=now, using=using)


@writing.in_transaction
def _expand(limit: int, subscriptions: Subscriptions, *, now: datetime, using: str) -> Expansion:
    is_postgres = connections[using].vendor == "postgresql"
    events = pending = (_lock_on_postgres if is_postgres else _lock_anywhere)(limit, using)
    if not events:
        return Expansion()
    found = subscriptions.page(_owners(events), after=None, using=using)
    while len(found) > _PAGE and len(events) > 1:
        events = events[: len(events) // 2]  # the rest stays pending
        found = subscriptions.page(_owners(events), after=None, using=using)
    counts = {event.id: 0 for event in events}
    if len(found) > _PAGE:
        for page in _pages(events[0], found, subscriptions, using):
            counts[events[0].id] += _deliver([(events[0], item) for item in page], now=now, using=using)
    else:
        matched = _match(events, found)
        counts = {event.id: len(wanted) for event, wanted in matched}
        _deliver([(event, item) for event, wanted in matched for item in wanted], now=now, using=using)
    (_mark_on_postgres if is_postgres else _mark_anywhere)(counts, now, using)
    return Expansion(len(counts), is_partial=len(counts) < len(pending) or len(pending) == limit)


def _lock_anywhere(limit: int, using: str) -> list[_Event]:
    """Lock pending events, the oldest first, passing over those that another worker has locked."""
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    pending = Event.objects.using(using).pending().order_by("id").select_for_update(skip_locked=skip_locked)
    return [_Event(*row) for row in pending.values_list(*_Event._fields)[:limit]]


def _lock_on_postgres(limit: int, using: str) -> list[_Event]:
    with postgres.cursor(using) as cursor:
        cursor.execute(_PENDING, [limit])
        rows = cursor.fetchall()
    return [
        _Event(
            id=ids.from_uuid(key, prefix="evt_"),
            application_id=ids.from_uuid(application_id, prefix="app_"),
            tenant_id=tenant_id,
            event_type=event_type,
            attributes=json.loads(attributes),
            only_endpoint_id=None if only is None else ids.from_uuid(only, prefix="ep_"),
        )
        for key, application_id, tenant_id, event_type, attributes, only in rows
    ]


_PENDING = """
    SELECT id, application_id, tenant_id, event_type, attributes::text, only_endpoint_id FROM django_relay_event
    WHERE status = 'pending'
    ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""


def _owners(events: Sequence[_Event]) -> set[_Owner]:
    return {(event.application_id, event.tenant_id) for event in events}


def _pages(
    event: _Event, page: list[_Subscription], subscriptions: Subscriptions, using: str
) -> Iterator[list[_Subscription]]:
    """Give the endpoints that want an event whose owner has more of them than a page holds."""
    while page:
        page, more = page[:_PAGE], len(page) > _PAGE
        yield [item for item in page if _wants(item, event)]
        owners = _owners([event])
        page = subscriptions.page(owners, after=page[-1].endpoint_id, using=using) if more else []


def _match(events: Sequence[_Event], found: Sequence[_Subscription]) -> list[tuple[_Event, list[_Subscription]]]:
    """Return the events, each with who wants it, up to about ``_PAGE`` deliveries; the rest stays pending."""
    by_owner: dict[tuple[str, str], list[_Subscription]] = defaultdict(list)
    for item in found:
        by_owner[item.application_id, item.tenant_id].append(item)
    matched, total = [], 0
    for event in events:
        if total >= _PAGE:
            break
        wanted = [item for item in by_owner[event.application_id, event.tenant_id] if _wants(item, event)]
        matched.append((event, wanted))
        total += len(wanted)
    return matched


def _deliver(pairs: Sequence[tuple[_Event, _Subscription]], *, now: datetime, using: str) -> int:
    usual = {
        "state": Delivery.State.PENDING.value,
        "attempt_count": 0,
        "next_attempt_at": now,
        "last_error": "",
        "last_error_kind": "",
        "last_response": "",
        "created_at": now,
        "updated_at": now,
    }
    deliveries = [
        {
            "id": ids.new("del_"),
            "event_id": event.id,
            "endpoint_id": item.endpoint_id,
            "tenant_id": item.tenant_id,
            "max_attempts": 1 + len(schedule_of(item.retry_schedule)) if event.only_endpoint_id is None else 1,
            **usual,
        }
        for event, item in pairs
    ]
    writing.insert(Delivery, deliveries, using=using)
    return len(pairs)


def _mark_anywhere(counts: Mapping[str, int], now: datetime, using: str) -> None:
    """Write onto events how many endpoints wanted them."""
    by_count: dict[int, list[str]] = defaultdict(list)
    for event_id, count in counts.items():
        by_count[count].append(event_id)
    for count, found in by_count.items():
        Event.objects.using(using).filter(pk__in=found).update(
            status=Event.Status.DISPATCHED if count else Event.Status.NO_MATCH,
            matched_count=count,
            dispatched_at=now,
        )


def _mark_on_postgres(counts: Mapping[str, int], now: datetime, using: str) -> None:
    document = [{"id": ids.to_hex(key, prefix="evt_"), "count": count} for key, count in counts.items()]
    with postgres.cursor(using) as cursor:
        cursor.execute(_MARK, [now, writing.dumps(document)])


_MARK = f"""
    UPDATE django_relay_event e SET matched_count = new.count, dispatched_at = %s,
        status = CASE WHEN new.count > 0 THEN 'dispatched' ELSE 'no_match' END
    FROM {writing.recordset({"id": "uuid", "count": "integer"})} WHERE e.id = new.id
"""


def _wants(item: _Subscription, event: _Event) -> bool:
    """Return whether the endpoint subscribes to the event; a row that was spoilt past our checks holds up no other."""
    try:
        return item.wants(event)
    except Exception:
        logger.exception(
            "An endpoint's subscription cannot be read; it gets nothing.",
            extra={"event": "endpoint.unreadable", "endpoint_id": item.endpoint_id, "event_id": event.id},
        )
        return False


_COLUMNS = ("id", "application_id", "tenant_id", "event_types", "filters", "retry_schedule")


def _subscription(row: Sequence[Any]) -> _Subscription:
    endpoint_id, application_id, tenant_id, patterns, wanted, schedule = row
    return _Subscription(endpoint_id, application_id, tenant_id, _hashable(patterns), wanted, schedule)


def _hashable(patterns: Any) -> Any:
    return tuple(patterns) if isinstance(patterns, list) else patterns
