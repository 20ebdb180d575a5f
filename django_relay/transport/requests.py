"""The default transport: a thread for each request in flight, over requests and urllib3."""

import queue
import threading
import time
from datetime import UTC, datetime

from django_relay import conf
from django_relay.transport import addresses, connections, exchanges, failures
from django_relay.transport.base import Outcome, Request
from django_relay.transport.connections import Connections
from django_relay.transport.deadlines import Guard, Watchdog
from django_relay.transport.exchanges import Adapter, Exchange, ExchangeFailed
from django_relay.transport.resolver import MAX_THREADS, LookUpFailed, Resolver
from django_relay.transport.responses import Reply

CAPACITY = 64
"""How many requests are open at once where no setting says otherwise."""


class RequestsTransport:
    """Sends each request from a thread of its own.

    The contract of its methods is :class:`~django_relay.transport.base.Transport`.
    """

    def __init__(self, *, max_in_flight: int | None = None) -> None:
        self._max_in_flight: int = max_in_flight or conf.settings.MAX_IN_FLIGHT or CAPACITY
        self._in_flight = 0
        self._to_do: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_stopped = False
        self._adapter = Adapter()
        # More than there are threads, for there are more origins; well below a usual limit of 1,024 descriptors.
        self._connections = Connections(max_idle=4 * self._max_in_flight)
        self._resolver = Resolver(max_threads=max(MAX_THREADS, 2 * self._max_in_flight))
        self._watchdog = Watchdog()

    @property
    def capacity(self) -> int:
        """How many requests it can have open at once: each has a thread."""
        return self._max_in_flight

    @property
    def in_flight(self) -> int:
        """How many submitted requests have not come back yet."""
        return self._in_flight

    def submit(self, request: Request) -> None:
        """Begin a request in a thread; more than ``max_in_flight`` wait for one."""
        self._in_flight += 1
        if len(self._threads) < min(self._in_flight, self._max_in_flight):
            thread = threading.Thread(target=self._work, name="relay-send", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads
                if not self._threads:
                    self._done.put(_not_begun(request, "local_error", "No thread could be started."))
                    return
            else:
                self._threads.append(thread)
        self._to_do.put(request)

    def completed(self, timeout: float) -> list[Outcome]:
        """Return the outcomes that are there, waiting up to ``timeout`` seconds for the first or for :meth:`wake`."""
        outcomes: list[Outcome] = []
        try:
            outcome = self._done.get(timeout=timeout) if timeout > 0 else self._done.get_nowait()
            while True:
                if outcome is not None:
                    outcomes.append(outcome)
                outcome = self._done.get_nowait()
        except queue.Empty:
            self._in_flight -= len(outcomes)
            return outcomes

    def wake(self) -> None:
        """Make a waiting (or the next) :meth:`completed` return at once. Safe in a signal handler and in any thread."""
        self._done.put(None)

    def stop(self) -> None:
        """Begin no new request from now on: what was submitted but not begun comes back as ``not_sent``."""
        self._is_stopped = True
        self._resolver.close()

    def close(self) -> None:
        """Close all connections and threads. Nothing may be in flight."""
        self.stop()
        for _ in self._threads:
            self._to_do.put(None)
        for thread in self._threads:
            thread.join(5)
        self._connections.close()
        self._adapter.close()
        self._watchdog.close()

    def _work(self) -> None:
        while (request := self._to_do.get()) is not None:
            self._done.put(self._attempt(request))

    def _attempt(self, request: Request) -> Outcome:
        if self._is_stopped:
            return _not_begun(request, "not_sent", "The worker was told to stop.")
        started_at, began = datetime.now(tz=UTC), time.monotonic()
        try:
            guard = self._watchdog.guard(request.timeout_seconds)
        except RuntimeError:  # the system gives no more threads
            return _not_begun(request, "local_error", "No thread could be started.")
        exchange: Exchange | None = None
        kind = error = ""
        try:
            exchange = self._route(request, guard)
            self._adapter.send(exchanges.prepare(exchange, request.headers, request.body))
        except ExchangeFailed as failure:
            kind, error = exchange.explain(failure.cause) if exchange else failures.explain(failure)
        except Exception as failure:  # noqa: BLE001  # whatever happens, an outcome comes back
            kind, error = failures.explain(failure)
        finally:
            guard.finish()
        reply = exchange.reply if exchange else Reply()
        is_answered = reply.status_code is not None
        return Outcome(
            request=request,
            started_at=started_at,
            duration_ms=round((time.monotonic() - began) * 1_000),
            status_code=reply.status_code,
            error_kind="" if is_answered else kind,
            error="" if is_answered else error,
            headers=reply.headers,
            body=reply.body,
            remote_address=reply.remote_address,
        )

    def _route(self, request: Request, guard: Guard) -> Exchange:
        """Parse and resolve the request's URL, and check both."""
        allowed_networks: tuple[str, ...] = tuple(conf.settings.ALLOWED_NETWORKS)
        target = addresses.parse(request.url, allow_http=conf.settings.ALLOW_HTTP, allowed_networks=allowed_networks)
        found = self._resolver.resolve(
            target.host,
            target.port,
            tenant_id=request.tenant_id,
            timeout=guard.remaining,
            allowed_networks=allowed_networks,
        )
        is_tls = target.scheme == "https"
        context = connections.tls_context(conf.settings.CA_BUNDLE) if is_tls else None
        if self._is_stopped:
            raise LookUpFailed("not_sent", "The worker was told to stop.")
        return Exchange(
            target=target,
            addresses=found,
            tenant_id=request.tenant_id,
            guard=guard,
            connections=self._connections,
            context=context,
            allowed_networks=allowed_networks,
            max_response_bytes=request.max_response_bytes,
        )


def _not_begun(request: Request, kind: str, error: str) -> Outcome:
    return Outcome(
        request=request,
        started_at=datetime.now(tz=UTC),
        duration_ms=0,
        error_kind=kind,
        error=error,
    )
