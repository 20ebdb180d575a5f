"""The header lines of a request: one rule of what may be sent, for every transport."""

import functools
import re
from collections.abc import Mapping

_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class UnusableHeader(Exception):
    """A header that may not be sent; nothing was."""


def lines(headers: Mapping[str, str]) -> list[str]:
    """Return the lines, without line ends, in the order and case given, with the ``Accept-Encoding`` that is ours.

    All characters are Latin-1.

    Raises:
        UnusableHeader: if a header is none, or one of those that frame the message.
    """
    found = []
    for name, value in headers.items():
        if not _is_usable(name) or not _VALUE.fullmatch(value):
            raise UnusableHeader("A header of the request cannot be sent.")
        found.append(f"{name}: {value}")
    if not any(name.lower() == "accept-encoding" for name in headers):
        found.append("Accept-Encoding: identity")
    return found


@functools.lru_cache(maxsize=1_024)
def _is_usable(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name.lower() not in _OURS
