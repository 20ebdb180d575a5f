"""What is due, and taking it: in the words of PostgreSQL, and as any database understands them.

:func:`of` returns the one form or the other. Both find the same; only PostgreSQL's gives versions and goes on from
where it stopped. Each takes ``now``, by which due is decided.
"""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from django.db import connections, models

from django_relay import ids
from django_relay.models import postgres
from django_relay.models.delivery import Delivery
from django_relay.models.endpoint import Endpoint
from django_relay.models.event import Event
from django_relay.rules import pacing

SCANNED = 1_000
"""How many endpoints with something pending one look goes through; the next one goes on from there."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An endpoint with something due."""

    endpoint_id: str
    count: int
    """How many are due; when not all of them can have been seen, as many as may be taken."""
    rate_limit: int
    version: str
    """Changes with whatever belongs to the endpoint; empty where there is no such thing."""
    next_free_at: datetime | None
    """From when on its rate limit allows a send."""

    def waits(self, now: datetime) -> bool:
        """Return whether its rate limit allows nothing now."""
        return self.next_free_at is not None and not pacing.is_free(self.next_free_at, now)


class DeliveryRow(NamedTuple):
    """What an attempt needs of its delivery."""

    id: str
    event_id: str
    endpoint_id: str
    tenant_id: str
    attempt_count: int
    max_attempts: int
    leased_at: datetime | None
    replay_of_id: str | None
    replay_id: str | None

    @property
    def is_replay(self) -> bool:
        """Whether it was made by a replay, of a DLQ entry or in bulk."""
        return self.replay_of_id is not None or self.replay_id is not None


class EventRow(NamedTuple):
    """What an attempt needs of its event."""

    id: str
    event_type: str
    schema_version: str
    payload: str
    occurred_at: datetime
    traceparent: str
    subject: str
    only_endpoint_id: str | None


class Due(Protocol):
    """What a claim asks of the database."""

    def look(self, limit: int, full: Collection[str], after: str | None, *, now: datetime) -> "Look":
        """Return the endpoints with something due, in the order of their turns, without the disabled and ``full`` ones.

        Those that wait for their rate limit come last. Beside them: the endpoint up to which the look went, for the
        next one to go on from as ``after``; ``None`` when all were seen.
        """

    def take(self, allotted: Mapping[str, int], *, now: datetime) -> list[DeliveryRow]:
        """Lock and return so many due deliveries of each endpoint, the longest due first, passing over locked ones."""

    def mark(self, deliveries: Collection[str], token: uuid.UUID, *, now: datetime, until: datetime) -> None:
        """Write the lease onto deliveries that were taken."""

    def events(self, found: Collection[str]) -> list[EventRow]:
        """Return events of deliveries that were taken."""


Look = tuple[list[Waiting], str | None]


class Work(NamedTuple):
    """What there may be to do."""

    events: bool
    """Whether there are events to fan out."""
    deliveries: bool
    """Whether deliveries are due; what is held for a disabled endpoint counts too, the claim will tell."""
    in_bulk: bool
    """Whether a replay or an erasure is in progress."""


EVERYTHING = Work(events=True, deliveries=True, in_bulk=True)
"""For who has no need to ask."""


def work(*, now: datetime, using: str) -> Work:
    """Return what there may be to do, by one cheap query, so that a look that finds nothing costs next to nothing."""
    connection = connections[using]
    moment = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        cursor.execute(_WORK, {"now": moment})
        return Work(*map(bool, cursor.fetchone()))


def of(using: str) -> Due:
    """Return the form that the database ``using`` understands best."""
    return OnPostgres(using) if connections[using].vendor == "postgresql" else Anywhere(using)


class Anywhere:
    """For any database."""

    def __init__(self, using: str) -> None:
        self.using = using

    def look(self, limit: int, full: Collection[str], after: str | None, *, now: datetime) -> Look:
        """See :class:`Due`. Goes through all endpoints with something due when that is more than ``limit``."""
        due = Delivery.objects.using(self.using).due(now)
        oldest = due.of_anybody().order_by("next_attempt_at").values_list("endpoint_id", "next_attempt_at")[:limit]
        counts = Counter(endpoint_id for endpoint_id, _at in oldest)
        first: dict[str, datetime] = {}
        for endpoint_id, at in oldest:
            first.setdefault(endpoint_id, at)
        if len(oldest) == limit:
            first = dict(due.values_list("endpoint_id").annotate(at=models.Min("next_attempt_at")))
            counts = Counter(dict.fromkeys(first, limit))
        open_ = Endpoint.objects.using(self.using).filter(pk__in=first, enabled=True).exclude(pk__in=full)
        rows = open_.values_list("id", "tenant_id", "rate_limit", "pace__next_free_at")
        turns: Counter[tuple[str, bool]] = Counter()
        found: list[tuple[bool, int, Waiting]] = []
        for endpoint_id, tenant_id, rate_limit, free_at in sorted(rows, key=lambda row: first[row[0]]):
            item = Waiting(endpoint_id, counts[endpoint_id], rate_limit, "", free_at if rate_limit else None)
            owner = tenant_id, item.waits(now)
            turns[owner] += 1
            found.append((item.waits(now), turns[owner], item))
        return [item for _waits, _turn, item in sorted(found, key=lambda triple: triple[:2])], None

    def take(self, allotted: Mapping[str, int], *, now: datetime) -> list[DeliveryRow]:
        """See :class:`Due`."""
        skip_locked = connections[self.using].features.has_select_for_update_skip_locked
        locked = (
            Delivery.objects.using(self.using)
            .due(now)
            .order_by("next_attempt_at")
            .select_for_update(skip_locked=skip_locked)
        )
        rows = locked.values_list(*DeliveryRow._fields)
        found = [rows.filter(endpoint_id=endpoint_id)[:count] for endpoint_id, count in allotted.items()]
        return [DeliveryRow(*row) for rows in found for row in rows]

    def mark(self, deliveries: Collection[str], token: uuid.UUID, *, now: datetime, until: datetime) -> None:
        """See :class:`Due`."""
        rows = Delivery.objects.using(self.using).filter(pk__in=deliveries)
        rows.update(lease_token=token, leased_at=now, leased_until=until)

    def events(self, found: Collection[str]) -> list[EventRow]:
        """See :class:`Due`."""
        rows = Event.objects.using(self.using).filter(pk__in=found).values_list(*EventRow._fields)
        return [EventRow(*row) for row in rows]


class OnPostgres:
    """For PostgreSQL: few statements whatever the number of rows, with plans that do not hang on statistics."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._seen: dict[str, uuid.UUID] = {}

    def look(self, limit: int, full: Collection[str], after: str | None, *, now: datetime) -> Look:
        """See :class:`Due`. Goes through ``SCANNED`` endpoints at most when more is due than ``limit``."""
        values = {
            "now": now,
            "limit": limit,
            "scanned": SCANNED,
            "after": ids.to_uuid(after, prefix="ep_") if after else uuid.UUID(int=0),
            "full": _keys(full, "ep_"),
        }
        rows, after = self._fetch(_OLDEST, values), None
        if sum(row[1] for row in rows) == limit:
            rows = self._fetch(_EACH, values)
            after = ids.from_uuid(rows[0][5], prefix="ep_") if rows[0][6] == SCANNED else None
        found = [row[:5] for row in rows if row[0] is not None]
        return [Waiting(ids.from_uuid(key, prefix="ep_"), *rest) for key, *rest in found], after

    def take(self, allotted: Mapping[str, int], *, now: datetime) -> list[DeliveryRow]:
        """See :class:`Due`."""
        values = {"now": now, "endpoints": _keys(allotted, "ep_"), "counts": list(allotted.values())}
        return [
            DeliveryRow(self._id(key, "del_"), self._id(event, "evt_"), ids.from_uuid(endpoint, prefix="ep_"), *rest)
            for key, event, endpoint, *rest in self._fetch(_TAKE, values, keeps_plan=True)
        ]

    def mark(self, deliveries: Collection[str], token: uuid.UUID, *, now: datetime, until: datetime) -> None:
        """See :class:`Due`."""
        with postgres.cursor(self.using, keeps_plan=True) as cursor:
            cursor.execute(_MARK, [token, now, until, [self._seen[key] for key in deliveries]])

    def events(self, found: Collection[str]) -> list[EventRow]:
        """See :class:`Due`."""
        rows = self._fetch(_EVENTS, [[self._seen[key] for key in found]], keeps_plan=True)
        return [EventRow(ids.from_uuid(key, prefix="evt_"), *rest) for key, *rest in rows]

    def _id(self, key: uuid.UUID, prefix: str) -> str:
        """Return the id of a key, and keep the key: it is asked for again soon."""
        value = ids.from_uuid(key, prefix=prefix)
        self._seen[value] = key
        return value

    def _fetch(self, sql: str, values: Any, *, keeps_plan: bool = False) -> list[tuple[Any, ...]]:
        with postgres.cursor(self.using, keeps_plan=keeps_plan) as cursor:
            cursor.execute(sql, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _keys(found: Collection[str], prefix: str) -> list[uuid.UUID]:
    return [ids.to_uuid(value, prefix=prefix) for value in found]


_DUE = """
    d.state = 'pending' AND d.next_attempt_at <= %(now)s AND (d.leased_until IS NULL OR d.leased_until <= %(now)s)
"""
_WORK = f"""
    SELECT EXISTS (SELECT 1 FROM django_relay_event WHERE status = 'pending'),
        EXISTS (SELECT 1 FROM django_relay_delivery d WHERE {_DUE} AND d.max_attempts > 0),
        EXISTS (SELECT 1 FROM django_relay_replay WHERE state IN ('pending', 'running'))
            OR EXISTS (SELECT 1 FROM django_relay_erasure WHERE state <> 'completed')
"""
_VERSION = """
    concat_ws('.', e.xmin, e.ctid, a.xmin, a.ctid,
        (SELECT string_agg(concat(s.xmin, s.ctid), '.' ORDER BY s.id) FROM django_relay_signingsecret s
         WHERE s.endpoint_id = e.id))
"""
"""Names the row versions themselves (PostgreSQL manual, 5.6): it changes with a row, whoever changes that."""
_WAITS = "coalesce({0} > %(now)s AND {0} < %(now)s + interval '10 seconds', false)"
"""What ``pacing.is_free`` denies."""
_FREE_AT = "CASE WHEN e.rate_limit > 0 THEN p.next_free_at END"
_OLDEST = f"""
    WITH oldest AS MATERIALIZED (
        SELECT d.endpoint_id, d.next_attempt_at FROM django_relay_delivery d
        WHERE {_DUE} AND d.max_attempts > 0 ORDER BY d.next_attempt_at LIMIT %(limit)s
    ), due AS (
        SELECT endpoint_id, count(*) AS count, min(next_attempt_at) AS at FROM oldest GROUP BY endpoint_id
    )
    SELECT CASE WHEN e.enabled AND e.id <> ALL(%(full)s::uuid[]) THEN e.id END, due.count, e.rate_limit, {_VERSION},
        {_FREE_AT}
    FROM due
    LEFT JOIN django_relay_endpoint e ON e.id = due.endpoint_id
    LEFT JOIN django_relay_application a ON a.id = e.application_id
    LEFT JOIN django_relay_endpointpace p ON p.endpoint_id = e.id
    ORDER BY {_WAITS.format(_FREE_AT)}, row_number() OVER (
        PARTITION BY e.tenant_id, e.enabled AND e.id <> ALL(%(full)s::uuid[]), {_WAITS.format(_FREE_AT)} ORDER BY due.at
    ), due.at
"""
"""The oldest that are due, by endpoint: id, count, rate limit, version, free from."""
_EACH = f"""
    WITH RECURSIVE pending AS (
        (SELECT d.endpoint_id, d.next_attempt_at, 1 AS number FROM django_relay_delivery d
         WHERE d.state = 'pending' AND d.endpoint_id > %(after)s
         ORDER BY d.endpoint_id, d.next_attempt_at LIMIT 1)
        UNION ALL
        SELECT d.endpoint_id, d.next_attempt_at, pending.number + 1 FROM pending CROSS JOIN LATERAL (
            SELECT d.endpoint_id, d.next_attempt_at FROM django_relay_delivery d
            WHERE d.state = 'pending' AND d.endpoint_id > pending.endpoint_id
            ORDER BY d.endpoint_id, d.next_attempt_at LIMIT 1
        ) d WHERE pending.number < %(scanned)s
    ), due AS (
        SELECT e.id, e.tenant_id, e.rate_limit, {_VERSION} AS version, first.at,
            {_FREE_AT} AS next_free_at
        FROM pending
        JOIN django_relay_endpoint e ON e.id = pending.endpoint_id AND e.enabled AND e.id <> ALL(%(full)s::uuid[])
        JOIN django_relay_application a ON a.id = e.application_id
        LEFT JOIN django_relay_endpointpace p ON p.endpoint_id = e.id
        CROSS JOIN LATERAL (
            SELECT d.next_attempt_at AS at FROM django_relay_delivery d
            WHERE d.endpoint_id = e.id AND {_DUE} ORDER BY d.next_attempt_at LIMIT 1
        ) first
        WHERE pending.next_attempt_at <= %(now)s
    ), ordered AS (
        SELECT due.*, row_number() OVER (
            PARTITION BY tenant_id, {_WAITS.format("next_free_at")} ORDER BY at
        ) AS turn FROM due
        ORDER BY {_WAITS.format("next_free_at")}, turn, at LIMIT %(limit)s
    )
    SELECT ordered.id, %(limit)s, ordered.rate_limit, ordered.version, ordered.next_free_at, scan.last, scan.count
    FROM (
        SELECT count(*) AS count, (SELECT endpoint_id FROM pending ORDER BY number DESC LIMIT 1) AS last FROM pending
    ) scan
    LEFT JOIN ordered ON true
    ORDER BY {_WAITS.format("ordered.next_free_at")}, ordered.turn, ordered.at
"""
"""The endpoints with something due, in the order of their turns, found by skipping from one to the next in the index.

Each row ends with how far the search came. ``FOR UPDATE`` has no place here: what is due is locked when it is taken.
"""
_TAKE = f"""
    SELECT {", ".join(f"d.{name}" for name in DeliveryRow._fields)}
    FROM unnest(%(endpoints)s::uuid[], %(counts)s::int[]) WITH ORDINALITY AS turn (endpoint_id, count, number)
    CROSS JOIN LATERAL (
        SELECT d.* FROM django_relay_delivery d WHERE d.endpoint_id = turn.endpoint_id AND {_DUE}
        ORDER BY d.next_attempt_at LIMIT turn.count FOR UPDATE SKIP LOCKED
    ) d
    ORDER BY turn.number
"""
_MARK = """
    UPDATE django_relay_delivery SET lease_token = %s, leased_at = %s, leased_until = %s WHERE id = ANY(%s)
"""
_EVENTS = f"SELECT {', '.join(EventRow._fields)} FROM django_relay_event WHERE id = ANY(%s)"
