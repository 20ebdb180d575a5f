"""An event's data as JSON text: what is accepted, and how Python's values are written.

The text is made once, when the event is emitted; it is stored, signed and sent as it is.
"""

import functools
import json
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from django_relay import exceptions
from django_relay.rules import texts

_UNSTORABLE = "The data holds a NUL or half of a surrogate pair, which receivers refuse."


class Spelled(float):
    """A float that was read from JSON, and is written as it was: ``1.10`` and ``1e2`` stay what they are."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """Read the number, and remember its text."""
        made = super().__new__(cls, text)
        made.text = text
        return made


def encode(data: object, *, max_bytes: int, max_depth: int, convert: Callable[[Any], str]) -> str:
    """Return ``data`` as JSON text: UTF-8, compact, the order of keys kept.

    ``Decimal`` and ``UUID`` become strings, aware datetimes, dates and times ISO 8601; :class:`Spelled` numbers keep
    their text. ``convert`` gives the text of any other value, or raises ``TypeError``.

    Raises:
        InvalidPayload: ``not_serialisable``, ``too_deep`` or ``too_large``.
    """
    is_spelled = _check(data, max_depth, max_depth)
    dumps = _encoder(convert).encode
    try:
        text = _spell(data, dumps) if is_spelled else dumps(data)
        size = len(text.encode())
    except UnicodeEncodeError:
        raise exceptions.InvalidPayload(_UNSTORABLE) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise exceptions.InvalidPayload(f"The data is not JSON: {error}") from error
    if "\\u0000" in text and not texts.is_storable_json(json.loads(text, parse_float=str)):
        raise exceptions.InvalidPayload(_UNSTORABLE)
    if size > max_bytes:
        raise exceptions.InvalidPayload(
            f"The data has {size} bytes; at most {max_bytes} are allowed. Send a reference instead.", code="too_large"
        )
    return text


@functools.lru_cache(maxsize=8)
def _encoder(convert: Callable[[Any], str]) -> json.JSONEncoder:
    write = functools.partial(_as_text, convert=convert)
    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=write)


def _spell(value: object, dumps: Callable[[object], str]) -> str:
    """Write JSON in which numbers are spelled in their own way, which Python's encoder has no room for."""
    if isinstance(value, Spelled):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{dumps(key)}:{_spell(item, dumps)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_spell(item, dumps) for item in value) + "]"
    return dumps(value)


def _check(value: object, depth: int, max_depth: int) -> bool:
    """Refuse what JSON or its readers cannot have; ``depth`` levels are left. Return whether it has Spelled numbers."""
    if not isinstance(value, dict | list | tuple):
        return isinstance(value, Spelled)
    if depth == 0:
        raise exceptions.InvalidPayload(
            f"The data is nested deeper than {max_depth} levels (or contains itself).", code="too_deep"
        )
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise exceptions.InvalidPayload(f"The data has a key that is not text: {key!a:.100}.")
        value = value.values()
    is_spelled = False
    for item in value:
        if not isinstance(item, str):
            is_spelled |= _check(item, depth - 1, max_depth)
    return is_spelled


def _as_text(value: object, convert: Callable[[Any], str]) -> str:
    match value:
        case Decimal() if not value.is_finite():
            raise TypeError("a Decimal that is not finite")
        case Decimal() | UUID():
            return str(value)
        case datetime() if value.utcoffset() is None:
            raise TypeError("a naive datetime; make it aware")
        case datetime() | date() | time():
            return value.isoformat()
    return convert(value)
