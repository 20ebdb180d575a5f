"""The loop that calls the steps in order; nothing else.

One thread owns the database, the transport does the waiting.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Self

from django.db import DatabaseError, InterfaceError, OperationalError, connections

from django_relay import conf
from django_relay.models import due, postgres
from django_relay.models.clock import DatabaseClock
from django_relay.models.lease import Lease, Settled
from django_relay.pipeline import (
    attempts,
    erasures,
    fan_out,
    garbage,
    health,
    in_hand,
    leases,
    notifications,
    replays,
    rhythm,
    settlement,
    upkeep,
)
from django_relay.pipeline.turn import Turn
from django_relay.rules import pacing
from django_relay.transport import selection
from django_relay.transport.base import Outcome, Transport

logger = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 2.0
_GATHER_SECONDS = 0.02
"""How long outcomes are gathered for one settlement while more are on their way."""
_SILENCE_SECONDS = 0.002
"""How long the gathering waits for one more."""
_SETTLED_AT_ONCE = 512
_ADVANCE_SECONDS = 0.2
"""How long nobody asks again for replays and erasures when none could go on."""
_DATABASE_PAUSE_SECONDS = 1.0
_DATABASE_FAILED = (OperationalError, InterfaceError)
"""It is down, or says "not now": what was asked of it is asked again."""
_next_upkeep = {"at": float("-inf")}  # per process: passes are short, upkeep is rare


class Worker:
    """Moves what is due: fan out, lease, attempt, settle.

    As a context manager it finishes what is in flight and closes its transport at the end.

    Args:
        using: the database alias.
        transport: what sends; default the setting ``TRANSPORT``.
        clock: gives the current time; default the database's.
    """

    def __init__(
        self,
        *,
        using: str,
        transport: Transport | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.using = using
        self.transport: Transport = transport or selection.make()
        self.clock = clock or DatabaseClock(using)
        self.stopping = threading.Event()
        self.idle = False
        """Whether the last turn found nothing to do and nothing is in flight."""
        shares = pacing.Shares(
            places=self.transport.capacity,
            most=conf.settings.MAX_IN_FLIGHT_PER_ENDPOINT,
            first=conf.settings.FIRST_IN_FLIGHT_PER_ENDPOINT,
        )
        self._gates = leases.Gates(shares)
        self._in_hand = in_hand.InHand(shares)
        self._subscriptions = fan_out.Subscriptions()
        self._passed_over: list[Settled] = []
        self._rhythm = rhythm.Rhythm()
        self._advance_at = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.finish()
        finally:
            self.transport.close()

    @property
    def in_flight(self) -> int:
        """How many requests are open."""
        return self.transport.in_flight

    def stop(self) -> None:
        """Claim nothing more and begin no request from now on. Safe in a signal handler."""
        self.stopping.set()
        self.transport.stop()
        self.transport.wake()

    def run(
        self,
        *,
        until: Callable[[], bool] = lambda: False,
        heartbeat: Callable[[int], None] = lambda in_flight: None,
    ) -> None:
        """Turn until :meth:`stop` is called or ``until`` says so; call :meth:`finish` afterwards.

        ``heartbeat`` is called with the number of requests in flight, about every two seconds. A database that fails is
        waited for.

        Raises:
            RelayConfigurationError: the signing secrets cannot be read with the configured keys.
        """
        attempts.check_keys(using=self.using)
        with garbage.seldom_collected(), notifications.Listener(self.using, self._hear) as listener:
            beat_at = float("-inf")
            while not self.stopping.is_set() and not until():
                try:
                    if time.monotonic() - beat_at > _HEARTBEAT_SECONDS:
                        heartbeat(self.in_flight)
                        beat_at = time.monotonic()
                    # Where notifications arrive, there is no pooler between that gives sessions to others.
                    postgres.keep_plans(self.using, is_safe=listener.is_listening)
                    self._upkeep()
                    self._turn()
                except (DatabaseError, InterfaceError) as error:
                    self._wait_for_database(error)

    def run_once(self, *, wait_seconds: float = 0.0) -> Turn:
        """Do one turn: fan out, lease and submit what is due, wait for outcomes, settle those there are."""
        turn = Turn()
        self._advance_at = float("-inf")
        if not self.stopping.is_set():
            self._look(turn)
        self._receive(turn, wait_seconds)
        return turn

    def _turn(self) -> None:
        """Do one turn in the rhythm of the work: look when it is time to, and wait for outcomes until it is again."""
        turn, looks = Turn(), self._rhythm.is_due()
        if looks:
            self._look(turn)
            self._rhythm.looked(turn.found, again_in=turn.claim.again_in, is_partial=turn.is_partial)
        self._receive(turn, self._rhythm.seconds_left)
        if turn:
            self._rhythm.stay_alert()
        self.idle = looks and not turn and not self.in_flight and not self._in_hand.held

    def _hear(self) -> None:
        """Have the loop look now. Called in the listener's thread."""
        self._rhythm.wake()
        self.transport.wake()

    def _look(self, turn: Turn) -> None:
        """Fan out, go on with what was asked for in bulk, and lease and begin what is due."""
        now, batch = self.clock(), conf.settings.FAN_OUT_BATCH
        work = due.EVERYTHING if self._rhythm.was_worthwhile else due.work(now=now, using=self.using)
        if work.events:
            turn.expansion = fan_out.expand(batch, now=now, using=self.using, subscriptions=self._subscriptions)
        if work.in_bulk:
            turn.advanced = self._advance(now)
        if work.deliveries or turn.fanned_out or turn.advanced:
            turn.claim = self._claim()

    def _advance(self, now: datetime) -> int:
        """Do a chunk of a replay or of an erasure; if none can go on, not every look need find that out."""
        if time.monotonic() < self._advance_at:
            return 0
        advanced = replays.advance(now=now, using=self.using) or erasures.advance(now=now, using=self.using)
        self._advance_at = time.monotonic() + (0.0 if advanced else _ADVANCE_SECONDS)
        return advanced

    def _receive(self, turn: Turn, wait_seconds: float) -> None:
        """Wait for outcomes, and settle them."""
        is_busy = 2 * self.in_flight >= self.transport.capacity
        self._collect(max(wait_seconds, _GATHER_SECONDS) if is_busy else wait_seconds)
        self._in_hand.give_up_held(all_of_them=self.stopping.is_set())
        turn.settled = self._settle()

    def finish(self) -> None:
        """Wait for what is in flight (each request ends by its deadline) and settle it; nothing new is claimed.

        Gives up when the leases have ended, as after a database that does not come back: the work is another's then.
        """
        ends_at = time.monotonic() + conf.settings.LEASE_SECONDS
        while self._in_hand.is_left(open_requests=self.in_flight) and time.monotonic() < ends_at:
            self._collect(1.0)
            self._in_hand.give_up_held(all_of_them=self.stopping.is_set())
            try:
                self._settle()
            except (DatabaseError, InterfaceError) as error:
                self._wait_for_database(error)

    def _claim(self) -> leases.Claim:
        ends_at = time.monotonic() + conf.settings.LEASE_SECONDS
        now = self.clock()
        claim = leases.claim(self.transport.capacity - self.in_flight, now=now, using=self.using, gates=self._gates)
        left = deque(claim.leases)
        try:
            while left:
                lease = left.popleft()
                if self._in_hand.may_begin(lease):
                    self._begin(lease, now, ends_at)
                else:
                    self._in_hand.hold(lease, ends_at)
        finally:
            self._in_hand.unsent += left
        return claim

    def _begin(self, lease: Lease, now: datetime, ends_at: float) -> None:
        """Hand a lease's attempt to the transport; ``ends_at`` is when the lease ends, by the monotonic clock."""
        begun = attempts.begin(lease, now=now)
        if isinstance(begun, Outcome):
            self._in_hand.unsettled.append((lease, begun))
        elif self.stopping.is_set() or time.monotonic() + begun.timeout_seconds > ends_at:
            # Told to stop; or this process stood still since its claim, and another may be at it.
            self._in_hand.unsent.append(lease)
        else:
            before = self.in_flight
            self._in_hand.begin(begun.id, lease)
            try:
                self.transport.submit(begun)
            except BaseException:
                if self.in_flight == before:
                    self._in_hand.unsent.append(self._in_hand.end(begun.id))
                raise

    def _collect(self, timeout: float) -> None:
        """Wait for the first outcome, then gather while they come: a settlement costs the same for one as for many."""
        wait = 0.0 if self._in_hand.unsettled or self._in_hand.unsent else timeout
        ends_at = float("inf")
        while outcomes := self.transport.completed(wait):
            self._in_hand.take(outcomes)
            if self._in_hand.held:
                now = self.clock()
                for held in self._in_hand.next_held():
                    self._begin(held.lease, now, held.ends_at)
            ends_at = min(ends_at, time.monotonic() + _GATHER_SECONDS)
            wait = min(ends_at - time.monotonic(), _SILENCE_SECONDS)
            if (
                wait <= 0
                or not self.in_flight
                or len(self._in_hand.unsettled) >= _SETTLED_AT_ONCE
                or self.stopping.is_set()
            ):
                return

    def _settle(self) -> list[Settled]:
        if self._in_hand.unsent:
            leases.give_back(self._in_hand.unsent, using=self.using)
            self._in_hand.unsent = []
        settled: list[Settled] = []
        if self._in_hand.unsettled:
            try:
                settled = settlement.settle(self._in_hand.unsettled, now=self.clock(), using=self.using)
            except _DATABASE_FAILED:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, it is one outcome's
                settled = self._settle_one_by_one()
            self._in_hand.unsettled = []
        if settled or self._passed_over:
            self._passed_over += settled
            self._passed_over = health.keep(self._passed_over, now=self.clock(), using=self.using)
        return settled

    def _settle_one_by_one(self) -> list[Settled]:
        """Settle a batch that the database refused, so that one bad row holds up no other; its lease then runs out."""
        settled = []
        for item in self._in_hand.unsettled:
            try:
                settled += settlement.settle([item], now=self.clock(), using=self.using)
            except _DATABASE_FAILED:
                raise
            except Exception:
                extra = {"event": "attempt.not_recorded", "delivery_id": item[0].delivery_id}
                logger.exception("An attempt could not be recorded.", extra=extra)
        return settled

    def _upkeep(self) -> None:
        if time.monotonic() > _next_upkeep["at"]:
            _next_upkeep["at"] = time.monotonic() + upkeep.ROUND_SECONDS
            try:
                _next_upkeep["at"] = time.monotonic() + upkeep.tidy(now=self.clock(), using=self.using)
            except DatabaseError:
                raise
            except Exception:
                logger.exception("Upkeep failed; deliveries go on.", extra={"event": "upkeep.failed"})

    def _wait_for_database(self, error: Exception) -> None:
        logger.error("The database failed; trying again: %s", error, extra={"event": "worker.database_failed"})
        connections[self.using].close()
        ends_at = time.monotonic() + _DATABASE_PAUSE_SECONDS
        while self.in_flight and time.monotonic() < ends_at:
            # A transport that is driven by this thread would else take an answer that is there for one that is late.
            self._in_hand.take(self.transport.completed(max(ends_at - time.monotonic(), 0.0)))
        time.sleep(max(ends_at - time.monotonic(), 0.0))
