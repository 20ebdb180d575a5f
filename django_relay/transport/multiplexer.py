"""One libcurl multi handle and one poll over all of its sockets, however many."""

import contextlib
import os
import select
import selectors
import time
from collections.abc import Callable
from typing import Any, Protocol

import pycurl

Handle = Any
"""pycurl has no types: its ``Curl``."""

Ended = tuple[Handle, int, str]
"""An easy handle, its ``CURLE_…`` code (0 is success) and libcurl's words, which may show the host."""

_IN, _OUT, _BOTH = select.POLLIN, select.POLLOUT, select.POLLIN | select.POLLOUT
_WANTED = {pycurl.POLL_IN: _IN, pycurl.POLL_OUT: _OUT, pycurl.POLL_INOUT: _BOTH}


class Poll(Protocol):
    """What is used of ``select.epoll``."""

    def register(self, fd: int, eventmask: int, /) -> None:
        """Begin to watch a descriptor."""

    def modify(self, fd: int, eventmask: int, /) -> None:
        """Watch a descriptor for something else."""

    def unregister(self, fd: int, /) -> None:
        """Watch a descriptor no more."""

    def poll(self, timeout: float | None = None, maxevents: int = -1, /) -> list[tuple[int, int]]:
        """Wait for descriptors, and return them with what they are ready for."""

    def close(self) -> None:
        """Give up what the system holds."""


class SelectorPoll:
    """The same over :mod:`selectors` (kqueue, /dev/poll), where there is no epoll."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, fd: int, eventmask: int, /) -> None:
        """Begin to watch a descriptor."""
        self._selector.register(fd, _to_selectors(eventmask))

    def modify(self, fd: int, eventmask: int, /) -> None:
        """Watch a descriptor for something else."""
        self._selector.modify(fd, _to_selectors(eventmask))

    def unregister(self, fd: int, /) -> None:
        """Watch a descriptor no more."""
        self._selector.unregister(fd)

    def poll(self, timeout: float | None = None, maxevents: int = -1, /) -> list[tuple[int, int]]:
        """Wait for descriptors, and return them with what they are ready for."""
        return [(key.fd, _from_selectors(events)) for key, events in self._selector.select(timeout)]

    def close(self) -> None:
        """Give up what the system holds."""
        self._selector.close()


new_poll: Callable[[], Poll] = getattr(select, "epoll", SelectorPoll)


class Multiplexer:
    """Drives transfers in the thread that calls :meth:`turn`. Only :meth:`wake` may be called by others."""

    def __init__(self, *, max_connections: int) -> None:
        self._poll: Poll = new_poll()
        self._watched: dict[int, int] = {}
        self._kept: dict[int, int] = {}
        self._due_at: float | None = None
        self._is_closed = False
        self._wake_in, self._wake_out = os.pipe()
        for descriptor in (self._wake_in, self._wake_out):
            os.set_blocking(descriptor, False)
        self._poll.register(self._wake_in, _IN)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def add(self, easy: Handle) -> None:
        """Take a transfer up; :meth:`begin` begins it."""
        self._multi.add_handle(easy)

    def begin(self) -> None:
        """Begin what was added: on a kept connection the request goes out now, else connecting begins."""
        self._run_timer()

    def remove(self, easy: Handle) -> None:
        """Take back an easy handle whose transfer has ended, or end it; its connection is kept where it can be."""
        self._multi.remove_handle(easy)

    def turn(self, timeout: float) -> list[Ended]:
        """Wait up to ``timeout`` seconds for anything to happen, do what is to be done, and return what has ended."""
        found = self._ended()  # some end as they begin
        if found:
            timeout = 0
        elif self._due_at is not None:
            timeout = min(timeout, self._due_at - time.monotonic())
        for descriptor, events in self._poll.poll(max(timeout, 0), len(self._watched) + len(self._kept) + 1):
            if descriptor == self._wake_in:
                self._drain()
            # What was ready may have been closed by what came before it; its number is then not watched any more.
            elif descriptor in self._watched:
                ready = pycurl.CSELECT_IN if events & ~_OUT else 0
                self._multi.socket_action(descriptor, ready | (pycurl.CSELECT_OUT if events & ~_IN else 0))
            else:
                self.forget(descriptor)
        self._run_timer()
        return found + self._ended()

    def forget(self, descriptor: int) -> None:
        """Take note that a descriptor is, or becomes, another socket's than the one that was watched."""
        if self._kept.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError, KeyError, ValueError):  # closed before
                self._poll.unregister(descriptor)

    def wake(self) -> None:
        """Make a waiting (or the next) :meth:`turn` return at once. Safe in a signal handler and in any thread."""
        if not self._is_closed:
            with contextlib.suppress(BlockingIOError):  # full of wakes
                os.write(self._wake_out, b"\0")

    def close(self) -> None:
        """Close all connections. No transfer may be under way."""
        self._is_closed = True
        self._multi.close()
        self._due_at = None
        self._poll.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _ended(self) -> list[Ended]:
        found: list[Ended] = []
        left = 1
        while left:
            left, succeeded, failed = self._multi.info_read(1_024)
            found += [(easy, 0, "") for easy in succeeded]
            found += failed
        return found

    def _run_timer(self) -> None:
        # A timer that is due may set the next one to now: libcurl does one step at a time.
        for _ in range(8):
            if self._due_at is None or self._due_at > time.monotonic():
                return
            self._due_at = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._ask_timer()

    def _ask_timer(self) -> None:
        # libcurl tells no time that it has told before, though it is yet to come when we were a little early.
        if self._due_at is None and (milliseconds := self._multi.timeout()) >= 0:
            self._due_at = time.monotonic() + max(milliseconds, 1) / 1_000

    def _set_timer(self, milliseconds: int) -> None:
        self._due_at = None if milliseconds < 0 else time.monotonic() + milliseconds / 1_000

    def _watch(self, what: int, descriptor: int, *_: object) -> None:
        watched = self._watched.pop(descriptor, None)
        if what == pycurl.POLL_REMOVE:
            # Most serve the next request soon: to begin watching anew costs more than a rare needless event.
            if watched is not None:
                self._kept[descriptor] = watched
            return
        if watched is None:
            watched = self._kept.pop(descriptor, None)
        wanted = self._watched[descriptor] = _WANTED[what]
        if watched is None:
            self._poll.register(descriptor, wanted)
        elif watched != wanted:
            self._poll.modify(descriptor, wanted)

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_in, 65_536)


def _to_selectors(events: int) -> int:
    return (selectors.EVENT_READ if events & _IN else 0) | (selectors.EVENT_WRITE if events & _OUT else 0)


def _from_selectors(events: int) -> int:
    return (_IN if events & selectors.EVENT_READ else 0) | (_OUT if events & selectors.EVENT_WRITE else 0)
