"""An event's data as JSON text: what is accepted, and how Python's values are written.

The text is made once, when the event is emitted; it is stored, signed and sent as it is.
"""

import json
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from django_relay import exceptions
from django_relay.rules import texts


def encode(data: object, *, max_bytes: int, max_depth: int, convert: Callable[[Any], str]) -> str:
    """Return ``data`` as JSON text: UTF-8, compact, the order of keys kept.

    ``Decimal`` and ``UUID`` become strings, aware datetimes, dates and times ISO 8601. ``convert`` gives the text of
    any other value, or raises ``TypeError``.

    Raises:
        InvalidPayload: ``not_serialisable``, ``too_deep`` or ``too_large``.
    """

    def write(value: object) -> str:
        text = _as_text(value, convert)
        _check(text, 1, max_depth)
        return text

    _check(data, max_depth, max_depth)
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=write)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, exceptions.InvalidPayload):
            raise
        raise exceptions.InvalidPayload(f"The data is not JSON: {error}") from error
    if size > max_bytes:
        raise exceptions.InvalidPayload(
            f"The data has {size} bytes; at most {max_bytes} are allowed. Send a reference instead.", code="too_large"
        )
    return text


def _check(value: object, depth: int, max_depth: int) -> None:
    """Refuse what JSON or its readers cannot have; ``depth`` levels are left."""
    if isinstance(value, str):
        if not texts.is_storable(value):
            raise exceptions.InvalidPayload("The data holds a NUL or half of a surrogate pair, which receivers refuse.")
        return
    if not isinstance(value, dict | list | tuple):
        return
    if depth == 0:
        raise exceptions.InvalidPayload(
            f"The data is nested deeper than {max_depth} levels (or contains itself).", code="too_deep"
        )
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise exceptions.InvalidPayload(f"The data has a key that is not text: {key!a:.100}.")
            _check(key, depth, max_depth)
        value = value.values()
    for item in value:
        _check(item, depth - 1, max_depth)


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
