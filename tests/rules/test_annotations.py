import enum
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import pytest

from django_relay.rules import annotations, schemas

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Odd(enum.Enum):
    PAIR = (1, 2)


CASES = [
    (str, TEXT),
    (int, NUMBER),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (None, {"type": "null"}),
    (Decimal, {"type": ["string", "number"]}),
    (UUID, {"type": "string", "format": "uuid"}),
    (date, {"type": "string", "format": "date"}),
    (datetime, TEXT),
    (list, {"type": "array"}),
    (list[int], {"type": "array", "items": NUMBER}),
    (Sequence[str], {"type": "array", "items": TEXT}),
    (dict, {"type": "object"}),
    (dict[str, int], {"type": "object", "additionalProperties": NUMBER}),
    (Mapping[str, Any], {"type": "object", "additionalProperties": {}}),
    (str | None, {"type": ["string", "null"]}),
    (Optional[int], {"type": ["integer", "null"]}),  # noqa: UP045 - as older code says it
    (int | str, {"anyOf": [NUMBER, TEXT]}),
    (int | str | None, {"anyOf": [NUMBER, TEXT, {"type": "null"}]}),
    (int | object, {}),
    (Literal["a", 1], {"enum": ["a", 1]}),
    (Literal["a"] | None, {"enum": ["a", None]}),
    (Annotated[int, "of pages"], NUMBER),
    (Colour, {"enum": ["red", "blue"]}),
    (Odd, {}),
    (Any, {}),
    (typing.TypeVar("T"), {}),
    ("a name that is nowhere", {}),
]


@pytest.mark.parametrize(("annotation", "schema"), CASES, ids=[str(number) for number in range(len(CASES))])
def test_an_annotation_is_read(annotation, schema):
    def function():
        """Return something."""

    function.__annotations__["return"] = annotation
    found = annotations.schema_of(function)
    assert found == schema
    schemas.compile(found)


def test_nothing_is_known_without_one():
    assert annotations.schema_of(lambda: 1) == {}


class TestNullable:
    @pytest.mark.parametrize(
        "schema",
        [{}, TEXT, {"enum": [1]}, {"type": "string", "enum": ["a"]}, {"anyOf": [TEXT]}, {"type": "null"}],
        ids=repr,
    )
    def test_lets_null_in_once(self, schema):
        found = schemas.nullable(schema)
        assert schemas.errors(schemas.compile(found), None) == []
        assert schemas.errors(schemas.compile(schemas.nullable(found)), None) == []

    def test_keeps_the_rest_out(self):
        assert schemas.errors(schemas.compile(schemas.nullable(TEXT)), 1)
