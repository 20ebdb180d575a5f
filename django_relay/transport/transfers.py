"""One request and its response over a libcurl easy handle, which serves one after the other.

What libcurl would do by itself beyond one POST to a checked address is turned off or refused here: looking names up,
following, repeating, quoting, unpacking, asking the environment.
"""

import contextlib
import socket
from collections.abc import Callable

import pycurl

from django_relay.transport import addresses, curl_errors, failures, responses
from django_relay.transport import curl_heads as heads
from django_relay.transport.base import Request
from django_relay.transport.connections import MAX_IDLE_SECONDS
from django_relay.transport.kept_connections import Connection, Connections
from django_relay.transport.responses import BadResponse
from django_relay.transport.routes import Route

_BACKSTOP_SECONDS = 600
"""When libcurl gives a transfer up by itself. The deadline is kept by whoever drives it: libcurl looks at its clock
before it reads, so that after a pause of our own an answer that is there would be too late."""
_GO_ON = 0
_STOP = _REFUSED = -1
_ABORT = 1
"""What callbacks return: the last three end the transfer, each in its kind of callback."""


class Transfer:
    """An easy handle and what has come back of its present request."""

    def __init__(self, connections: Connections, opened: Callable[[int], None]) -> None:
        self._connections = connections
        self._on_open = opened
        # Names are each handle's own: what is pinned for one request means nothing to another.
        self._share = pycurl.CurlShare()
        self._share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_DNS)
        self.easy = pycurl.Curl()
        self._route: Route | None = None
        self._socket: socket.socket | None = None
        self._connection: Connection | None = None
        self._is_fresh = self._waits = False
        self.is_unsent = False
        """The kept connection that libcurl chose was stale, and nothing was sent over it."""
        for option, value in self._fixed().items():
            self.easy.setopt(option, value)

    @property
    def name(self) -> str:
        """The name of the route it served last."""
        return self._route.name if self._route is not None else ""

    def _fixed(self) -> dict[int, object]:
        return {
            pycurl.SHARE: self._share,
            pycurl.NOSIGNAL: 1,
            pycurl.POST: 1,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS,
            pycurl.HTTP09_ALLOWED: 0,
            pycurl.FOLLOWLOCATION: 0,
            pycurl.PROXY: "",
            pycurl.NOPROXY: "*",
            pycurl.USERAGENT: "",  # pycurl's own would go out where the headers have none
            pycurl.NETRC: pycurl.NETRC_IGNORED,
            pycurl.DNS_CACHE_TIMEOUT: -1,
            pycurl.SSLVERSION: pycurl.SSLVERSION_TLSv1_2,
            pycurl.SSL_VERIFYPEER: 1,
            pycurl.SSL_VERIFYHOST: 2,
            pycurl.SSL_SESSIONID_CACHE: 0,  # its sessions are kept by host name, over tenants
            pycurl.MAXAGE_CONN: int(MAX_IDLE_SECONDS),
            pycurl.CONNECTTIMEOUT: _BACKSTOP_SECONDS,
            pycurl.TIMEOUT: _BACKSTOP_SECONDS,
            pycurl.OPENSOCKETFUNCTION: self._open,
            pycurl.SOCKOPTFUNCTION: self._take_over,
            pycurl.PREREQFUNCTION: self._connected,
            pycurl.HEADERFUNCTION: self._take_header,
            pycurl.WRITEFUNCTION: self._take_body,
        }

    def begin(self, route: Route, request: Request) -> None:
        """Set the handle up for a request; then give it to the multiplexer, and end it when its time is over.

        Raises:
            UnusableHeader: if a header may not be sent.
        """
        self._clear(request)
        easy = self.easy
        easy.setopt(pycurl.HTTPHEADER, heads.lines(request))
        easy.setopt(pycurl.POSTFIELDS, request.body)
        if self._is_fresh:
            easy.setopt(pycurl.FRESH_CONNECT, 0)
            self._is_fresh = False
        if route is not self._route:
            self._take_route(route)
        # Of many that begin at once, all but one wait for its connection where they can share it. Not where that is not
        # known: over HTTP/1 they would wait for its answer.
        if (waits := self._connections.is_multiplexed(route.name)) != self._waits:
            easy.setopt(pycurl.PIPEWAIT, int(waits))
            self._waits = waits

    def begin_afresh(self, request: Request) -> None:
        """Set the handle up for the same request once more, over a connection that is new."""
        self._clear(request)
        self.easy.setopt(pycurl.FRESH_CONNECT, 1)
        self._is_fresh = True

    def _clear(self, request: Request) -> None:
        self.is_unsent = False
        self.error: Exception | None = None
        self.remote_address = self._reached = ""
        self._status_code: int | None = None
        self._is_final = False
        self._interim = 0
        self._head: list[bytes] = []
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._room = request.max_response_bytes
        self._opened: list[int] = []

    def _take_route(self, route: Route) -> None:
        easy, before = self.easy, self._route
        if before is None or before.name != route.name:
            forget = [] if before is None else [f"-{before.name}:{before.target.port}"]
            easy.setopt(pycurl.RESOLVE, [*forget, route.resolve])
            easy.setopt(pycurl.CONNECT_TO, route.connect_to)
        if before is None or before.origin != route.origin:
            easy.setopt(pycurl.URL, route.origin)
        if before is None or before.ca_bundle != route.ca_bundle:
            easy.setopt(pycurl.CAINFO, route.ca_bundle)
        # As given: libcurl takes nothing out of it and puts nothing in.
        easy.setopt(pycurl.REQUEST_TARGET, route.target.path)
        self._route = route

    @property
    def status_code(self) -> int | None:
        """The status of the final response, if its head has come, or as much of it as can be understood."""
        return self._status_code if self._is_final else None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The fields of the final response."""
        if not self._is_final:
            return ()
        found = [field for line in self._head if (field := heads.field(line)) is not None]
        return tuple(found[: responses.MAX_HEADERS])

    @property
    def body(self) -> bytes:
        """The body's first bytes."""
        return b"".join(self._body)

    def give_up(self) -> None:
        """Take note of how far it has come, while its sockets are there; then take it back from the multiplexer."""
        for descriptor in self._opened if not self.remote_address else ():
            with contextlib.suppress(OSError):  # closed, or not connected
                sock = socket.socket(fileno=descriptor)
                try:
                    self._reached = sock.getpeername()[0]
                finally:
                    sock.detach()

    def end(self, code: int, message: str) -> tuple[str, str]:
        """Take note of the end of the transfer; return the kind and the words of what prevented an answer, if any."""
        if self._connection is not None:
            self._connection.users -= 1
            self._connection = None
        if self._socket is not None:
            # libcurl could not take it over: it gets a duplicate.
            self._socket.close()
            self._socket = None
            code = pycurl.E_OUT_OF_MEMORY
        if self._is_final:
            return "", ""
        if code == curl_errors.WEIRD_SERVER_REPLY and self._status_code is not None and self._status_code >= 200:
            self._is_final = True  # libcurl dislikes a header: it says nothing, the status is the receiver's word
            return "", ""
        phase = "ready"
        if not self.remote_address:
            if not self._reached and self.easy.getinfo(pycurl.CONNECT_TIME) > 0:
                self._reached = self.easy.getinfo(pycurl.PRIMARY_IP)
            phase = "tls" if self._reached else "connect"
            self.remote_address = self._reached
        error = self.error or curl_errors.translate(code, message, number=self.easy.getinfo(pycurl.OS_ERRNO))
        return failures.explain_exchange(error, phase=phase, is_late=code == pycurl.E_OPERATION_TIMEDOUT)

    def close(self) -> None:
        """Give the handle up."""
        self.easy.close()
        self._share.close()

    # What libcurl asks while it works. An exception here would only be printed.

    def _open(self, _: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        """Make a socket for an address, which is checked where it is used, whoever resolved it."""
        family, kind, protocol, (host, *_rest) = address
        # A kept connection has ended under the request, and libcurl would repeat it over a new one.
        if self.remote_address or self._route is None:
            return _REFUSED
        try:
            addresses.check(host, allowed_networks=self._route.allowed_networks)
            self._socket = socket.socket(family, kind, protocol)
        except Exception as error:  # noqa: BLE001  # it is told at the end
            self.error = error
            return _REFUSED
        return self._socket

    def _take_over(self, descriptor: int, _: int) -> int:
        """Close our descriptor of the socket, now that libcurl has one of its own."""
        self._opened.append(descriptor)
        self._on_open(descriptor)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        return _GO_ON

    def _connected(self, remote: str, local: str, remote_port: int, local_port: int) -> int:
        """Let the request go out: once, over a connection to one of its own addresses that is fit for it."""
        if self.remote_address or self._route is None or remote not in self._route.addresses:
            return _ABORT
        ends = (remote, remote_port, local, local_port)
        if self._opened:
            connection = self._connections.add(ends, self._descriptor(local_port))
        else:
            found = self._connections.get(ends)
            if found is None or found.is_stale:
                self.is_unsent = True
                return _ABORT
            connection = found
        connection.users += 1
        self._connection = connection
        self.remote_address = remote
        self.error = None  # of an address tried before this one
        return _GO_ON

    def _descriptor(self, local_port: int) -> int:
        """Return which of the sockets that were opened has been connected."""
        for descriptor in self._opened[:-1]:
            with contextlib.suppress(OSError):  # closed again
                sock = socket.socket(fileno=descriptor)
                try:
                    if sock.getsockname()[1] == local_port:
                        return descriptor
                finally:
                    sock.detach()
        return self._opened[-1]

    def _take_header(self, line: bytes) -> int | None:
        if self._is_final:
            # A trailer, after the whole body. In HTTP/1 it is often not one, and the connection is not to be trusted.
            return _STOP
        self._head_bytes += len(line)
        if self._head_bytes > responses.MAX_HEAD_BYTES:
            self.error = responses.endless_head()
            return _STOP
        if self._status_code is None:
            try:
                is_tls = self._route is not None and self._route.target.scheme == "https"
                self._status_code = heads.status(line, is_tls=is_tls)
                self._learn(is_multiplexed=line.startswith(b"HTTP/2"))
            except BadResponse as error:
                self.error = error
                return _STOP
        elif line not in {b"\r\n", b"\n"}:
            self._head.append(line)
        elif self._status_code >= 200:
            self._is_final = True
            if self._connection is not None and heads.is_doubtful(self._head):
                self._connection.is_doubtful = True
        else:
            self._status_code, self._head, self._head_bytes = None, [], 0
            self._interim += 1
            if self._interim >= responses.MAX_INTERIM:
                self.error = responses.endless_interim()
                return _STOP
        return None

    def _learn(self, *, is_multiplexed: bool) -> None:
        self._connections.learn(self.name, is_multiplexed=is_multiplexed)
        if self._connection is not None:
            self._connection.is_shared = is_multiplexed

    def _take_body(self, data: bytes) -> int | None:
        self._body.append(data[: self._room])
        self._room -= len(data)
        return _STOP if self._room < 0 else None
