"""Strict fields: what is given must have the type that is wanted; nothing is turned into something else.

Django REST framework's own take ``"yes"`` for true, ``7`` for ``"7"``, and read formats from the project's settings.
Each field says in its error what would be right. The rules about values are the models' and pipeline's.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.utils.dateparse import parse_datetime
from rest_framework import serializers

from django_relay import ids

F = TypeVar("F", bound=Callable[..., Any])

_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


def typed(field: "serializers.Field[Any, Any, Any, Any]") -> Callable[[F], F]:
    """Say which field describes what a method of a serializer returns."""

    def declare(method: F) -> F:
        method._spectacular_annotation = {"field": field}  # type: ignore[attr-defined]  # noqa: SLF001 - as extend_schema_field does
        return method

    return declare


class Given(serializers.Serializer[Any]):
    """What a caller gives: known fields alone."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the values, or refuse what is no object or names another field."""
        if not isinstance(data, Mapping):
            raise serializers.ValidationError(serializers.ErrorDetail("Give a JSON object.", code="wrong_type"))
        known = {name for name, field in self.fields.items() if not field.read_only}
        unknown = sorted(str(name) for name in data if name not in known)
        if unknown:
            allowed = f"Allowed are {', '.join(sorted(known))}." if known else "Nothing can be given here."
            told = serializers.ErrorDetail(f"There is no such field to give. {allowed}", code="unknown_field")
            raise serializers.ValidationError({name[:100]: [told] for name in unknown[:20]})
        return super().to_internal_value(dict(data))  # type: ignore[no-any-return]


class Nothing(Given):
    """An empty body."""


class Shown(serializers.Serializer[Any]):
    """What a caller is shown."""


class _Strict(serializers.Field[Any, Any, Any, Any]):
    default_error_messages = {"required": "This is required.", "null": "This cannot be null."}

    def refuse(self, message: str, *, code: str = "wrong_type") -> serializers.ValidationError:
        """Return the error to raise."""
        return serializers.ValidationError(message, code=code)

    def to_representation(self, value: Any) -> Any:
        """Return the value as it is."""
        return value

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {}

    @property
    def _spectacular_annotation(self) -> dict[str, Any]:
        return {"field": self.described()}


class Text(_Strict):
    """A string, of at most ``max_length`` characters."""

    def __init__(self, *, max_length: int | None = None, **kwargs: Any) -> None:
        self.max_length = max_length
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Return the string."""
        if not isinstance(data, str):
            raise self.refuse("This must be a string.")
        if self.max_length is not None and len(data) > self.max_length:
            raise self.refuse(f"This may have at most {self.max_length} characters.", code="too_long")
        if "\x00" in data:
            raise self.refuse("This may not hold a NUL.", code="bad_text")
        return data

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {"type": "string"} if self.max_length is None else {"type": "string", "maxLength": self.max_length}


class Url(Text):
    """A URL, as text; what it may be is said elsewhere."""

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {"type": "string", "format": "uri", "maxLength": 2_048}


class Choice(Text):
    """One of some strings."""

    def __init__(self, choices: Sequence[str], **kwargs: Any) -> None:
        self.choices = {name: name for name in choices}
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Return the string if it is one of them."""
        value = super().to_internal_value(data)
        if value not in self.choices:
            raise self.refuse(f"This must be one of {', '.join(self.choices)}.", code="bad_choice")
        return value

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {"type": "string", "enum": [str(name) for name in self.choices]}


class Flag(_Strict):
    """``true`` or ``false``; in a query the word."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the truth."""
        if isinstance(self.root, Query) and data in {"true", "false"}:
            return bool(data == "true")
        if not isinstance(data, bool):
            raise self.refuse("This must be true or false.")
        return data

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {"type": "boolean"}


class Whole(_Strict):
    """A whole number from ``min_value`` to ``max_value``; in a query its digits."""

    def __init__(self, *, min_value: int, max_value: int, code: str = "out_of_range", **kwargs: Any) -> None:
        self.min_value, self.max_value, self.code = min_value, max_value, code
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> int:
        """Return the number."""
        wanted = f"This must be a whole number from {self.min_value} to {self.max_value}."
        if isinstance(self.root, Query):
            if not isinstance(data, str) or not _WHOLE.fullmatch(data):
                raise self.refuse(wanted, code=self.code)
            data = int(data)
        if not isinstance(data, int) or isinstance(data, bool):
            raise self.refuse(wanted)
        if not self.min_value <= data <= self.max_value:
            raise self.refuse(wanted, code=self.code)
        return data

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {"type": "integer", "minimum": self.min_value, "maximum": self.max_value}


class Number(_Strict):
    """A number that is shown."""

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {"type": "number"}


class Moment(_Strict):
    """A time with its offset from UTC (RFC 3339)."""

    def to_internal_value(self, data: Any) -> datetime:
        """Return the aware time."""
        wanted = "This must be a time such as 2026-11-22T12:30:00Z, of the years 1900 to 9000."
        if not isinstance(data, str) or len(data) > 40 or not _MOMENT.fullmatch(data):
            raise self.refuse(wanted, code="bad_time")
        try:
            found = parse_datetime(data.upper())
        except ValueError:
            found = None
        if found is None or not 1900 <= found.year <= 9000:
            raise self.refuse(wanted, code="bad_time")
        return found.astimezone(UTC)

    def to_representation(self, value: Any) -> str | None:
        """Return the time in UTC, to a microsecond."""
        if value is None:
            return None
        return str(value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"))

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {"type": "string", "format": "date-time"}


class Id(_Strict):
    """An id with its prefix."""

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Return the id."""
        if not isinstance(data, str) or len(data) > 64:
            raise self.refuse(f"This must be an id of the form {self.prefix}….", code="bad_id")
        try:
            ids.to_uuid(data, prefix=self.prefix)
        except ValueError as error:
            raise self.refuse(f"This must be an id of the form {self.prefix}….", code="bad_id") from error
        return data

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {"type": "string", "pattern": f"^{self.prefix}[0-7][0-9a-hjkmnp-tv-z]{{25}}$"}


class Json(_Strict):
    """Any JSON value; ``null`` is one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_null": True, **kwargs})

    def to_internal_value(self, data: Any) -> Any:
        """Return the value."""
        return data


class Mapped(_Strict):
    """A JSON object."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the object."""
        if not isinstance(data, dict):
            raise self.refuse("This must be a JSON object.")
        return data

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {"type": "object", "additionalProperties": True}


class Many(_Strict):
    """A list of at most ``max_length`` items, each as ``child`` wants it."""

    def __init__(self, child: _Strict, *, max_length: int, **kwargs: Any) -> None:
        self.child, self.max_length = child, max_length
        super().__init__(**kwargs)
        self.child.bind(field_name="", parent=self)  # type: ignore[arg-type]

    def to_internal_value(self, data: Any) -> list[Any]:
        """Return the list."""
        if not isinstance(data, list):
            raise self.refuse("This must be a list.")
        if len(data) > self.max_length:
            raise self.refuse(f"At most {self.max_length} are allowed.", code="too_many")
        return [self.child.run_validation(item) for item in data]

    def to_representation(self, value: Any) -> list[Any]:
        """Return the list."""
        return [self.child.to_representation(item) for item in value]

    def described(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        return {"type": "array", "items": self.child.described(), "maxItems": self.max_length}


class Query(Given):
    """The parameters of a query string, each given at most once."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the values, or refuse another parameter, or one that is given twice."""
        twice = {name: ["Give this once."] for name in data if len(data.getlist(name)) > 1}
        if twice:
            raise serializers.ValidationError(
                {name: [serializers.ErrorDetail(text[0], code="given_twice")] for name, text in twice.items()}
            )
        return super().to_internal_value(data.dict())


class Owned(Query):
    """What operators name in a query: whose rows are meant."""

    application = Text(max_length=64, required=False, help_text="For operators: the slug of the application.")
    tenant_id = Text(max_length=255, required=False, help_text="For operators: the tenant.")
