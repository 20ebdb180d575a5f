"""A wall-clock end for blocking socket work: one thread that shuts down the sockets of whoever is too late.

Time-outs of Python's sockets are per operation, so one byte each half second defeats them. Shutting the socket down
frees a thread from whatever it is doing with it, also inside a TLS handshake.
"""

import contextlib
import heapq
import itertools
import socket
import threading
import time


class Guard:
    """The end of one attempt, and the socket to shut down at it."""

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.has_expired = False
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None

    @property
    def remaining(self) -> float:
        """Return the seconds left, at least a little (a time-out of 0 would mean a non-blocking socket)."""
        return max(self.ends_at - time.monotonic(), 0.001)

    @property
    def is_over(self) -> bool:
        """Return whether the deadline has passed, whether or not the watchdog has come round to it."""
        return self.has_expired or time.monotonic() >= self.ends_at

    def watch(self, sock: socket.socket) -> None:
        """Make the end of time shut this socket down, instead of the one watched before.

        Raises:
            TimeoutError: if the deadline has passed.
        """
        # A descriptor of our own: wrapping in TLS detaches the socket's, and closing one must never leave us with a
        # number that has meanwhile become another connection's.
        handle = socket.fromfd(sock.fileno(), sock.family, sock.type)
        with self._lock:
            previous, self._handle = self._handle, handle
            if previous is not None:
                previous.close()
            if self.has_expired:
                raise TimeoutError

    def expire(self) -> None:
        """Shut the watched socket down; for the watchdog."""
        with self._lock:
            self.has_expired = True
            if self._handle is not None:
                with contextlib.suppress(OSError):
                    self._handle.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Watch nothing any more; to be called when the attempt is over."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None


class Watchdog:
    """The one thread that waits for all deadlines."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Guard]] = []
        self._count = itertools.count()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def guard(self, seconds: float) -> Guard:
        """Return a guard that ends in so many seconds."""
        guard = Guard(time.monotonic() + seconds)
        with self._changed:
            heapq.heappush(self._heap, (guard.ends_at, next(self._count), guard))
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="relay-watchdog", daemon=True)
                thread.start()
                self._thread = thread
            if self._heap[0][2] is guard:
                self._changed.notify()
        return guard

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._is_closed:
                    return
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                guard = heapq.heappop(self._heap)[2]
            guard.expire()
