"""The transport for volume: hundreds of requests in flight in one thread, over libcurl (extra ``curl``)."""

import functools
import heapq
import itertools
import resource
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

import pycurl

from django_relay import conf
from django_relay.transport import addresses, failures, resolver, routes
from django_relay.transport.addresses import Target
from django_relay.transport.base import Outcome, Request
from django_relay.transport.multiplexer import Handle, Multiplexer
from django_relay.transport.resolver import MAX_THREADS, LookUpFailed, Resolver
from django_relay.transport.routes import Policy, Route
from django_relay.transport.transfer_pool import Transfers
from django_relay.transport.transfers import Transfer

CAPACITY = 512
"""How many requests are open at once where no setting says otherwise."""

_TOGETHER = 16
"""How many submitted requests wait for each other, unless :meth:`CurlTransport.completed` is called before: to begin
them together costs a quarter less, above all in waking the other side."""

_IDLE_CONNECTIONS = 256
"""How many connections are kept at least, beside those in use."""

Answer = Future[list[str]]


@dataclass(slots=True, eq=False)
class _Job:
    """A request under way."""

    request: Request
    started_at: datetime
    began: float
    number: int
    where: tuple[Target, Policy] | None = None
    """What its name is looked up for."""
    look_up: Answer | None = None
    """While it is waited for."""
    transfer: Transfer | None = None

    @property
    def ends_at(self) -> float:
        return self.began + self.request.timeout_seconds


class CurlTransport:
    """Sends all requests from the thread that calls it; only names are looked up in others.

    The contract of its methods is :class:`~django_relay.transport.base.Transport`.
    """

    def __init__(self, *, max_in_flight: int | None = None) -> None:
        self._capacity: int = max_in_flight or conf.settings.MAX_IN_FLIGHT or CAPACITY
        self._waiting: deque[Request] = deque()
        self._resolving: dict[int, _Job] = {}
        self._jobs: dict[int, _Job] = {}
        self._deadlines: list[tuple[float, int]] = []  # a heap; those of :attr:`_jobs`, and of some before
        self._resolved: deque[_Job] = deque()
        self._sending: dict[Handle, _Job] = {}
        self._done: list[Outcome] = []
        self._in_flight = 0
        self._active = 0
        self._count = itertools.count()
        self._is_stopped = self._is_woken = False
        self._resolver = Resolver(max_threads=max(MAX_THREADS, self._capacity // 2))
        self._multiplexer = Multiplexer(max_connections=_max_connections(self._capacity))
        self._transfers = Transfers(capacity=self._capacity, opened=self._multiplexer.forget)

    @property
    def capacity(self) -> int:
        """How many requests it can have open at once."""
        return self._capacity

    @property
    def in_flight(self) -> int:
        """How many submitted requests have not come back yet."""
        return self._in_flight

    def submit(self, request: Request) -> None:
        """Take a request, to be begun with the next ones; more than :attr:`capacity` wait for one to end."""
        self._in_flight += 1
        self._waiting.append(request)
        if len(self._waiting) >= _TOGETHER:
            self._begin_waiting()

    def completed(self, timeout: float) -> list[Outcome]:
        """Return the outcomes that are there, waiting up to ``timeout`` seconds for the first or for :meth:`wake`."""
        ends_at = time.monotonic() + timeout
        self._begin_waiting()
        while True:
            self._turn(0 if self._done else ends_at - time.monotonic())
            if self._done:
                self._turn(0)  # what the others did meanwhile comes along
            if self._done or self._is_woken or time.monotonic() >= ends_at:
                self._is_woken = False
                outcomes, self._done = self._done, []
                self._in_flight -= len(outcomes)
                return outcomes

    def wake(self) -> None:
        """Make a waiting (or the next) :meth:`completed` return at once. Safe in a signal handler and in any thread."""
        self._is_woken = True
        self._multiplexer.wake()

    def stop(self) -> None:
        """Begin no new request from now on: what was submitted but not begun comes back as ``not_sent``."""
        self._is_stopped = True  # the rest is done where the thread is, not where a signal met it
        self.wake()

    def close(self) -> None:
        """Close all connections and threads. Nothing may be in flight."""
        self._is_stopped = True
        self._resolver.close()
        for easy, job in self._sending.items():
            self._multiplexer.remove(easy)
            if job.transfer is not None:
                self._transfers.give_back(job.transfer)
        self._multiplexer.close()
        self._transfers.close()

    def _turn(self, timeout: float) -> None:
        """Wait until something can be done, and do it."""
        if self._is_stopped:
            self._resolver.close()
        while self._deadlines and self._deadlines[0][1] not in self._jobs:
            heapq.heappop(self._deadlines)
        if self._deadlines:
            timeout = min(timeout, self._deadlines[0][0] - time.monotonic())
        for easy, code, message in self._multiplexer.turn(timeout):
            self._end(self._sending.pop(easy), code, message)
        while self._resolved:
            self._take_answer(self._resolved.popleft())
        self._give_up_late()
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        policy: Policy | None = None
        while self._waiting and (self._is_stopped or self._active < self._capacity):
            request = self._waiting.popleft()
            job = _Job(request, datetime.now(tz=UTC), time.monotonic(), next(self._count))
            self._active += 1
            self._set_deadline(job)
            try:
                self._refuse_when_stopped()
                policy = policy or routes.policy()
                self._begin(job, policy)
            except Exception as error:  # noqa: BLE001  # whatever happens, an outcome comes back
                self._finish(job, *failures.explain(error))
        self._multiplexer.begin()

    def _begin(self, job: _Job, policy: Policy) -> None:
        request = job.request
        route = routes.to_literal(request.tenant_id, request.url, policy)
        if route is not None:
            self._send(job, route)
            return
        target = addresses.parse(request.url, allow_http=policy.allow_http, allowed_networks=policy.allowed_networks)
        job.where = target, policy
        job.look_up = self._resolver.look_up(target.host, target.port, tenant_id=request.tenant_id)
        self._resolving[job.number] = job
        job.look_up.add_done_callback(functools.partial(self._answered, job))

    def _answered(self, job: _Job, _: Answer) -> None:
        # Called by the resolver's threads, which hold its lock.
        self._resolved.append(job)
        self._multiplexer.wake()

    def _take_answer(self, job: _Job) -> None:
        if self._resolving.pop(job.number, None) is None or job.look_up is None or job.where is None:
            return  # it came too late
        try:
            self._refuse_when_stopped()
            target, policy = job.where
            self._send(job, routes.checked(job.request.tenant_id, target, job.look_up.result(), policy))
        except Exception as error:  # noqa: BLE001  # whatever happens, an outcome comes back
            self._finish(job, *failures.explain(error))

    def _set_deadline(self, job: _Job) -> None:
        self._jobs[job.number] = job
        heapq.heappush(self._deadlines, (job.ends_at, job.number))
        if len(self._deadlines) > 4 * self._capacity:  # nearly all ended in time
            self._deadlines = [(job.ends_at, number) for number, job in self._jobs.items()]
            heapq.heapify(self._deadlines)

    def _give_up_late(self) -> None:
        """End what is late, now that all that has come is read."""
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            job = self._jobs.get(heapq.heappop(self._deadlines)[1])
            if job is None:
                continue
            if job.transfer is not None:
                del self._sending[job.transfer.easy]
                job.transfer.give_up()
                self._end(job, pycurl.E_OPERATION_TIMEDOUT, "")
            elif self._resolving.pop(job.number, None) is not None and job.look_up is not None:
                self._finish(job, *failures.explain(resolver.too_late(job.look_up)))

    def _send(self, job: _Job, route: Route) -> None:
        job.transfer = transfer = self._transfers.take(route)
        transfer.begin(route, job.request)
        self._multiplexer.add(transfer.easy)
        self._sending[transfer.easy] = job

    def _refuse_when_stopped(self) -> None:
        if self._is_stopped:
            raise LookUpFailed("not_sent", "The worker was told to stop.")

    def _end(self, job: _Job, code: int, message: str) -> None:
        transfer = job.transfer
        if transfer is None:
            return
        self._multiplexer.remove(transfer.easy)
        kind, error = transfer.end(code, message)
        if not transfer.is_unsent:
            self._finish(job, kind, error)
            return
        transfer.begin_afresh(job.request)
        self._multiplexer.add(transfer.easy)
        self._sending[transfer.easy] = job

    def _finish(self, job: _Job, kind: str, error: str) -> None:
        self._active -= 1
        del self._jobs[job.number]
        transfer = job.transfer
        self._done.append(
            Outcome(
                request=job.request,
                started_at=job.started_at,
                duration_ms=round((time.monotonic() - job.began) * 1_000),
                status_code=transfer.status_code if transfer else None,
                error_kind=kind,
                error=error,
                headers=transfer.headers if transfer else (),
                body=transfer.body if transfer else b"",
                remote_address=transfer.remote_address if transfer else "",
            )
        )
        if transfer is not None:
            self._transfers.give_back(transfer)


def _max_connections(capacity: int) -> int:
    """Return how many connections may be open, in use or kept: more where there are descriptors for them."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    plenty = 4 * capacity
    return plenty if descriptors < 0 else max(capacity + _IDLE_CONNECTIONS, min(plenty, descriptors // 2))
