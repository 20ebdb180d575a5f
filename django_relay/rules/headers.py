"""Custom headers of an endpoint: what a tenant may add to our requests.

A tenant decides about what its own receiver reads (an API key, a routing hint) and never about the
framing of the request, about what the headers of ours say, or about what proxies and metadata
services believe.
"""

import re
from collections.abc import Mapping

from django_relay import exceptions

MAX_HEADERS = 50
MAX_BYTES = 8 * 1024
"""The most bytes of one header, name and value together."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2
_VALUE = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?")  # RFC 9110 §5.5, without the obsolete bytes

_FORBIDDEN = frozenset(
    {
        # Framing and hop by hop (RFC 9110 §7.6.1): request smuggling, or a sender that stalls.
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        # Ours.
        "accept-encoding",
        "baggage",
        "content-type",
        "traceparent",
        "tracestate",
        "user-agent",
        # Cookies belong to browsers; a static credential has Authorization or a name of its own.
        "cookie",
        "cookie2",
        "set-cookie",
        "set-cookie2",
        # Believed by receivers' proxies and frameworks: who asks, for what, by which method.
        "cf-connecting-ip",
        "cf-connecting-ipv6",
        "client-ip",
        "fastly-client-ip",
        "forwarded",
        "max-forwards",
        "remote-addr",
        "remote-user",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-forwarded",
        "x-host",
        "x-http-host-override",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-url",
        "x-originating-ip",
        "x-real-ip",
        "x-remote-addr",
        "x-remote-ip",
        "x-remote-user",
        "x-rewrite-url",
        # What metadata services of clouds ask for, to tell a caller from a misled server.
        "metadata",
        "x-identity-header",
    }
)
_FORBIDDEN_PREFIXES = (
    "webhook-",
    "proxy-",
    "x-forwarded-",
    "sec-",
    "metadata-",
    "x-aliyun-ecs-metadata-",
    "x-aws-ec2-metadata-",
    "x-google-metadata-",
    "x-metadata-",
)
_UNUSABLE = frozenset({"--proto--", "constructor", "prototype"})
"""Legal tokens that harm JavaScript which keeps headers in a plain object; with ``-`` for ``_``."""


def validate(headers: object) -> dict[str, str]:
    """Return an endpoint's custom headers, spelled as given.

    Names are compared without case and with ``_`` as ``-``: some servers read ``Content_Length`` as
    ``Content-Length``. An empty value is refused: it says nothing, and libcurl takes it as "send no
    such header".

    Raises:
        InvalidHeader: ``wrong_type`` (not a mapping of text to text), ``forbidden_header``,
            ``bad_header_name`` (also a second spelling of the same name, and too many headers) or
            ``bad_header_value``. No message shows a value.
    """
    if not isinstance(headers, Mapping):
        raise exceptions.InvalidHeader("Headers must be a mapping of names to values.", code="wrong_type")
    if len(headers) > MAX_HEADERS:
        raise exceptions.InvalidHeader(f"At most {MAX_HEADERS} headers are allowed.")
    valid: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise exceptions.InvalidHeader("A header's name and value must be strings.", code="wrong_type")
        same = _validate_name(name)
        if same in seen:
            raise exceptions.InvalidHeader(f"The header {name} is given twice.")
        seen.add(same)
        _validate_value(name, value)
        valid[name] = value
    return valid


def _validate_name(name: str) -> str:
    """Return the name in the form in which names are compared."""
    if len(name) > MAX_BYTES:
        raise exceptions.InvalidHeader("A header's name is too long.")
    # Lenient servers drop blanks at the ends: such a name is refused for what it would become.
    same = name.strip().lower().replace("_", "-")
    if same in _FORBIDDEN or same.startswith(_FORBIDDEN_PREFIXES):
        raise exceptions.InvalidHeader(
            f"The header {name.strip()} cannot be set by an endpoint.", code="forbidden_header"
        )
    if not _TOKEN.fullmatch(name) or same in _UNUSABLE:
        raise exceptions.InvalidHeader(f"{name[:80]!r} cannot be a header's name.")
    return same


def _validate_value(name: str, value: str) -> None:
    if len(name) + len(value) > MAX_BYTES:
        raise exceptions.InvalidHeader(
            f"The header {name[:80]} is longer than {MAX_BYTES} bytes.", code="bad_header_value"
        )
    if not _VALUE.fullmatch(value):
        raise exceptions.InvalidHeader(
            f"The value of {name[:80]} must be visible ASCII without blanks at its ends.",
            code="bad_header_value",
        )
