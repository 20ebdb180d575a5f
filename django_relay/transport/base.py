"""The seam between the pipeline and HTTP: what is asked of a transport, and what it gives back.

A transport never raises for what happens out in the world: every submitted :class:`Request` comes back as exactly one
:class:`Outcome`. It touches no database.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(slots=True)  # not frozen: that makes each one two microseconds dearer
class Request:
    """One POST that is to be made."""

    id: str
    """The attempt's id; a transport only hands it back."""
    tenant_id: str
    """Whose endpoint it is: connections and name look-ups are not shared between tenants."""
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    timeout_seconds: float
    """The total deadline: resolve, connect, TLS, send and receive."""
    max_response_bytes: int


@dataclass(slots=True)
class Outcome:
    """What came of a request: either a status code, or the kind of error that prevented one."""

    request: Request
    started_at: datetime
    duration_ms: int
    status_code: int | None = None
    error_kind: str = ""
    """Empty when there is a status code; otherwise one of :data:`ERROR_KINDS`."""
    error: str = ""
    """The error in words, for staff; never shows a secret or the URL's query."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    """The first bytes of the response's body, as they came."""
    remote_address: str = ""
    """The address that was connected to, if any."""


ERROR_KINDS = {
    "timeout": "The deadline passed before a status line had come.",
    "connect_timeout": "The deadline passed before a connection was made.",
    "dns_error": "The host's name did not resolve.",
    "connection": "The connection was refused, reset or closed before a status line had come.",
    "tls": "The TLS handshake failed.",
    "bad_response": "What came back is not HTTP.",
    "address_not_public": "The host resolves to an address that policy forbids; nothing was connected to.",
    "unsafe_url": "The URL itself is not (or no longer) allowed; nothing was connected to.",
    "local_error": "Our own side failed (no file descriptor, no memory, a broken resolver or secret); says nothing "
    "about the receiver.",
    "not_sent": "The transport was told to stop before the request began; not an attempt.",
    "unknown": "The worker that held the lease vanished; whether the receiver got the request is not known.",
}
"""Why there is no status code."""


class Transport(Protocol):
    """What sends HTTP. One thread submits and collects; any thread may :meth:`wake`; nothing else is thread-safe."""

    @property
    def capacity(self) -> int:
        """How many requests it can have open at once; what is submitted beyond them waits."""

    @property
    def in_flight(self) -> int:
        """How many submitted requests have not come back yet."""

    def submit(self, request: Request) -> None:
        """Take a request and return at once; its outcome comes by :meth:`completed`. Never raises for the world.

        It begins now, or with the next ones, and at the latest when :meth:`completed` is called.
        """

    def completed(self, timeout: float) -> list[Outcome]:
        """Return the outcomes that are there, waiting up to ``timeout`` seconds for the first or for :meth:`wake`."""

    def wake(self) -> None:
        """Make a waiting (or the next) :meth:`completed` return at once. Safe in a signal handler and in any thread."""

    def stop(self) -> None:
        """Begin no new request from now on: what was submitted but not begun comes back as ``not_sent``."""

    def close(self) -> None:
        """Close all connections and threads. Nothing may be in flight."""
