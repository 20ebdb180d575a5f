"""JSON that comes from outside: read strictly, so that every reader and every database agrees about what it says."""

import json
import re
from typing import Any

from django_relay import exceptions
from django_relay.rules import payloads, texts

_BRACKET = re.compile(r'[\[\]{}]|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A bracket, or a whole string, closed or not: each character is looked at once."""


def read(raw: bytes, *, max_depth: int) -> Any:
    """Return the JSON value of a body (RFC 8259).

    Refused is what readers disagree about: a byte order mark, anything but UTF-8, a name twice in an object, ``NaN``
    and the infinities, also as numbers too large; and what no database of ours can hold (see :mod:`.texts`). Floats
    that Python would write differently are :class:`~.payloads.Spelled`.

    Raises:
        InvalidBody: ``bad_json``; ``too_deep``, it is nested deeper than ``max_depth`` levels.
    """
    if raw.startswith(b"\xef\xbb\xbf"):
        raise exceptions.InvalidBody("The body begins with a byte order mark; leave it out.")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise exceptions.InvalidBody("The body is not UTF-8.") from error
    if _is_deeper(text, max_depth):
        raise exceptions.InvalidBody(f"The body is nested deeper than {max_depth} levels.", code="too_deep")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_float)
    except exceptions.InvalidBody:
        raise
    except json.JSONDecodeError as error:
        raise exceptions.InvalidBody(f"The body is not JSON: line {error.lineno}, column {error.colno}.") from error
    except (ValueError, RecursionError) as error:  # a number with thousands of digits
        raise exceptions.InvalidBody("The body holds what cannot be read as JSON.") from error
    if not texts.is_storable_json(value):
        raise exceptions.InvalidBody(
            "The body holds a NUL, half of a surrogate pair, or a number that is too large for a float."
        )
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise exceptions.InvalidBody("The body holds an object that has a name twice.")
    return found


def _float(text: str) -> float:
    value = float(text)
    if value == 0 and text.strip("-").lower().partition("e")[0].strip("0."):
        raise exceptions.InvalidBody("The body holds a number that is too small for a float.")
    return value if repr(value) == text else payloads.Spelled(text)


def _refuse_constant(name: str) -> None:
    raise exceptions.InvalidBody(f"{name} is not JSON.")


def _is_deeper(text: str, limit: int) -> bool:
    """Return whether brackets are nested deeper in a text, those within strings left out; stops where they are."""
    depth = 0
    for found in _BRACKET.finditer(text):
        bracket = found[0]
        if bracket in "[{":
            depth += 1
            if depth > limit:
                return True
        elif bracket in "]}":
            depth -= 1
    return False
