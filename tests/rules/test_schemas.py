import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from django_relay import exceptions
from django_relay.rules import schemas

INVOICE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "amount": {"type": "number", "minimum": 0},
        "email": {"type": "string", "format": "email"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
    },
    "required": ["amount"],
    "$defs": {"line": {"type": "object", "required": ["sku"]}},
}


@pytest.fixture
def server():
    """Serve a schema that accepts anything on loopback, and keep what was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    seen = []
    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", seen
        listening.shutdown()
        thread.join()


def refused(schema):
    with pytest.raises(exceptions.InvalidSchema) as caught:
        schemas.compile(schema)
    assert caught.value.code == "bad_schema"
    return str(caught.value)


class TestCompile:
    @pytest.mark.parametrize("schema", [{}, True, False, INVOICE, {"$ref": "#"}])
    def test_valid_schemas(self, schema):
        schemas.compile(schema)

    @pytest.mark.parametrize("schema", [None, 5, "{}", '{"type":"object"}', [], b"{}", object()])
    def test_only_mappings_and_booleans_are_schemas(self, schema):
        refused(schema)

    @pytest.mark.parametrize(
        ("schema", "place"),
        [
            ({"type": "nope"}, "at /type:"),
            ({"properties": {"a/b": {"minimum": "x"}}}, "at /properties/a~1b/minimum:"),
            ({"pattern": "(("}, "at /pattern:"),
            ({"required": "amount"}, "at /required:"),
            ({"properties": {"a": {"$ref": "#/$defs/nowhere"}}}, "at /properties/a/$ref:"),
            ({"allOf": [{}, {"$ref": "#nowhere"}]}, "at /allOf/1/$ref:"),
            ({1: 2}, "at the root:"),
            ({"const": "\ud800"}, "at the root:"),
            ({"const": object}, "at the root:"),
        ],
    )
    def test_what_is_no_schema_is_refused_with_its_place(self, schema, place):
        assert refused(schema).startswith(place)

    @pytest.mark.parametrize("dialect", ["http://json-schema.org/draft-07/schema#", "http://example.com/mine", 7])
    def test_another_dialect_is_refused(self, dialect):
        assert "/$schema" in refused({"$schema": dialect})

    @pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
    def test_a_remote_reference_is_refused_and_nothing_fetched(self, keyword, server):
        url, seen = server
        message = refused({"properties": {"a": {keyword: f"{url}/schema.json"}}})
        assert message.startswith(f"at /properties/a/{keyword}:")
        assert not seen

    def test_a_reference_relative_to_a_remote_id_is_refused_and_nothing_fetched(self, server):
        url, seen = server
        assert "at /$ref:" in refused({"$id": f"{url}/mine.json", "$ref": "other.json"})
        refused({"$defs": {"unused": {"$ref": f"{url}/x"}}})
        assert not seen

    def test_the_server_of_these_tests_would_have_been_found(self, server):
        import jsonschema_rs

        url, seen = server
        jsonschema_rs.Draft202012Validator({"$ref": f"{url}/schema.json"})
        assert seen == ["/schema.json"]

    @pytest.mark.parametrize("uri", ["file:///etc/passwd", "urn:x:y", "//host/x"])
    def test_no_other_scheme_is_fetched(self, uri):
        assert "at /$ref:" in refused({"$ref": uri})

    def test_a_remote_dialect_is_not_fetched(self, server):
        url, seen = server
        refused({"$schema": f"{url}/dialect"})
        assert not seen

    def test_the_meta_schema_may_be_referred_to(self):
        assert schemas.errors(schemas.compile({"$ref": schemas.DIALECT}), {}) == []

    def test_a_bottomless_schema_is_refused(self):
        schema = {}
        for _ in range(5000):
            schema = {"not": schema}
        refused(schema)


class TestErrors:
    def test_valid_data_has_none(self):
        data = {"amount": 3, "email": "a@example.com", "lines": [{"sku": "x"}]}
        assert schemas.errors(schemas.compile(INVOICE), data) == []

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"amount": -1}, "at /amount: the value is less than the minimum of 0"),
            ({"amount": "3"}, 'at /amount: the value is not of type "number"'),
            ({}, 'at the root: "amount" is a required property'),
            ({"amount": 1, "lines": [{"sku": 1}, {}]}, 'at /lines/1: "sku" is a required property'),
        ],
    )
    def test_each_says_where_and_what(self, data, message):
        assert schemas.errors(schemas.compile(INVOICE), data) == [message]

    def test_a_place_is_a_json_pointer(self):
        validator = schemas.compile({"additionalProperties": {"type": "null"}})
        assert schemas.errors(validator, {"a/b~c": 1})[0].startswith("at /a~1b~0c: ")

    def test_formats_are_asserted(self):
        validator = schemas.compile(INVOICE)
        assert schemas.errors(validator, {"amount": 1, "email": "nobody"}) == ['at /email: the value is not a "email"']

    def test_formats_of_others_are_ignored(self):
        assert schemas.errors(schemas.compile({"format": "iban"}), "x") == []

    def test_at_most_five_are_told(self):
        validator = schemas.compile({"items": {"type": "string"}})
        assert len(schemas.errors(validator, list(range(1000)))) == 5

    def test_a_message_is_short(self):
        validator = schemas.compile({"additionalProperties": False, "properties": {}})
        (message,) = schemas.errors(validator, {"x" * 10_000: 1})
        assert len(message) == 200

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "null"},
            {"enum": [1]},
            {"pattern": "^x$"},
            {"maxLength": 1},
            {"const": 1},
            {"format": "date"},
            {"not": {}},
            False,
            {"anyOf": [{"const": 1}]},
            {"if": True, "then": False},
        ],
    )
    def test_no_message_shows_the_value(self, schema):
        found = schemas.errors(schemas.compile(schema), "s3cr3t")
        assert found
        assert "s3cr3t" not in "".join(found)

    @pytest.mark.parametrize("data", [{1: 2}, b"s3cr3t", "\ud800s3cr3t", {1, 2}, object()])
    def test_what_is_no_json_is_an_error_and_not_raised(self, data):
        (message,) = schemas.errors(schemas.compile({}), data)
        assert "s3cr3t" not in message

    def test_a_recursive_schema_follows_the_data_as_deep_as_emit_allows(self):
        data = "leaf"
        for _ in range(1000):
            data = [data]
        validator = schemas.compile({"type": "array", "items": {"$ref": "#"}})
        (message,) = schemas.errors(validator, data)
        assert message.startswith("at /0/0/0/")

    @pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?=(a+)+$)a", r"^(a|a)*\1$", "^(a|aa)+$"])
    def test_no_pattern_hangs(self, pattern):
        validator = schemas.compile({"pattern": pattern})
        began = time.perf_counter()
        assert schemas.errors(validator, "a" * 40 + "!")
        assert time.perf_counter() - began < 2

    def test_a_validator_may_be_shared_by_threads(self):
        validator = schemas.compile(INVOICE)
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda n: schemas.errors(validator, {"amount": n}), range(-50, 50)))
        assert [bool(one) for one in found] == [True] * 50 + [False] * 50
