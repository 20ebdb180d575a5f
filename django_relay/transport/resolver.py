"""Look names up beside the caller, under a deadline, and check every answer.

``getaddrinfo`` takes no deadline and cannot be interrupted, so each look-up has a thread of ours. Threads are bounded,
and a tenant may hold only some of them: dead names of one delay nobody else's.
"""

import errno
import os
import socket
import threading
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future

from django_relay.transport import addresses

MAX_THREADS = 128
MAX_PER_TENANT = 48
MAX_ADDRESSES = 4
"""How many addresses of a host are tried in one attempt."""
OUR_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Error numbers that say something about this machine and nothing about the other side."""

_Key = tuple[str, str, int]


class LookUpFailed(Exception):
    """A name did not resolve; ``kind`` is one of :data:`django_relay.transport.base.ERROR_KINDS`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Resolver:
    """Resolves names in a bounded pool of daemon threads. Thread-safe."""

    def __init__(self, *, max_threads: int = MAX_THREADS, max_per_tenant: int = MAX_PER_TENANT) -> None:
        self._max_threads = max_threads
        self._max_per_tenant = max_per_tenant
        self._changed = threading.Condition()
        self._pending: dict[_Key, Future[list[str]]] = {}
        self._waiting: deque[_Key] = deque()
        self._running: Counter[str] = Counter()
        self._threads = 0
        self._idle = 0
        self._is_closed = False

    def resolve(
        self,
        host: str,
        port: int,
        *,
        tenant_id: str,
        timeout: float,
        allowed_networks: Sequence[str] = (),
    ) -> list[str]:
        """Return the addresses of a host in the order to try them, each once, all of them allowed.

        Raises:
            LookUpFailed: ``dns_error`` if there is none in time, ``local_error`` if that is our own fault.
            UnsafeURL: with the code ``address_not_public``, if policy forbids any of the addresses.
        """
        future = self.look_up(host, port, tenant_id=tenant_id)
        try:
            found = future.result(timeout)
        except TimeoutError:
            raise too_late(future) from None
        for address in found:
            addresses.check(address, allowed_networks=allowed_networks)
        return found

    def look_up(self, host: str, port: int, *, tenant_id: str) -> "Future[list[str]]":
        """Begin a look-up, or join the tenant's own of the same name; the answer is **not** checked.

        Use :meth:`resolve` unless you wait for many at once, and then call :func:`addresses.check` on each address. The
        future may fail with :class:`LookUpFailed`.
        """
        if is_literal(host):
            literal: Future[list[str]] = Future()
            literal.set_result([host])
            return literal
        key = (tenant_id, host, port)
        with self._changed:
            if (pending := self._pending.get(key)) is not None:
                return pending
            future = self._pending[key] = Future()
            if self._is_closed:
                self._settle(key, _closed())
                return future
            self._waiting.append(key)
            self._changed.notify()
            if self._idle < len(self._waiting) and self._threads < self._max_threads:
                self._start_thread()
        return future

    def close(self) -> None:
        """Fail whatever waits; threads end when their look-up does."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            for key in list(self._pending):
                self._settle(key, _closed())
            self._changed.notify_all()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="relay-resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads: those there are take it up later
            return
        self._threads += 1

    def _work(self) -> None:
        while (key := self._take()) is not None:
            found: list[str] | LookUpFailed
            try:
                found = look_up_now(key[1], key[2])
            except LookUpFailed as error:
                found = error
            with self._changed:
                self._settle(key, found)
                self._running[key[0]] -= 1
                if not self._running[key[0]]:
                    del self._running[key[0]]

    def _settle(self, key: _Key, found: list[str] | LookUpFailed) -> None:
        future = self._pending.pop(key, None)
        if future is None:
            return  # closed meanwhile
        if isinstance(found, LookUpFailed):
            future.set_exception(found)
        else:
            future.set_result(found)

    def _take(self) -> _Key | None:
        """Wait for a look-up whose tenant may have another thread."""
        with self._changed:
            while not self._is_closed:
                for key in self._waiting:
                    if self._running[key[0]] < self._max_per_tenant:
                        self._waiting.remove(key)
                        self._running[key[0]] += 1
                        self._pending[key].set_running_or_notify_cancel()
                        return key
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            self._threads -= 1
            return None


def is_literal(host: str) -> bool:
    """Return whether a parsed URL's host is an address, which needs no look-up."""
    return ":" in host or host.rpartition(".")[2].isdecimal()


def too_late(future: "Future[list[str]]") -> LookUpFailed:
    """Return what to say of a look-up that has not ended when the deadline has passed."""
    if future.running():
        return LookUpFailed("dns_error", "The host's name was not resolved in time.")
    return LookUpFailed("local_error", "Too many name look-ups were under way.")


def _closed() -> LookUpFailed:
    return LookUpFailed("not_sent", "The worker was told to stop.")


def look_up_now(host: str, port: int) -> list[str]:
    """Return the addresses of a host, blocking as long as the system's resolver likes.

    Raises:
        LookUpFailed: ``dns_error`` or ``local_error``.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except socket.gaierror as error:
        if error.errno in {socket.EAI_MEMORY, socket.EAI_SYSTEM} or _lacks_descriptors():
            raise LookUpFailed("local_error", "The system's resolver failed.") from error
        if error.errno == socket.EAI_AGAIN:
            raise LookUpFailed("dns_error", "The host's name servers gave no answer.") from error
        raise LookUpFailed("dns_error", "The host's name does not exist or has no address.") from error
    except (MemoryError, OSError) as error:
        raise LookUpFailed("local_error", f"The system's resolver failed: {type(error).__name__}.") from error
    except Exception as error:
        raise LookUpFailed("dns_error", "The host's name cannot be looked up.") from error
    if not found:
        raise LookUpFailed("dns_error", "The host's name has no address.")
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _lacks_descriptors() -> bool:
    # Without one glibc says EAI_AGAIN or EAI_NONAME, which would put the blame on the receiver.
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in OUR_OWN
    return False
