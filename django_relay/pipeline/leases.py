"""Step 3: a worker takes due deliveries for a time, with a token that proves it.

What is due is decided by ``now``, the database's clock. A delivery whose lease ran out is taken like any other: its
:class:`~django_relay.models.lease.Lease` then says so, and stands for an attempt of outcome ``unknown``.

A claim looks at who has something due, gives each endpoint its turn (``rules.pacing``), and takes so many of each. As
long as all that is due fits, one look at the oldest shows everybody. When it does not, the endpoints themselves are
gone through, so that a backlog of millions, a disabled endpoint's or a rate-limited one's hides nobody; tenants take
turns, then the endpoints of each (``models.due``).
"""

import logging
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connections

from django_relay import conf
from django_relay.models import Attempt, Delivery, EndpointPace, due, writing
from django_relay.models.delivery import NO_LEASE
from django_relay.models.lease import Lease, ReadyEndpoint
from django_relay.pipeline.ready_endpoints import ReadyEndpoints
from django_relay.rules import envelopes, pacing

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Gates:
    """What a worker carries from claim to claim."""

    shares: pacing.Shares
    ready_endpoints: ReadyEndpoints = field(default_factory=ReadyEndpoints)
    after: str | None = None
    """The endpoint up to which the last claim went; ``None`` when it saw all."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker got."""

    leases: list[Lease] = field(default_factory=list)
    again_in: float | None = None
    """After how many seconds to look again, where something due waits for a rate limit alone or not all endpoints were
    seen: 0 is soon, ``None`` is where nothing is known to wait."""
    is_partial: bool = False
    """Whether more may be due than there was room for."""


def claim(limit: int, *, now: datetime, using: str, gates: Gates | None = None) -> Claim:
    """Lease up to ``limit`` due deliveries, with all that their attempts need, fairly across tenants and endpoints.

    What an endpoint's share or its rate limit does not allow stays due, untouched. Without ``gates`` each endpoint may
    have ``MAX_IN_FLIGHT_PER_ENDPOINT``.
    """
    if gates is None:
        most = conf.settings.MAX_IN_FLIGHT_PER_ENDPOINT
        gates = Gates(pacing.Shares(places=limit, most=most, first=most))
    return _claim(limit, gates, now=now, using=using) if limit > 0 else Claim(is_partial=True)


@writing.in_transaction
def _claim(limit: int, gates: Gates, *, now: datetime, using: str) -> Claim:
    database = due.of(using)
    seen, gates.after = database.look(limit, gates.shares.full(), gates.after, now=now)
    waiting = {item.endpoint_id: item for item in seen if not item.waits(now)}
    paces = _lock_paces([item.endpoint_id for item in waiting.values() if item.rate_limit], now=now, using=using)
    counts = {endpoint_id: _allowed(item, paces, now) for endpoint_id, item in waiting.items()}
    left = [item for item in seen if item.rate_limit and counts.get(item.endpoint_id, 0) < item.count]
    allotted = gates.shares.allot(counts, limit)
    taken = database.take(allotted, now=now) if allotted else []
    _reserve(taken, waiting, paces, now=now, using=using)
    is_partial = sum(counts.values()) >= limit or sum(allotted.values()) < sum(counts.values())
    again_in = 0.0 if gates.after is not None else _next_slot(left, paces, now)
    if again_in and (len(left) < len(seen) or gates.shares.full()):
        again_in = 0.0  # of the others there may be more at any time
    if not taken:
        return Claim([], again_in, is_partial)
    events = {event.id: event for event in database.events({row.event_id for row in taken})}
    if len(events) < len({row.event_id for row in taken}):
        _cancel([row for row in taken if row.event_id not in events], now=now, using=using)
    versions = {row.endpoint_id: waiting[row.endpoint_id].version for row in taken}
    ready = gates.ready_endpoints.get(versions, using=using)
    # An endpoint that somebody's SQL deleted just now is looked past by the next claim.
    ours = [row for row in taken if row.event_id in events and row.endpoint_id in ready]
    token, until = uuid.uuid4(), now + timedelta(seconds=conf.settings.LEASE_SECONDS)
    database.mark([row.id for row in ours], token, now=now, until=until)
    found = [_of(row, events[row.event_id], ready[row.endpoint_id], token) for row in ours]
    return Claim(found, again_in, is_partial)


def _allowed(item: due.Waiting, paces: dict[str, EndpointPace], now: datetime) -> int:
    """Return how many of an endpoint's deliveries its rate limit allows; none while another worker holds its pace."""
    if not item.rate_limit:
        return item.count
    pace = paces.get(item.endpoint_id)
    return min(item.count, pacing.free_sends(pace.next_free_at, per_second=item.rate_limit, now=now)) if pace else 0


def _next_slot(left: Sequence[due.Waiting], paces: dict[str, EndpointPace], now: datetime) -> float | None:
    """Return after how many seconds a rate limit allows another send; ``None`` where none is waited for."""
    free_at = [
        paces[item.endpoint_id].next_free_at if item.endpoint_id in paces else item.next_free_at for item in left
    ]
    # One without a time, or free already, is in another worker's hands just now.
    return min([max((at - now).total_seconds(), 0.0) if at else 0.0 for at in free_at], default=None)


def _of(row: due.DeliveryRow, event: due.EventRow, ready: ReadyEndpoint, token: uuid.UUID) -> Lease:
    trigger = Attempt.Trigger.AUTOMATIC if event.only_endpoint_id is None else Attempt.Trigger.TEST
    return Lease(
        delivery_id=row.id,
        tenant_id=row.tenant_id,
        attempt_count=row.attempt_count,
        max_attempts=row.max_attempts,
        trigger=Attempt.Trigger.REPLAY.value if row.is_replay else trigger.value,
        event=envelopes.Facts(
            event_id=event.id,
            event_type=event.event_type,
            occurred_at=event.occurred_at,
            payload=event.payload,
            schema_version=event.schema_version,
            subject=event.subject,
            source=ready.source,
            traceparent=event.traceparent,
        ),
        ready=ready,
        token=token,
        lost_at=row.leased_at,
    )


def _cancel(stranded: list[due.DeliveryRow], *, now: datetime, using: str) -> None:
    """End deliveries whose event is gone: nothing of ours deletes it, but somebody's SQL may."""
    rows = Delivery.objects.using(using).filter(pk__in=[row.id for row in stranded])
    error = "The event is no longer stored."
    rows.update(state=Delivery.State.CANCELLED, completed_at=now, updated_at=now, last_error=error, **NO_LEASE)
    for row in stranded:
        extra = {"event": "delivery.cancelled", "delivery_id": row.id, "event_id": row.event_id}
        logger.error("%s has no event any more and is cancelled.", row.id, extra=extra)


def _lock_paces(limited: Collection[str], *, now: datetime, using: str) -> dict[str, EndpointPace]:
    """Return the paces of rate-limited endpoints, locked; one that another worker holds just now is left to it."""
    if not limited:
        return {}
    wanted = set(limited)
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    rows = EndpointPace.objects.using(using).filter(endpoint_id__in=wanted).select_for_update(skip_locked=skip_locked)
    found = {row.endpoint_id: row for row in rows}
    new = [EndpointPace(endpoint_id=endpoint_id, next_free_at=now) for endpoint_id in sorted(wanted - found.keys())]
    inserted = writing.insert_new(new, using=using)
    return found | {row.endpoint_id: row for row in new if row.pk in inserted}


def _reserve(
    taken: Sequence[due.DeliveryRow],
    waiting: dict[str, due.Waiting],
    paces: dict[str, EndpointPace],
    *,
    now: datetime,
    using: str,
) -> None:
    """Move the paces on by what was taken."""
    sends = Counter(row.endpoint_id for row in taken if row.endpoint_id in paces)
    moved = [paces[endpoint_id] for endpoint_id in sends]
    for pace in moved:
        rate = waiting[pace.endpoint_id].rate_limit
        pace.next_free_at = pacing.reserve(pace.next_free_at, sends[pace.endpoint_id], per_second=rate, now=now)
    if moved:
        EndpointPace.objects.using(using).bulk_update(moved, ["next_free_at"])


@writing.in_transaction
def give_back(leases: Iterable[Lease], *, using: str) -> int:
    """End leases whose attempts did not begin, so that another worker can take them now; no attempt is counted.

    Returns how many were still ours.
    """
    given = 0
    by_token: dict[uuid.UUID, list[str]] = {}
    for lease in leases:
        by_token.setdefault(lease.token, []).append(lease.delivery_id)
    for token, found in by_token.items():
        given += Delivery.objects.using(using).filter(pk__in=found, lease_token=token).update(**NO_LEASE)
    return given
