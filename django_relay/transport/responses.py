"""Read an HTTP/1 response that may be hostile: strictly up to the status, then no more than is wanted.

Why not ``http.client``: it takes an interim answer for the answer, forgets the status when something after it is wrong,
reads endless trailers, and parses headers as e-mail. RFC numbers are of 9112 where not said otherwise.
"""

import contextlib
import re
import socket
import ssl
from dataclasses import dataclass

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100
MAX_INTERIM = 100

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


class BadResponse(Exception):
    """What came back is not HTTP."""


class NoResponse(Exception):
    """The connection was closed before a status line had come."""


@dataclass(slots=True)
class Reply:
    """What is known of a response; filled as it comes, so that what goes wrong later does not undo it."""

    status_code: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    remote_address: str = ""
    is_complete: bool = False
    """The response has ended where its framing says and nothing followed: the connection can serve another request."""


class Reader:
    """Reads one response from a socket into a :class:`Reply`."""

    def __init__(self, sock: socket.socket, reply: Reply) -> None:
        self._sock = sock
        self._reply = reply
        self._file = sock.makefile("rb")
        self._version = 1

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read_head(self) -> None:
        """Read up to the end of the final response's headers, passing over interim responses (RFC 9110 §15.2).

        Raises:
            BadResponse: if it is not HTTP/1.0 or 1.1, or its head has no end.
            NoResponse: if nothing came.
            OSError: if the connection broke.
        """
        for _ in range(MAX_INTERIM):
            version, status = self._read_status_line()
            headers = self._read_headers()
            if status >= 200:
                self._version = version
                self._reply.headers = headers
                self._reply.status_code = status
                return
        raise endless_interim()

    def read_body(self, limit: int) -> None:
        """Read the body's first bytes, unchunked and never decompressed.

        Raises:
            OSError: if the connection broke; what was read is kept.
        """
        reply = self._reply
        lengths = {value.strip() for value in self._values("content-length")}
        codings = self._values("transfer-encoding")
        if reply.status_code in {204, 304}:
            ends = not codings and lengths <= {"0"}
        elif codings:
            ends = self._read_chunks(limit) and not lengths and [c.lower() for c in codings] == ["chunked"]
        elif len(lengths) == 1 and (length := min(lengths)).isascii() and length.isdecimal() and len(length) < 16:
            ends = self._read(min(int(length), limit)) and int(length) <= limit
        else:
            self._read(limit)
            ends = False
        reply.is_complete = ends and self._keeps_alive() and not self._has_more()

    def _read_status_line(self) -> tuple[int, int]:
        line = self._file.readline(MAX_HEAD_BYTES)
        if not line:
            raise NoResponse
        return status_line(line)

    def _read_headers(self) -> tuple[tuple[str, str], ...]:
        headers: list[tuple[str, str]] = []
        left = MAX_HEAD_BYTES
        while left > 0:
            line = self._file.readline(left)
            left -= len(line)
            if line in {b"\r\n", b"\n"}:
                return tuple(headers)
            if not line:
                raise NoResponse
            if len(headers) < MAX_HEADERS and (found := header(line)) is not None:
                headers.append(found)
        raise endless_head()

    def _values(self, name: str) -> list[str]:
        return [part.strip() for key, value in self._reply.headers if key.lower() == name for part in value.split(",")]

    def _keeps_alive(self) -> bool:
        options = {option.lower() for option in self._values("connection")}
        return self._version == 1 and "close" not in options and len(self._reply.headers) < MAX_HEADERS

    def _read(self, count: int) -> bool:
        """Append so many bytes to the body; return whether all of them came."""
        while count > 0:
            # read1: what has come is kept even if the connection breaks before the rest.
            data = self._file.read1(count)
            if not data:
                return False
            self._reply.body += data
            count -= len(data)
        return True

    def _read_chunks(self, limit: int) -> bool:
        """Read a chunked body (§7.1) up to the limit; return whether it has ended, without trailers."""
        while True:
            match = _CHUNK_SIZE.fullmatch(self._file.readline(256))
            if match is None:
                return False
            size = int(match[1], 16)
            if size == 0:
                return self._file.readline(3) in {b"\r\n", b"\n"}
            room = limit - len(self._reply.body)
            if not self._read(min(size, room)) or size >= room:
                return False
            if self._file.readline(3) not in {b"\r\n", b"\n"}:
                return False

    def _has_more(self) -> bool:
        """Return whether bytes follow the response: an answer to nothing, and poison for the next request."""
        timeout = self._sock.gettimeout()
        self._sock.settimeout(0)
        try:
            with contextlib.suppress(ssl.SSLWantReadError):
                return bool(self._file.peek(1))
            return False
        finally:
            self._sock.settimeout(timeout)


def status_line(line: bytes) -> tuple[int, int]:
    """Return the minor version and the status code of an HTTP/1 status line.

    Raises:
        BadResponse: if it is none.
    """
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise no_status_line()
    return int(match[1]), int(match[2])


def header(line: bytes) -> tuple[str, str] | None:
    """Return the name and value of a header line.

    A line that is no field is ``None``, to be passed over: it says nothing, and the status is still the receiver's
    word.
    """
    name, colon, value = line.decode("latin-1").partition(":")
    return (name, value.strip(" \t\r\n")) if colon and _FIELD_NAME.fullmatch(name) else None


def no_status_line() -> BadResponse:
    """Return what is wrong with an answer that does not begin as HTTP does."""
    return BadResponse("The first line is not a status line of HTTP/1.0 or HTTP/1.1.")


def endless_head() -> BadResponse:
    """Return what is wrong with a head of more than :data:`MAX_HEAD_BYTES`."""
    return BadResponse(f"The head is longer than {MAX_HEAD_BYTES:,} bytes.")


def endless_interim() -> BadResponse:
    """Return what is wrong with more than :data:`MAX_INTERIM` interim responses."""
    return BadResponse("More than a hundred interim responses.")
