"""Step 3: a worker takes due deliveries for a time, with a token that proves it.

What is due is decided by ``now``, the database's clock. A delivery whose lease ran out is taken like any other: its
:class:`~django_relay.models.delivery.Lease` then says so, and stands for an attempt of outcome ``unknown``.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.db import connections

from django_relay import conf
from django_relay.models import Delivery, writing
from django_relay.models.delivery import NO_LEASE, Lease

_ROUNDS = 8


@writing.in_transaction
def claim(limit: int, *, now: datetime, using: str, busy: Mapping[str, int] | None = None) -> list[Lease]:
    """Lease up to ``limit`` due deliveries, the longest due first, with their events and endpoints.

    An endpoint gets at most ``MAX_IN_FLIGHT_PER_ENDPOINT``, less what ``busy`` says it has in flight already: one that
    hangs with thousands due leaves the other places to the others. The rest of its stays due, untouched.
    """
    chosen = _choose(limit, Counter(busy or {}), now=now, using=using)
    if not chosen:
        return []
    rows = Delivery.objects.using(using).filter(pk__in=chosen)
    related = rows.select_related("event__application", "endpoint").prefetch_related("endpoint__signing_secrets")
    deliveries = list(related.order_by("next_attempt_at"))
    token = uuid.uuid4()
    until = now + timedelta(seconds=conf.settings.LEASE_SECONDS)
    rows.update(lease_token=token, leased_at=now, leased_until=until)
    return [Lease(delivery, token, lost_at=delivery.leased_at) for delivery in deliveries]


def _choose(limit: int, in_flight: Counter[str], *, now: datetime, using: str) -> list[str]:
    """Lock due deliveries and return the ids of those to lease, passing over endpoints that have their share."""
    most = conf.settings.MAX_IN_FLIGHT_PER_ENDPOINT
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    due = Delivery.objects.using(using).due(now).order_by("next_attempt_at").only("pk", "endpoint_id")
    chosen: list[str] = []
    for _round in range(_ROUNDS):
        wanted = limit - len(chosen)
        if wanted <= 0:
            break
        full = [endpoint_id for endpoint_id, count in in_flight.items() if count >= most]
        others = due.exclude(endpoint_id__in=full).exclude(pk__in=chosen)
        found = list(others.select_for_update(of=("self",), skip_locked=skip_locked)[:wanted])
        for delivery in found:
            if in_flight[delivery.endpoint_id] < most:
                in_flight[delivery.endpoint_id] += 1
                chosen.append(delivery.pk)
        if len(found) < wanted:
            break
    return chosen


@writing.in_transaction
def give_back(leases: Iterable[Lease], *, using: str) -> int:
    """End leases whose attempts did not begin, so that another worker can take them now; no attempt is counted.

    Returns how many were still ours.
    """
    given = 0
    by_token: dict[uuid.UUID, list[str]] = {}
    for lease in leases:
        by_token.setdefault(lease.token, []).append(lease.delivery.pk)
    for token, found in by_token.items():
        given += Delivery.objects.using(using).filter(pk__in=found, lease_token=token).update(**NO_LEASE)
    return given
