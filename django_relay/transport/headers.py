"""The header lines of a request: one rule of what may be sent, for every transport."""

import functools
import re
from collections.abc import Mapping

_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUES = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_WORDS = "A header of the request cannot be sent."


class UnusableHeader(Exception):
    """A header that may not be sent; nothing was."""


def lines(headers: Mapping[str, str]) -> list[str]:
    """Return the lines, without line ends, in the order and case given, with the ``Accept-Encoding`` that is ours.

    All characters are Latin-1.

    Raises:
        UnusableHeader: if a header is none, or one of those that frame the message.
    """
    ours = _checked(tuple(headers))
    if not _VALUES.fullmatch("".join(headers.values())):
        raise UnusableHeader(_WORDS)
    return [f"{name}: {value}" for name, value in headers.items()] + ours


@functools.lru_cache(maxsize=1_024)
def _checked(names: tuple[str, ...]) -> list[str]:
    """Return the lines that are added to headers of these names, once they are found usable."""
    lower = {name.lower() for name in names}
    if lower & _OURS or not all(map(_NAME.fullmatch, names)):
        raise UnusableHeader(_WORDS)
    return [] if "accept-encoding" in lower else ["Accept-Encoding: identity"]
