"""Connections to checked addresses, kept open for their tenant's next request."""

import functools
import socket
import ssl
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

import requests.utils
import urllib3.connection

from django_relay.transport import addresses
from django_relay.transport.addresses import Target
from django_relay.transport.deadlines import Guard

MAX_IDLE_SECONDS = 30.0
"""Receivers close idle connections: the longer one has waited, the likelier its end is on the way."""

_Key = tuple[str, str, str, ssl.SSLContext | None]  # tenant, origin, address, trust


class Pinned(urllib3.connection.HTTPConnection):
    """HTTP to one checked address, while ``host`` stays the name: for the Host header, SNI and the certificate."""

    address = ""
    allowed_networks: Sequence[str] = ()
    guard: Guard
    phase = "connect"
    """``connect``, then ``tls``, then ``ready``: says what it was that failed."""
    idle_since = 0.0

    def _new_conn(self) -> socket.socket:
        # Checked where it is used, whoever resolved it.
        addresses.check(self.address, allowed_networks=self.allowed_networks)
        sock = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self.timeout)
            sock.connect((self.address, self.port))
            sock.settimeout(self.guard.remaining)
            self.guard.watch(sock)
        except BaseException:
            sock.close()
            raise
        self.phase = "tls"
        return sock

    def connect(self) -> None:
        """Connect, and make TLS where the scheme asks for it.

        Raises:
            UnsafeURL: if policy forbids the address.
            OSError: if that fails.
        """
        super().connect()
        self.phase = "ready"


class PinnedTLS(Pinned, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class Connections:
    """Makes connections, and keeps a bounded number of idle ones for their tenant, origin and address.

    The least recently used goes first. Thread-safe.
    """

    def __init__(self, *, max_idle: int) -> None:
        self._max_idle = max_idle
        self._lock = threading.Lock()
        self._idle: OrderedDict[_Key, deque[Pinned]] = OrderedDict()
        self._count = 0

    def take(
        self, target: Target, found: Iterable[str], *, tenant_id: str, context: ssl.SSLContext | None
    ) -> Pinned | None:
        """Return an idle connection of the tenant to one of these addresses that is still open, if there is one."""
        for address in found:
            key = (tenant_id, target.origin, address, context)
            while (connection := self._pop(key)) is not None:
                # Readable means closed by the other side, or bytes that nobody asked for.
                if time.monotonic() - connection.idle_since < MAX_IDLE_SECONDS and connection.is_connected:
                    return connection
                connection.close()
        return None

    def make(
        self,
        target: Target,
        address: str,
        *,
        guard: Guard,
        context: ssl.SSLContext | None,
        allowed_networks: Sequence[str],
    ) -> Pinned:
        """Return a new connection, not yet connected."""
        connection: Pinned
        if context is not None:
            connection = PinnedTLS(target.host, target.port, ssl_context=context)
        else:
            connection = Pinned(target.host, target.port)
        connection.address = address
        connection.allowed_networks = allowed_networks
        connection.guard = guard
        return connection

    def keep(self, connection: Pinned, target: Target, *, tenant_id: str, context: ssl.SSLContext | None) -> None:
        """Keep a connection whose response was read to its end for the tenant's next request."""
        connection.idle_since = time.monotonic()
        key = (tenant_id, target.origin, connection.address, context)
        evicted: Pinned | None = None
        with self._lock:
            self._idle.setdefault(key, deque()).append(connection)
            self._idle.move_to_end(key)
            self._count += 1
            if self._count > self._max_idle:
                evicted = self._pop_locked(next(iter(self._idle)))
        if evicted is not None:
            evicted.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle, self._count = self._idle, OrderedDict(), 0
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _pop(self, key: _Key) -> Pinned | None:
        with self._lock:
            return self._pop_locked(key) if key in self._idle else None

    def _pop_locked(self, key: _Key) -> Pinned:
        connections = self._idle[key]
        # The one used last: the others age and go.
        connection = connections.pop()
        self._count -= 1
        if not connections:
            del self._idle[key]
        return connection


@functools.lru_cache(maxsize=8)
def tls_context(ca_bundle: str) -> ssl.SSLContext:
    """Return the context that all connections share: reading a bundle costs more than twenty handshakes.

    ``ca_bundle`` is the path of a PEM file; empty means certifi's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.load_verify_locations(ca_bundle or requests.utils.DEFAULT_CA_BUNDLE_PATH)
    return context
