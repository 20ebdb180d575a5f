"""One request and its response over requests' transport adapter, with connections and a reader of our own.

requests' and urllib3's own way from :class:`requests.PreparedRequest` to the wire quotes the path again, adds headers,
follows ``Content-Encoding``, trusts the environment, and writes the URL to its logs. The adapter has hooks for all of
it.
"""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
import requests.adapters

from django_relay.transport import failures, headers
from django_relay.transport.addresses import Target
from django_relay.transport.connections import Connections, Pinned
from django_relay.transport.deadlines import Guard
from django_relay.transport.resolver import MAX_ADDRESSES, OUR_OWN
from django_relay.transport.responses import NoResponse, Reader, Reply


class ExchangeFailed(Exception):
    """Carries what happened past requests, which would replace it by an error of its own."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


@dataclass(slots=True)
class Exchange:
    """A request on its way: where to, until when, and what has come back."""

    target: Target
    addresses: Sequence[str]
    tenant_id: str
    guard: Guard
    connections: Connections
    context: ssl.SSLContext | None
    allowed_networks: Sequence[str]
    max_response_bytes: int
    reply: Reply = field(default_factory=Reply)
    phase: str = "connect"

    def urlopen(self, *, method: str, url: str, body: bytes, headers: Mapping[str, str], **_: object) -> Reply:
        """Send the request and read the response, as requests asks its connection pools to.

        Raises:
            ExchangeFailed: for everything; what has come of the response by then is in :attr:`reply`.
        """
        try:
            self._perform(wire(method, url, self.target.authority, headers, body))
        except Exception as error:
            raise ExchangeFailed(error) from error
        return self.reply

    def _perform(self, data: bytes) -> None:
        connection = self.connections.take(self.target, self.addresses, tenant_id=self.tenant_id, context=self.context)
        if connection is None:
            connection = self._connect()
        connection.guard = self.guard
        # A kept connection may end just now, its end still on the way. Whether the receiver has read the request is not
        # known then, so it is not sent again here: an attempt is one request.
        try:
            self._converse(connection, data)
            if self.reply.is_complete:
                self.connections.keep(connection, self.target, tenant_id=self.tenant_id, context=self.context)
        finally:
            if not self.reply.is_complete:
                connection.close()

    def _connect(self) -> Pinned:
        """Connect to the first address that answers."""
        chosen = self.addresses[:MAX_ADDRESSES]
        for left in range(len(chosen), 0, -1):
            connection = self.connections.make(
                self.target,
                chosen[-left],
                guard=self.guard,
                context=self.context,
                allowed_networks=self.allowed_networks,
            )
            # A dead first address must leave time for the second.
            connection.timeout = self.guard.remaining / left
            self.phase = "connect"
            try:
                connection.connect()
            except OSError as error:
                self.phase = connection.phase
                connection.close()
                if self.phase == "connect" and left > 1 and error.errno not in OUR_OWN:
                    continue
                if self.phase != "connect":
                    self.reply.remote_address = connection.address
                raise
            return connection
        raise NoResponse

    def _converse(self, connection: Pinned, data: bytes) -> None:
        self.phase = "ready"
        self.reply.remote_address = connection.address
        sock = connection.sock
        sock.settimeout(self.guard.remaining)
        self.guard.watch(sock)
        with Reader(sock, self.reply) as reader:
            refused: OSError | None = None
            try:
                sock.sendall(data)
            except (BrokenPipeError, ConnectionResetError) as error:
                refused = error  # a receiver may answer and close before it has read all (RFC 9112 §9.5)
            try:
                reader.read_head()
            except (NoResponse, OSError) as error:
                raise refused or error from error
            reader.read_body(self.max_response_bytes)

    def explain(self, error: Exception) -> tuple[str, str]:
        """Return the kind of an error (of :data:`~django_relay.transport.base.ERROR_KINDS`) and say it in words."""
        return failures.explain_exchange(error, phase=self.phase, is_late=self.guard.is_over)


class Prepared(requests.PreparedRequest):
    """What requests' adapter sends, filled in by hand: nothing of it is to be merged or quoted again."""

    exchange: Exchange


def prepare(exchange: Exchange, headers: Mapping[str, str], body: bytes) -> Prepared:
    """Return the POST of an exchange."""
    prepared = Prepared()
    prepared.method = "POST"
    prepared.url = exchange.target.url
    prepared.headers = dict(headers)  # type: ignore[assignment]  # as given: requests' own loses order and case
    prepared.body = body
    prepared.exchange = exchange
    return prepared


class Adapter(requests.adapters.HTTPAdapter):
    """requests' transport adapter, over an :class:`Exchange` instead of urllib3's pools."""

    def get_connection_with_tls_context(self, request: Any, *_: object, **__: object) -> Any:
        """Return what the request brings along; no proxy is looked for."""
        return request.exchange

    def cert_verify(self, *_: object, **__: object) -> None:
        """Do nothing: certificates are always verified, by the shared context."""

    def request_url(self, request: Any, *_: object, **__: object) -> str:
        """Return path and query exactly as they were given."""
        return str(request.exchange.target.path)

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Return a response that holds no cookies and whose body is already read."""
        response = requests.Response()
        response.status_code = resp.status_code
        response.headers.update(resp.headers)
        response._content = resp.body  # noqa: SLF001  # there is no public way to give a body
        response.url = req.url or ""
        response.request = req
        return response


def wire(method: str, path: str, authority: str, names_and_values: Mapping[str, str], body: bytes) -> bytes:
    """Return the request as bytes (RFC 9112 §2): our framing, the headers in the order and case given, the body.

    Raises:
        UnusableHeader: if a header is none, or one of those that frame the message.
    """
    lines = [f"{method} {path} HTTP/1.1", f"Host: {authority}"]
    lines += headers.lines(names_and_values)
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
