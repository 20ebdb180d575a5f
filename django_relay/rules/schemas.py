"""JSON Schema 2020-12 of an event's data: compile once, then ask for the errors of each payload.

Three decisions:

- ``format`` is asserted, not only annotated: who writes ``"format": "email"`` expects a bad address
  to be refused. Formats that the specification does not name are ignored.
- Nothing is ever fetched: a ``$ref`` to anything outside the schema makes the schema invalid. The
  meta-schemas of json-schema.org are built in and may be referred to.
- Messages show where and what is wrong, never the value itself: they may stand in logs.

A pattern such as ``^(a+)+$`` takes linear time; one with back-references is given up after a
bounded number of steps, and the value then counts as not matching.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeAlias

import jsonschema_rs

from django_relay import exceptions

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_ERRORS = 5
MAX_MESSAGE_LENGTH = 200

Validator: TypeAlias = jsonschema_rs.Draft202012Validator
"""A compiled schema; opaque, for :func:`errors`."""


def compile(schema: object) -> Validator:  # noqa: A001 — like re.compile
    """Compile a schema given as Python objects: a mapping, or True or False.

    Raises:
        InvalidSchema: it is not JSON Schema 2020-12, or it refers to something outside itself; the
            message names the place as a JSON pointer.
    """
    if not isinstance(schema, dict | bool):
        raise exceptions.InvalidSchema("A schema must be a mapping, or true or false.")
    # Read as 2020-12, a schema of an older draft would silently mean something else.
    if isinstance(schema, dict) and schema.get("$schema", DIALECT) not in (DIALECT, DIALECT + "#"):
        raise exceptions.InvalidSchema(f"at /$schema: only {DIALECT} is supported")
    try:
        return jsonschema_rs.Draft202012Validator(
            schema, validate_formats=True, retriever=_refuse_to_fetch, mask="the value"
        )
    except jsonschema_rs.ValidationError as error:
        place = _pointer(error.instance_path) or _place_of_reference(schema, error.message)
        raise exceptions.InvalidSchema(_message(place, error.message)) from error
    except ValueError as error:
        raise exceptions.InvalidSchema(_message("", str(error))) from error


def errors(validator: Validator, data: object) -> list[str]:
    """Return what is wrong with ``data``, at most five messages such as "at /amount: …".

    The list is empty when it is valid. ``data`` is parsed JSON of bounded depth, as emit() makes
    sure: parts that the schema does not speak of are not looked at, and a list that contains itself
    could overrun the stack.
    """
    try:
        return [
            _message(_pointer(error.instance_path), error.message)
            for error in islice(validator.iter_errors(data), MAX_ERRORS)
        ]
    except ValueError:
        # Not JSON after all; the library's own words would quote the value.
        return [_message("", "the value is not JSON")]


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with ``null`` let in; ``{}`` takes it already."""
    if not schema or schema == {"type": "null"}:
        return schema
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    changed = dict(schema)
    if "enum" in schema and None not in schema["enum"]:
        changed["enum"] = [*schema["enum"], None]
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        changed["type"] = kinds if "null" in kinds else [*kinds, "null"]
    return changed


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError("remote references are never fetched")


def _message(place: str, text: str) -> str:
    line = f"at {place or 'the root'}: {text}"
    return line if len(line) <= MAX_MESSAGE_LENGTH else line[: MAX_MESSAGE_LENGTH - 1] + "…"


def _pointer(path: list[str | int]) -> str:
    """Return a path as a JSON pointer (RFC 6901); the root is the empty string."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _place_of_reference(schema: object, message: str) -> str:
    """Return where the reference stands that ``message`` speaks of; the library does not say."""
    for path, reference in _references(schema, []):
        uri, _, fragment = reference.partition("#")
        if (uri or fragment) and (uri or fragment) in message:
            return _pointer(path)
    return ""


def _references(schema: object, path: list[str | int]) -> Iterator[tuple[list[str | int], str]]:
    """Yield the path and the text of each reference, depth first."""
    parts: Iterator[tuple[str | int, object]] = iter(())
    if isinstance(schema, dict):
        parts = iter(schema.items())
    elif isinstance(schema, list):
        parts = iter(enumerate(schema))
    for key, value in parts:
        if key in ("$ref", "$dynamicRef") and isinstance(value, str):
            yield [*path, key], value
        else:
            yield from _references(value, [*path, key])
