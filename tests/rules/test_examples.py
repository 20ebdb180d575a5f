import pytest

from django_relay.rules import examples, schemas

SCHEMAS = [
    {},
    True,
    {"type": "string"},
    {"type": "string", "maxLength": 2},
    {"type": ["string", "null"], "format": "date-time"},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "format": "ipv4"},
    {"type": "string", "format": "ipv6"},
    {"type": "string", "format": "made-up"},
    {"type": "integer", "minimum": 0},
    {"type": "number"},
    {"type": "boolean"},
    {"type": "null"},
    {"enum": ["b", "a"]},
    {"enum": [None]},
    {"type": "string", "pattern": "^x$", "examples": ["x"]},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"type": "array"},
    {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "items": {"type": "integer"}, "maxItems": 0},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"a": {"enum": [1]}, "b": {"type": "object"}}, "required": ["a", "b"]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=repr)
class TestExamples:
    def test_fit_their_schema(self, schema):
        assert schemas.errors(schemas.compile(schema), examples.of(schema)) == []

    def test_are_always_the_same(self, schema):
        assert examples.of(schema) == examples.of(schema)


class TestTheExample:
    def test_is_not_null_where_more_can_be_said(self):
        assert examples.of({"type": ["string", "null"]}) == "text"

    def test_is_the_schemas_own_first_of_all(self):
        assert examples.of({"type": "string", "enum": ["a", "b"], "examples": ["b"]}) == "b"
