"""The heads of requests and responses as libcurl takes and gives them: lines of bytes."""

import functools
import re
from collections.abc import Sequence

from django_relay.transport import headers, responses
from django_relay.transport.base import Request

# To libcurl a header without a value is one to leave out; with a semicolon it is sent, empty.
_BLANK = re.compile(rb"\A([^:]*):[ \t]*\Z")
_HTTP2_STATUS = re.compile(rb"HTTP/2 ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")


def lines(request: Request) -> list[bytes]:
    """Return a request's header lines as libcurl takes them.

    Raises:
        UnusableHeader: if a header may not be sent.
    """
    found = "\n".join(headers.lines(request.headers)).encode("latin-1").split(b"\n")
    if not all(map(str.strip, request.headers.values())):
        found = [_BLANK.sub(rb"\1;", line) for line in found]
    found += _not_by_itself(tuple(request.headers))
    return found


@functools.lru_cache(maxsize=1_024)
def _not_by_itself(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return what keeps libcurl from adding headers of its own to headers of these names."""
    has_type = any(name.lower() == "content-type" for name in names)
    return (b"Accept:", b"Expect:") if has_type else (b"Accept:", b"Expect:", b"Content-Type:")


def field(line: bytes) -> tuple[str, str] | None:
    """Return the name and value of a response's header line, or ``None`` where it is none."""
    # Most lines come again and again; long ones are not worth their memory.
    return _short_header(line) if len(line) < 128 else responses.header(line)


_short_header = functools.lru_cache(maxsize=1_024)(responses.header)


@functools.lru_cache(maxsize=256)
def status(line: bytes, *, is_tls: bool) -> int:
    """Return the status code of a status line that libcurl hands on.

    Raises:
        BadResponse: if it is none.
    """
    # libcurl writes a status line for HTTP/2, which is spoken over TLS alone; elsewhere it is the receiver's.
    if is_tls and (match := _HTTP2_STATUS.fullmatch(line)) is not None:
        return int(match[1])
    return responses.status_line(line)[1]


def is_doubtful(head: Sequence[bytes]) -> bool:
    """Return whether a head says in two ways where its body ends: two readers would read two bodies."""
    lengths: set[bytes] = set()
    is_chunked = False
    for line in head:
        if line[:1] not in b"CcTt":
            continue
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            lengths.update(part.strip() for part in value.split(b","))
        elif name == b"transfer-encoding":
            is_chunked = True
    return len(lengths) + is_chunked > 1
