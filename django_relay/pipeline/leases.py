"""Step 3: a worker takes due deliveries for a time, with a token that proves it.

What is due is decided by ``now``, the database's clock. A delivery whose lease ran out is taken like any other: its
:class:`~django_relay.models.delivery.Lease` then says so, and stands for an attempt of outcome ``unknown``.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import connections

from django_relay import conf
from django_relay.models import Delivery, writing
from django_relay.models.delivery import NO_LEASE, Lease


@writing.in_transaction
def claim(limit: int, *, now: datetime, using: str) -> list[Lease]:
    """Lease up to ``limit`` due deliveries, the longest due first, with their events and endpoints."""
    if limit <= 0:
        return []
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    due = Delivery.objects.using(using).due(now).order_by("next_attempt_at")
    deliveries = list(
        due.select_related("event__application", "endpoint")
        .prefetch_related("endpoint__signing_secrets")
        .select_for_update(of=("self",), skip_locked=skip_locked)[:limit]
    )
    if not deliveries:
        return []
    token = uuid.uuid4()
    until = now + timedelta(seconds=conf.settings.LEASE_SECONDS)
    Delivery.objects.using(using).filter(pk__in=[delivery.pk for delivery in deliveries]).update(
        lease_token=token, leased_at=now, leased_until=until
    )
    return [Lease(delivery, token, lost_at=delivery.leased_at) for delivery in deliveries]


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
