"""How much is sent to an endpoint at once, and how fast: shares of a worker's places, and rate limits.

Shares are each worker's own. An endpoint begins with one request at a time (or a few); each success allows one more, so
the number doubles in the time of an answer, up to the most there may be; a time-out, a 5xx or a 429 halves it. So an
endpoint that was down for a day is probed before its backlog comes, and one that hangs soon holds a single place.
Endpoints whose last attempt timed out hold at most half of all places together.

Of an endpoint that answers quickly more is leased than begun: what it will have answered within :data:`AHEAD_SECONDS`,
so that a batch does not end after a handful of requests because no more may be in flight at once; of all endpoints
together no more than a quarter of the places, which it does not take.

Rate limits are one for all workers: a point in time from which on the endpoint is free (the generic cell rate
algorithm, ITU-T I.371). Each send moves it on by the time between two sends; a point further back than
:data:`CREDIT_SECONDS` is brought up to that, so that a pause earns a few sends and no burst.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

TIMEOUTS = frozenset({"timeout", "connect_timeout"})
"""The error kinds of a receiver that hangs."""

CREDIT_SECONDS = 0.25
"""How much unused time an endpoint may catch up on; less than 1 % of a minute."""

AHEAD_SECONDS = 0.1
"""For how long a worker leases ahead of what an endpoint may have in flight."""

_MOST_AHEAD = 8
_FAR = timedelta(seconds=10)
_REMEMBERED = 10_000


@dataclass(slots=True)
class _Share:
    most: float
    in_flight: int = 0
    held: int = 0
    """How many are leased and have not begun."""
    seconds: float = math.inf
    """About how long an answer takes."""


class Shares:
    """The places of one worker, endpoint by endpoint.

    Args:
        places: how many requests the worker can have in flight.
        most: how many of them one endpoint may have.
        first: how many an endpoint may have that nothing is known about.
    """

    def __init__(self, *, places: int, most: int, first: int = 1) -> None:
        self._places, self._limit = places, max(most, 1)
        self._first = min(max(first, 1), self._limit)
        self._shares: dict[str, _Share] = {}
        self._busy: set[str] = set()
        self._held = 0
        self._slow: set[str] = set()

    def hold(self, endpoint_id: str, change: int = 1) -> None:
        """Note that so many more deliveries of the endpoint are leased and not begun; -1 that one is so no longer."""
        share = self._share(endpoint_id)
        share.held += change
        self._held += change
        self._note(endpoint_id, share)

    def began(self, endpoint_id: str) -> None:
        """Note that a request of the endpoint has begun."""
        share = self._share(endpoint_id)
        share.in_flight += 1
        self._note(endpoint_id, share)

    def ended(self, endpoint_id: str) -> None:
        """Note that a request of the endpoint is over."""
        share = self._share(endpoint_id)
        share.in_flight -= 1
        self._note(endpoint_id, share)

    def learn(self, endpoint_id: str, *, status_code: int | None, error_kind: str, seconds: float) -> None:
        """Adapt the endpoint's share to what came back, and after how long."""
        share = self._share(endpoint_id)
        share.seconds = seconds if share.seconds == math.inf else 0.8 * share.seconds + 0.2 * seconds
        if error_kind in TIMEOUTS:
            self._slow.add(endpoint_id)
            share.most = max(share.most / 2, 1.0)
            return
        self._slow.discard(endpoint_id)
        if status_code is None:
            return
        if status_code >= 500 or status_code == 429:
            share.most = max(share.most / 2, 1.0)
        elif 200 <= status_code <= 299:
            share.most = min(share.most + 1, self._limit)

    def may_begin(self, endpoint_id: str) -> bool:
        """Return whether the endpoint may have one more request in flight."""
        share = self._shares.get(endpoint_id)
        return share is None or share.in_flight < int(share.most)

    def room(self, endpoint_id: str) -> int:
        """Return how many more deliveries of the endpoint may be leased."""
        share = self._shares.get(endpoint_id)
        if share is None:
            return self._first
        ahead = (
            0
            if endpoint_id in self._slow
            else int(share.most * min(AHEAD_SECONDS / max(share.seconds, 0.001), _MOST_AHEAD))
        )
        return max(int(share.most) + ahead - share.in_flight - share.held, 0)

    def full(self) -> list[str]:
        """Return the endpoints of which nothing more may be leased now."""
        full = {endpoint_id for endpoint_id in self._busy if self.room(endpoint_id) <= 0}
        return list(full | self._slow if self._slow_room() <= 0 else full)

    def allot(self, due: Mapping[str, int], limit: int) -> dict[str, int]:
        """Return how many of each endpoint's due deliveries to take: one each in turn, until ``limit`` is reached.

        ``due`` says how many each has, in the order in which they are to come.
        """
        rooms = {endpoint_id: min(count, self.room(endpoint_id)) for endpoint_id, count in due.items()}
        slow_room, ahead_room = self._slow_room(), self._places // 4 - self._held
        allotted: Counter[str] = Counter()
        while limit > 0 and rooms:
            for endpoint_id in list(rooms):
                is_slow = endpoint_id in self._slow
                if limit <= 0:
                    break
                is_ahead = allotted[endpoint_id] >= self._places_of(endpoint_id)
                if rooms[endpoint_id] <= 0 or (is_slow and slow_room <= 0) or (is_ahead and ahead_room <= 0):
                    del rooms[endpoint_id]
                    continue
                ahead_room -= is_ahead
                rooms[endpoint_id] -= 1
                slow_room -= is_slow
                allotted[endpoint_id] += 1
                limit -= 1
        return dict(allotted)

    def _places_of(self, endpoint_id: str) -> int:
        """Return how many of the endpoint could begin now."""
        share = self._shares.get(endpoint_id)
        return self._first if share is None else max(int(share.most) - share.in_flight - share.held, 0)

    def _slow_room(self) -> int:
        return max(self._places // 2, 1) - sum(
            self._shares[endpoint_id].in_flight for endpoint_id in self._busy & self._slow
        )

    def _note(self, endpoint_id: str, share: _Share) -> None:
        if share.in_flight or share.held:
            self._busy.add(endpoint_id)
        else:
            self._busy.discard(endpoint_id)

    def _share(self, endpoint_id: str) -> _Share:
        share = self._shares.get(endpoint_id)
        if share is None:
            if len(self._shares) >= _REMEMBERED:
                self._forget()
            share = self._shares[endpoint_id] = _Share(most=self._first)
        return share

    def _forget(self) -> None:
        """Forget the endpoints seen first that are at rest; they begin anew."""
        at_rest = [endpoint_id for endpoint_id in self._shares if endpoint_id not in self._busy]
        for endpoint_id in at_rest[: _REMEMBERED // 2]:
            del self._shares[endpoint_id]
            self._slow.discard(endpoint_id)


def free_sends(next_free_at: datetime, *, per_second: int, now: datetime) -> int:
    """Return how many requests a rate limit allows now."""
    waited = (now - _caught_up(next_free_at, now)).total_seconds()
    return math.floor(waited * per_second) + 1 if waited >= 0 else 0


def reserve(next_free_at: datetime, sends: int, *, per_second: int, now: datetime) -> datetime:
    """Return from when on the endpoint is free once so many requests were sent."""
    return _caught_up(next_free_at, now) + timedelta(seconds=sends / per_second)


def is_free(next_free_at: datetime, now: datetime) -> bool:
    """Return whether a rate limit allows a send; a point further ahead than any reservation is another clock's."""
    return not now < next_free_at < now + _FAR


def _caught_up(next_free_at: datetime, now: datetime) -> datetime:
    return now if next_free_at >= now + _FAR else max(next_free_at, now - timedelta(seconds=CREDIT_SECONDS))
