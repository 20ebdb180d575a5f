"""What a return annotation promises, as JSON Schema: ``-> int`` is ``{"type": "integer"}``.

What cannot be told is ``{}``, which takes any value: a schema that guesses would refuse events.
"""

import enum
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django_relay.rules import schemas

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    # As text by emit(), as a number by DRF where it is not coerced.
    Decimal: {"type": ["string", "number"]},
    UUID: {"type": "string", "format": "uuid"},
    date: {"type": "string", "format": "date"},
    # Naive ones have no "date-time", and the annotation does not tell.
    datetime: {"type": "string"},
    time: {"type": "string"},
    timedelta: {"type": "string"},
    dict: {"type": "object"},
    list: {"type": "array"},
}


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the schema of what ``function`` returns: ``{}`` without an annotation, or with one that cannot be read."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - an annotation is any expression, and nothing rests on it
        return {}
    return _schema(hints["return"]) if "return" in hints else {}


def _schema(annotation: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _schema(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return _union([_schema(argument) for argument in arguments])
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (list, Sequence) and arguments:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin in (dict, Mapping) and len(arguments) > 1:
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        values = [member.value for member in annotation]
        return {"enum": values} if all(isinstance(value, str | int) for value in values) else {}
    try:
        return dict(_PLAIN.get(annotation, {}))
    except TypeError:
        return {}


def _union(parts: list[dict[str, Any]]) -> dict[str, Any]:
    null = {"type": "null"}
    kept = [part for part in parts if part != null]
    if not all(kept):
        return {}
    whole = kept[0] if len(kept) == 1 else {"anyOf": kept}
    return schemas.nullable(whole) if null in parts else whole
