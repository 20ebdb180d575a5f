"""Fields of models in JSON: how a value is written, what schema it then fits, and which fields look secret.

================================  ====================================================================================
field                             in JSON
================================  ====================================================================================
integers, booleans, floats        as they are (JSON has no NaN: ``emit`` refuses one)
text, slugs, files                text; a file is its name in the storage, which is never asked for anything
``DecimalField``                  text with all its decimal places, ``"12.50"``
``DateTimeField``                 ISO 8601 in UTC; naive values are of the default time zone
``DateField``, ``TimeField``      ISO 8601
``DurationField``                 ISO 8601, ``"P1DT02H00M00S"``
``UUIDField``, IP addresses       text
``BinaryField``                   base64
``JSONField``                     as it is, through the field's own encoder
a relation                        the value of its column: the other row's id
``ArrayField``, ``HStoreField``   a list; an object of text
ranges                            ``{"lower", "upper", "bounds"}``, or ``{"empty": true}``
any other, and what converts      as JSON where it is that already, else as Django's serialisers write it
================================  ====================================================================================

Schemas promise what the column promises, and the choices and lengths that the field declares. E-mail addresses and URLs
have no ``format``: no database checks them, and a row that exists must be able to tell of itself.
"""

import base64
import enum
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.fields.files import FieldFile
from django.utils import timezone
from django.utils.choices import CallableChoiceIterator
from django.utils.duration import duration_iso_string
from django.utils.functional import Promise

from django_relay import exceptions
from django_relay.rules import schemas, secret_names

Field: TypeAlias = "models.Field[Any, Any]"
"""A field that has a column."""

_CODES_WITHOUT_NAME = {"key", "value", "code", "digest"}
"""Secret where the model's name says so: ``Token.key``."""


def encode(field: Field, value: Any) -> Any:
    """Return a value of the field as JSON, as it is once the database has given it back.

    Raises:
        InvalidPayload: it is no value of that field; the value is not shown.
    """
    field = _column(field)
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None:
        return None
    kind = _kind(field)
    if kind is None:
        return _encode_foreign(field, value)
    try:
        return kind.write(field, field.to_python(value))
    except (ValidationError, TypeError, ValueError, OverflowError):
        message = f"{field.model.__name__}.{field.name} holds a {type(value).__name__} that is no value of that field."
        raise exceptions.InvalidPayload(message) from None


def schema_of(field: Field) -> dict[str, Any]:
    """Return the JSON Schema of what :func:`encode` returns for the field; ``{}`` where that can be anything."""
    column = _column(field)
    kind = _kind(column)
    if kind is None:
        return {}
    schema = kind.schema(column)
    if field.choices and not isinstance(field.choices, CallableChoiceIterator):
        schema = {"enum": _choices(field)}
    # What is generated is null where its expression is.
    return schemas.nullable(schema) if field.null or isinstance(field, models.GeneratedField) else schema


def is_secret(field: Field) -> bool:
    """Return whether the field may hold a secret, by its name, its model's and its class's."""
    if any(secret_names.looks_secret(cls.__name__) for cls in type(field).__mro__):
        return True
    kind = _KINDS.get(field.get_internal_type())
    if kind in (_BOOLEAN, _DATE, _DATETIME, _TIME, _DURATION):
        return False
    if secret_names.looks_secret(field.name, is_number=kind in (_INTEGER, _COUNT, _FLOAT, _DECIMAL)):
        return True
    return field.name in _CODES_WITHOUT_NAME and secret_names.looks_secret(field.model.__name__)


def encode_plain(value: Any) -> Any:
    """Return what a property or method gave as JSON, as far as its type says how; ``emit`` refuses the rest."""
    match value:
        case enum.Enum():
            return value.value
        case timedelta():
            return duration_iso_string(value)
        case FieldFile():
            return value.name or ""
        case bytes() | memoryview():
            return base64.b64encode(value).decode()
        case Promise():
            return str(value)
        case datetime():
            return _utc(value)
    return value


class _Kind:
    """How one sort of column is written and described."""

    def __init__(
        self,
        schema: Mapping[str, Any] | Callable[[Field], dict[str, Any]],
        write: Callable[[Any, Any], Any],
    ) -> None:
        self._schema = schema
        self.write = write

    def schema(self, field: Field) -> dict[str, Any]:
        return self._schema(field) if callable(self._schema) else dict(self._schema)


def _column(field: Field) -> Field:
    """Return the field that says what is in the column: the one a relation points at, what is generated."""
    while True:
        if isinstance(field, models.GeneratedField):
            field = cast("Field", field.output_field)
        elif isinstance(field, models.ForeignKey):
            field = field.target_field
        else:
            return field


def _kind(field: Field) -> _Kind | None:
    """Return the kind of the field, ``None`` for a class that Django does not know or that converts its values."""
    for name in ("from_db_value", "to_python"):
        method = getattr(type(field), name, None)
        if method is not None and not method.__module__.startswith("django."):
            return None
    return _KINDS.get(field.get_internal_type())


def _encode_foreign(field: Field, value: Any) -> Any:
    value = encode_plain(value)
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, dict | list | tuple):
        try:
            return json.loads(json.dumps(value))
        except (TypeError, ValueError):
            pass
    return field.value_to_string(SimpleNamespace(**{field.attname: value}))  # type: ignore[arg-type]


def _choices(field: Field) -> list[Any]:
    values = [encode(field, value) for value, _label in field.flatchoices]
    if field.blank and isinstance(field, models.CharField | models.TextField):
        values.append("")
    return list(dict.fromkeys(values))


def _text_schema(field: Field) -> dict[str, Any]:
    example = _EXAMPLES.get(type(field).__name__)
    schema: dict[str, Any] = {"type": "string"}
    if field.max_length is not None and not isinstance(field, models.TextField):
        schema["maxLength"] = field.max_length
    if example is not None:
        schema["examples"] = [example[: field.max_length]]
    return schema


_EXAMPLES = {"EmailField": "ada@example.com", "URLField": "https://example.com/", "SlugField": "a-slug"}


def _decimal_schema(field: Any) -> dict[str, Any]:
    places = field.decimal_places
    whole = 1 if places is None or field.max_digits > places else 0
    return {"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "examples": [f"{Decimal(whole):.{places or 0}f}"]}


def _write_decimal(field: Any, value: Decimal) -> Any:
    if field.decimal_places is None or not value.is_finite():
        return f"{value:f}" if value.is_finite() else value
    return f"{value:.{field.decimal_places}f}"


def _utc(value: datetime) -> str:
    if timezone.is_naive(value):
        value = timezone.make_aware(value, timezone.get_default_timezone())
    return value.astimezone(UTC).isoformat()


def _address_schema(field: Any) -> dict[str, Any]:
    match field.protocol.lower():
        case "both":
            return {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]}
        case protocol:
            return {"type": "string", "format": protocol}


def _array_schema(field: Any) -> dict[str, Any]:
    schema = {"type": "array", "items": schema_of(field.base_field)}
    return schema if field.size is None else {**schema, "maxItems": field.size}


def _range_schema(field: Any) -> dict[str, Any]:
    end = schemas.nullable(schema_of(field.base_field))
    return {
        "type": "object",
        "properties": {"lower": end, "upper": end, "bounds": {"enum": ["[)", "[]", "()", "(]"]}},
    }


def _write_range(field: Any, value: Any) -> Any:
    if value.isempty:
        return {"empty": True}
    lower, upper = (encode(field.base_field, end) for end in (value.lower, value.upper))
    return {"lower": lower, "upper": upper, "bounds": value.bounds}


_INTEGER = _Kind({"type": "integer"}, lambda _, value: int(value))
_COUNT = _Kind({"type": "integer", "minimum": 0}, lambda _, value: int(value))
_FLOAT = _Kind({"type": "number"}, lambda _, value: float(value))
_BOOLEAN = _Kind({"type": "boolean"}, lambda _, value: bool(value))
_DECIMAL = _Kind(_decimal_schema, _write_decimal)
_TEXT = _Kind(_text_schema, lambda _, value: str(value))
_FILE = _Kind(_text_schema, lambda _, value: getattr(value, "name", value) or "")
_DATE = _Kind({"type": "string", "format": "date"}, lambda _, value: value.isoformat())
_DATETIME = _Kind({"type": "string", "format": "date-time"}, lambda _, value: _utc(value))
_TIME = _Kind(
    {"type": "string", "pattern": r"^\d{2}:\d{2}:\d{2}(\.\d{6})?$", "examples": [time(9, 30).isoformat()]},
    lambda _, value: value.isoformat(),
)
_DURATION = _Kind(
    {
        "type": "string",
        "pattern": r"^-?P\d+DT\d{2}H\d{2}M\d{2}(\.\d{6})?S$",
        "examples": [duration_iso_string(timedelta(hours=2))],
    },
    lambda _, value: duration_iso_string(value),
)
_KINDS = {
    **dict.fromkeys(("AutoField", "BigAutoField", "SmallAutoField"), _INTEGER),
    **dict.fromkeys(("IntegerField", "BigIntegerField", "SmallIntegerField"), _INTEGER),
    **dict.fromkeys(("PositiveIntegerField", "PositiveBigIntegerField", "PositiveSmallIntegerField"), _COUNT),
    "BooleanField": _BOOLEAN,
    "FloatField": _FLOAT,
    "DecimalField": _DECIMAL,
    **dict.fromkeys(("CharField", "TextField", "SlugField", "FilePathField"), _TEXT),
    "FileField": _FILE,
    "DateField": _DATE,
    "DateTimeField": _DATETIME,
    "TimeField": _TIME,
    "DurationField": _DURATION,
    "UUIDField": _Kind({"type": "string", "format": "uuid"}, lambda _, value: str(value)),
    "GenericIPAddressField": _Kind(_address_schema, lambda _, value: str(value)),
    "BinaryField": _Kind(
        {"type": "string", "contentEncoding": "base64", "examples": ["AAEC"]},
        lambda _, value: base64.b64encode(value).decode(),
    ),
    "JSONField": _Kind({"examples": [{}]}, lambda field, value: json.loads(json.dumps(value, cls=field.encoder))),
    "ArrayField": _Kind(_array_schema, lambda field, value: [encode(field.base_field, item) for item in value]),
    "HStoreField": _Kind(
        {"type": "object", "additionalProperties": {"type": ["string", "null"]}}, lambda _, value: dict(value)
    ),
    **dict.fromkeys(
        ("IntegerRangeField", "BigIntegerRangeField", "DecimalRangeField", "DateRangeField", "DateTimeRangeField"),
        _Kind(_range_schema, _write_range),
    ),
}
"""By ``Field.get_internal_type()``, so that PostgreSQL's fields are known and not imported."""
