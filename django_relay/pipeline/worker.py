"""The loop that calls the steps in order, and the leases it holds meanwhile.

One thread owns the database, the transport does the waiting.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from django.db import DatabaseError, DataError, IntegrityError, connections
from django.db.models import BooleanField, Exists, ExpressionWrapper, Q

from django_relay import conf
from django_relay.models import Application, Delivery, Event
from django_relay.models.clock import DatabaseClock
from django_relay.models.lease import Lease, Settled
from django_relay.pipeline import attempts, fan_out, health, leases, notifications, rhythm, settlement, upkeep
from django_relay.rules import pacing
from django_relay.transport import selection
from django_relay.transport.base import Outcome, Transport

logger = logging.getLogger(__name__)

_UPKEEP_SECONDS = 60.0
_HEARTBEAT_SECONDS = 2.0
_GATHER_SECONDS = 0.02
"""How long outcomes are gathered for one settlement while more are on their way."""
_SILENCE_SECONDS = 0.002
"""How long the gathering waits for one more."""
_SETTLED_AT_ONCE = 512
_HELD_SECONDS = 1.0
"""How long a lease may be held before it begins: ``pacing.AHEAD_SECONDS`` were meant, the endpoint has become slow."""
_DATABASE_PAUSE_SECONDS = 1.0
_last_upkeep = {"at": float("-inf")}  # per process: passes are short, upkeep is rare


@dataclass
class Turn:
    """What one turn of the loop did."""

    fanned_out: int = 0
    leased: int = 0
    is_paced: bool = False
    """Whether something due waits for a rate limit alone."""
    settled: list[Settled] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.fanned_out or self.leased or self.settled)


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease whose endpoint has as many requests in flight as it may; times are monotonic."""

    lease: Lease
    since: float
    ends_at: float


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
        self._gates = leases.Gates(
            pacing.Shares(
                places=self.transport.capacity,
                most=conf.settings.MAX_IN_FLIGHT_PER_ENDPOINT,
                first=conf.settings.FIRST_IN_FLIGHT_PER_ENDPOINT,
            )
        )
        self._subscriptions = fan_out.Subscriptions()
        self._leases: dict[str, Lease] = {}
        self._unsettled: list[tuple[Lease, Outcome]] = []
        self._unsent: list[Lease] = []
        self._held: dict[str, deque[_Held]] = {}
        self._passed_over: list[Settled] = []
        self._rhythm = rhythm.Rhythm()

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
        with notifications.Listener(self.using, self._hear):
            beat_at = float("-inf")
            while not self.stopping.is_set() and not until():
                try:
                    if time.monotonic() - beat_at > _HEARTBEAT_SECONDS:
                        heartbeat(self.in_flight)
                        beat_at = time.monotonic()
                    self._upkeep()
                    self._turn()
                except DatabaseError as error:
                    self._wait_for_database(error)

    def run_once(self, *, wait_seconds: float = 0.0) -> Turn:
        """Do one turn: fan out, lease and submit what is due, wait for outcomes, settle those there are."""
        turn = Turn()
        self._look(turn)
        self._receive(turn, wait_seconds)
        return turn

    def _turn(self) -> None:
        """Do one turn in the rhythm of the work: look when it is time to, and wait for outcomes until it is again."""
        turn, looks = Turn(), self._rhythm.is_due()
        if looks:
            if not self._rhythm.is_idle or self._has_work():
                self._look(turn)
            self._rhythm.looked(max(turn.fanned_out, turn.leased), soon=turn.is_paced)
        self._receive(turn, self._rhythm.seconds_left)
        if turn:
            self._rhythm.stay_alert()
        self.idle = looks and not turn and not self.in_flight and not self._held

    def _hear(self) -> None:
        """Have the loop look now. Called in the listener's thread."""
        self._rhythm.wake()
        self.transport.wake()

    def _look(self, turn: Turn) -> None:
        """Fan out, and lease and begin what is due."""
        if not self.stopping.is_set():
            turn.fanned_out = fan_out.expand(
                conf.settings.FAN_OUT_BATCH, now=self.clock(), using=self.using, subscriptions=self._subscriptions
            )
            turn.leased, turn.is_paced = self._claim()

    def _receive(self, turn: Turn, wait_seconds: float) -> None:
        """Wait for outcomes, and settle them."""
        is_busy = 2 * self.in_flight >= self.transport.capacity
        self._collect(max(wait_seconds, _GATHER_SECONDS) if is_busy else wait_seconds)
        self._give_up_held()
        turn.settled = self._settle()

    def finish(self) -> None:
        """Wait for what is in flight (each request ends by its deadline) and settle it; nothing new is claimed.

        Gives up when the leases have ended, as after a database that does not come back: the work is another's then.
        """
        ends_at = time.monotonic() + conf.settings.LEASE_SECONDS
        while (self._leases or self._unsettled or self._unsent or self._held) and time.monotonic() < ends_at:
            self._collect(1.0)
            self._give_up_held()
            try:
                self._settle()
            except DatabaseError as error:
                self._wait_for_database(error)

    def _has_work(self) -> bool:
        """Return whether something may be there to do: one cheap query, so that an idle worker costs next to nothing.

        What is held for a disabled endpoint counts too: the claim will tell.
        """
        pending = Event.objects.using(self.using).pending()
        now = self.clock()
        due = Delivery.objects.using(self.using).due(now).of_anybody()
        either = ExpressionWrapper(Q(Exists(pending)) | Q(Exists(due)), output_field=BooleanField())
        return any(Application.objects.using(self.using).values_list(either, flat=True)[:1])

    def _claim(self) -> tuple[int, bool]:
        ends_at = time.monotonic() + conf.settings.LEASE_SECONDS
        now = self.clock()
        free = self.transport.capacity - self.in_flight - sum(map(len, self._held.values()))
        claim = leases.claim(free, now=now, using=self.using, gates=self._gates)
        shares, since = self._gates.shares, time.monotonic()
        for lease in claim.leases:
            if shares.may_begin(lease.endpoint_id):
                self._begin(lease, now, ends_at)
            else:
                self._held.setdefault(lease.endpoint_id, deque()).append(_Held(lease, since, ends_at))
                shares.hold(lease.endpoint_id)
        return len(claim.leases), claim.is_paced

    def _begin(self, lease: Lease, now: datetime, ends_at: float) -> None:
        """Hand a lease's attempt to the transport; ``ends_at`` is when the lease ends, by the monotonic clock."""
        begun = attempts.begin(lease, now=now)
        if isinstance(begun, Outcome):
            self._unsettled.append((lease, begun))
        elif self.stopping.is_set() or time.monotonic() + begun.timeout_seconds > ends_at:
            # Told to stop; or this process stood still since its claim, and another may be at it.
            self._unsent.append(lease)
        else:
            try:
                self.transport.submit(begun)
            except BaseException:
                self._unsent.append(lease)
                raise
            self._leases[begun.id] = lease
            self._gates.shares.began(lease.endpoint_id)

    def _collect(self, timeout: float) -> None:
        """Wait for the first outcome, then gather while they come: a settlement costs the same for one as for many."""
        wait = 0.0 if self._unsettled or self._unsent else timeout
        ends_at = float("inf")
        while outcomes := self.transport.completed(wait):
            for outcome in outcomes:
                self._take(outcome)
            ends_at = min(ends_at, time.monotonic() + _GATHER_SECONDS)
            wait = min(ends_at - time.monotonic(), _SILENCE_SECONDS)
            if wait <= 0 or not self.in_flight or len(self._unsettled) >= _SETTLED_AT_ONCE or self.stopping.is_set():
                return

    def _take(self, outcome: Outcome) -> None:
        lease = self._leases.pop(outcome.request.id)
        shares, endpoint_id = self._gates.shares, lease.endpoint_id
        shares.ended(endpoint_id)
        if outcome.error_kind == "not_sent":
            self._unsent.append(lease)
            return
        self._unsettled.append((lease, outcome))
        shares.learn(
            endpoint_id,
            status_code=outcome.status_code,
            error_kind=outcome.error_kind,
            seconds=outcome.duration_ms / 1_000,
        )
        waiting = self._held.get(endpoint_id)
        while waiting and shares.may_begin(endpoint_id):
            self._begin_held(waiting.popleft())
        if waiting is not None and not waiting:
            del self._held[endpoint_id]

    def _begin_held(self, held: _Held) -> None:
        self._gates.shares.hold(held.lease.endpoint_id, -1)
        self._begin(held.lease, self.clock(), held.ends_at)

    def _give_up_held(self) -> None:
        """Give back what waits for an endpoint that has become slow, so that its lease does not run out unused."""
        since = float("inf") if self.stopping.is_set() else time.monotonic() - _HELD_SECONDS
        for endpoint_id, waiting in list(self._held.items()):
            while waiting and waiting[0].since < since:
                self._unsent.append(waiting.popleft().lease)
                self._gates.shares.hold(endpoint_id, -1)
            if not waiting:
                del self._held[endpoint_id]

    def _settle(self) -> list[Settled]:
        if self._unsent:
            leases.give_back(self._unsent, using=self.using)
            self._unsent = []
        settled: list[Settled] = []
        if self._unsettled:
            try:
                settled = settlement.settle(self._unsettled, now=self.clock(), using=self.using)
            except (DataError, IntegrityError):
                settled = self._settle_one_by_one()
            self._unsettled = []
        if settled or self._passed_over:
            self._passed_over = health.keep([*self._passed_over, *settled], now=self.clock(), using=self.using)
        return settled

    def _settle_one_by_one(self) -> list[Settled]:
        """Settle a batch that the database refused, so that one bad row holds up no other; its lease then runs out."""
        settled = []
        for item in self._unsettled:
            try:
                settled += settlement.settle([item], now=self.clock(), using=self.using)
            except (DataError, IntegrityError):
                logger.exception(
                    "An attempt could not be recorded.",
                    extra={"event": "attempt.not_recorded", "delivery_id": item[0].delivery_id},
                )
        return settled

    def _upkeep(self) -> None:
        if time.monotonic() - _last_upkeep["at"] > _UPKEEP_SECONDS:
            _last_upkeep["at"] = time.monotonic()
            try:
                if upkeep.tidy(now=self.clock(), using=self.using):
                    _last_upkeep["at"] = float("-inf")
            except DatabaseError:
                raise
            except Exception:
                logger.exception("Upkeep failed; deliveries go on.", extra={"event": "upkeep.failed"})

    def _wait_for_database(self, error: DatabaseError) -> None:
        logger.error("The database failed; trying again: %s", error, extra={"event": "worker.database_failed"})
        connections[self.using].close()
        time.sleep(_DATABASE_PAUSE_SECONDS)
