"""What a worker has in its hands between a claim and a settlement, and whose turn to begin it is."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django_relay.models.lease import Lease
from django_relay.rules import pacing
from django_relay.transport.base import Outcome

HELD_SECONDS = 1.0
"""How long a lease may be held before it begins: ``pacing.AHEAD_SECONDS`` were meant, the endpoint has become slow."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease whose endpoint has as many requests in flight as it may; times are monotonic."""

    lease: Lease
    since: float
    ends_at: float


class InHand:
    """Leases in flight, leases held back, leases that never began, and what came back; counted in ``shares``."""

    def __init__(self, shares: pacing.Shares) -> None:
        self.unsettled: list[tuple[Lease, Outcome]] = []
        """Outcomes to be settled."""
        self.unsent: list[Lease] = []
        """Leases to be given back."""
        self.in_flight: dict[str, Lease] = {}
        """By the id of the request."""
        self.held: dict[str, deque[Held]] = {}
        """By endpoint."""
        self._shares = shares

    def is_left(self, *, open_requests: int) -> bool:
        """Return whether there is anything to wait for or to write, when so many requests are open."""
        return bool(self.unsettled or self.unsent or self.held or (self.in_flight and open_requests))

    def may_begin(self, lease: Lease) -> bool:
        """Return whether a lease may begin now; one that was lost sends nothing, and needs no place."""
        return lease.lost_at is not None or self._shares.may_begin(lease.endpoint_id)

    def hold(self, lease: Lease, ends_at: float) -> None:
        """Hold a lease back until its endpoint has a place; ``ends_at`` is when it ends."""
        self.held.setdefault(lease.endpoint_id, deque()).append(Held(lease, time.monotonic(), ends_at))
        self._shares.hold(lease.endpoint_id)

    def begin(self, request_id: str, lease: Lease) -> None:
        """Note that a lease's request begins."""
        self.in_flight[request_id] = lease
        self._shares.began(lease.endpoint_id)

    def end(self, request_id: str) -> Lease:
        """Note that a request is over, and return its lease."""
        lease = self.in_flight.pop(request_id)
        self._shares.ended(lease.endpoint_id)
        return lease

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Take note of all that came back."""
        for outcome in outcomes:
            if outcome.request.id not in self.in_flight:
                continue
            lease = self.end(outcome.request.id)
            if outcome.error_kind == "not_sent":
                self.unsent.append(lease)
                continue
            self.unsettled.append((lease, outcome))
            self._shares.learn(
                lease.endpoint_id,
                status_code=outcome.status_code,
                error_kind=outcome.error_kind,
                seconds=outcome.duration_ms / 1_000,
            )

    def next_held(self) -> Iterator[Held]:
        """Give those held back that may begin now; each is to begin before the next is asked for."""
        for endpoint_id in list(self.held):
            while endpoint_id in self.held and self._shares.may_begin(endpoint_id):
                yield self._let_go(endpoint_id)

    def give_up_held(self, *, all_of_them: bool) -> None:
        """Give back what was held for too long, so that its lease does not run out unused."""
        since = float("inf") if all_of_them else time.monotonic() - HELD_SECONDS
        for endpoint_id in list(self.held):
            while endpoint_id in self.held and self.held[endpoint_id][0].since < since:
                self.unsent.append(self._let_go(endpoint_id).lease)

    def _let_go(self, endpoint_id: str) -> Held:
        held = self.held[endpoint_id].popleft()
        self._shares.hold(endpoint_id, -1)
        if not self.held[endpoint_id]:
            del self.held[endpoint_id]
        return held
