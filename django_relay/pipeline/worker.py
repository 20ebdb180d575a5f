"""The loop that calls the steps in order; nothing else.

One thread owns the database, the transport does the waiting.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from django.db import DatabaseError, DataError, IntegrityError, connections
from django.utils.module_loading import import_string

from django_relay import conf
from django_relay.models.clock import DatabaseClock
from django_relay.models.delivery import Lease
from django_relay.pipeline import attempts, fan_out, leases, settlement, upkeep
from django_relay.transport.base import Outcome, Transport

logger = logging.getLogger(__name__)

_UPKEEP_SECONDS = 60.0
_HEARTBEAT_SECONDS = 2.0
_SHORTEST_PAUSE_SECONDS = 0.02
_DATABASE_PAUSE_SECONDS = 1.0
_last_upkeep = {"at": float("-inf")}  # per process: passes are short, upkeep is rare


@dataclass
class Turn:
    """What one turn of the loop did."""

    fanned_out: int = 0
    leased: int = 0
    settled: list[settlement.Settled] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.fanned_out or self.leased or self.settled)


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
        self.transport: Transport = transport or import_string(conf.settings.TRANSPORT)()
        self.clock = clock or DatabaseClock(using)
        self.stopping = threading.Event()
        self.idle = False
        """Whether the last turn found nothing to do and nothing is in flight."""
        self._leases: dict[str, Lease] = {}
        self._unsettled: list[tuple[Lease, Outcome]] = []
        self._unsent: list[Lease] = []
        self._gone: list[settlement.Settled] = []

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
        pause, beat_at = 0.0, float("-inf")
        while not self.stopping.is_set() and not until():
            try:
                if time.monotonic() - beat_at > _HEARTBEAT_SECONDS:
                    heartbeat(self.in_flight)
                    beat_at = time.monotonic()
                self._upkeep()
                turn = self.run_once(wait_seconds=pause)
            except DatabaseError as error:
                self._wait_for_database(error)
                continue
            self.idle = not turn and not self.in_flight
            longest = float(conf.settings.POLL_SECONDS)
            pause = 0.0 if turn else min(max(2 * pause, _SHORTEST_PAUSE_SECONDS), longest)

    def run_once(self, *, wait_seconds: float = 0.0) -> Turn:
        """Do one turn: fan out, lease and submit what is due, wait for outcomes, settle those there are."""
        turn = Turn()
        if not self.stopping.is_set():
            turn.fanned_out = fan_out.expand(conf.settings.FAN_OUT_BATCH, now=self.clock(), using=self.using)
            turn.leased = self._claim()
        busy = turn.fanned_out or turn.leased
        self._collect(0.0 if busy else wait_seconds)
        turn.settled = self._settle()
        return turn

    def finish(self) -> None:
        """Wait for what is in flight (each request ends by its deadline) and settle it; nothing new is claimed.

        Gives up when the leases have ended, as after a database that does not come back: the work is another's then.
        """
        ends_at = time.monotonic() + conf.settings.LEASE_SECONDS
        while (self._leases or self._unsettled or self._unsent) and time.monotonic() < ends_at:
            self._collect(1.0)
            try:
                self._settle()
            except DatabaseError as error:
                self._wait_for_database(error)

    def _claim(self) -> int:
        free = conf.settings.MAX_IN_FLIGHT - self.in_flight
        ends_at = time.monotonic() + conf.settings.LEASE_SECONDS
        now = self.clock()
        busy = Counter(lease.delivery.endpoint_id for lease in self._leases.values())
        found = leases.claim(free, now=now, using=self.using, busy=busy)
        for lease in found:
            self._begin(lease, now, ends_at)
        return len(found)

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

    def _collect(self, timeout: float) -> None:
        for outcome in self.transport.completed(0.0 if self._unsettled else timeout):
            lease = self._leases.pop(outcome.request.id)
            if outcome.error_kind == "not_sent":
                self._unsent.append(lease)
            else:
                self._unsettled.append((lease, outcome))

    def _settle(self) -> list[settlement.Settled]:
        if self._unsent:
            leases.give_back(self._unsent, using=self.using)
            self._unsent = []
        settled: list[settlement.Settled] = []
        if self._unsettled:
            try:
                settled = settlement.settle(self._unsettled, now=self.clock(), using=self.using)
            except (DataError, IntegrityError):
                settled = self._settle_one_by_one()
            self._unsettled = []
        if settled or self._gone:
            self._gone = settlement.keep_health([*self._gone, *settled], now=self.clock(), using=self.using)
        return settled

    def _settle_one_by_one(self) -> list[settlement.Settled]:
        """Settle a batch that the database refused, so that one bad row holds up no other; its lease then runs out."""
        settled = []
        for item in self._unsettled:
            try:
                settled += settlement.settle([item], now=self.clock(), using=self.using)
            except (DataError, IntegrityError):
                logger.exception(
                    "An attempt could not be recorded.",
                    extra={"event": "attempt.not_recorded", "delivery_id": item[0].delivery.pk},
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
