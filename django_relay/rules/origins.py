"""Addresses that a browser is sent to or shows, by allow list: return URLs, logos, origins that may embed the portal.

Browsers forgive much in a URL and disagree with parsers about it, so only plain ones are understood here: ``https``, a
lower-case ASCII host, no user name, no backslash, no dot segments. ``http`` is for loopback hosts, in development.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from django_relay import exceptions

MAX_LENGTH = 2_048

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\])(?::(?P<port>[1-9][0-9]{{0,4}}))?"
    r"(?P<path>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?)"
    r"(?P<rest>(?:[?#](?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]#-]|%[0-9A-Fa-f]{2})*)?)",
    re.ASCII,
)
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_LOOPBACK = re.compile(r"localhost|(?:.+\.)?localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")
_DEFAULT_PORTS = {"https": "443", "http": "80"}


@dataclass(frozen=True, slots=True)
class Place:
    """A URL taken apart."""

    origin: str
    """Scheme, host and port, the port only where it is not the scheme's own."""
    path: str
    """As given; empty or with a leading slash."""
    rest: str
    """Query and fragment as given."""


def parse(url: object) -> Place:
    """Take a URL apart, or refuse it.

    Raises:
        InvalidInput: ``bad_url``.
    """
    if not isinstance(url, str) or len(url) > MAX_LENGTH:
        raise exceptions.InvalidInput(f"A URL is text of at most {MAX_LENGTH:,} characters.", code="bad_url")
    match = _URL.fullmatch(url)
    if match is None or _DOT_SEGMENT.search(match["path"]) or int(match["port"] or 1) > 65_535:
        raise exceptions.InvalidInput(
            "Write a plain URL such as https://app.example.com/settings: lower-case ASCII host, no user name, no "
            "backslash, blanks or dot segments.",
            code="bad_url",
        )
    if match["scheme"] == "http" and not _LOOPBACK.fullmatch(match["host"]):
        raise exceptions.InvalidInput("Only https:// is allowed.", code="bad_url")
    port = "" if match["port"] in (None, _DEFAULT_PORTS[match["scheme"]]) else f":{match['port']}"
    return Place(f"{match['scheme']}://{match['host']}{port}", match["path"], match["rest"])


def parse_origin(text: object) -> str:
    """Return an exact https origin such as ``https://app.example.com``.

    Raises:
        InvalidInput: ``bad_origin``; wildcards, paths and ``http`` among them.
    """
    try:
        place = parse(text)
    except exceptions.InvalidInput:
        place = None
    if place is None or place.path or place.rest or not place.origin.startswith("https://"):
        raise exceptions.InvalidInput(
            "An origin is scheme and host alone, such as https://app.example.com: no path, no wildcard.",
            code="bad_origin",
        )
    return place.origin


def parse_listing(text: object) -> Place:
    """Return one entry of an allow list: an origin, or a URL under whose path everything is allowed.

    Raises:
        InvalidInput: ``bad_url``.
    """
    place = parse(text)
    if place.rest:
        raise exceptions.InvalidInput("An allowed URL has no query and no fragment.", code="bad_url")
    return place


def is_listed(url: object, listings: Iterable[object]) -> bool:
    """Return whether a URL is plain and lies at or below an entry of the list; an entry that is none allows nothing."""
    try:
        place = parse(url)
    except exceptions.InvalidInput:
        return False
    return any(_is_below(place, listing) for listing in listings)


def _is_below(place: Place, listing: object) -> bool:
    try:
        allowed = parse_listing(listing)
    except exceptions.InvalidInput:
        return False
    folder = allowed.path.removesuffix("/")
    return place.origin == allowed.origin and (
        place.path == allowed.path or place.path.startswith(f"{folder}/") or (not folder and not place.path)
    )
