"""Names of event types ("invoice.paid") and patterns that endpoints subscribe with ("invoice.*").

================  =========================================  ===================================
pattern           matches                                    does not match
================  =========================================  ===================================
``invoice.paid``  that name                                  any other
``invoice.*``     ``invoice.paid``; as one segment among     ``invoice``, ``invoice.line.added``
                  others, ``*`` is exactly one
``*.created``     ``invoice.created``                        ``invoice.line.created``
``invoice.**``    ``invoice.paid``, ``invoice.line.added``;  ``invoice``
                  ``**`` is one segment or more
``**.failed``     ``job.failed``, ``job.import.failed``      ``failed``
``*``             every name, of any depth                   nothing
================  =========================================  ===================================

A wildcard stands for whole segments, never for part of one, and a pattern holds at most one ``**``:
so matching takes one comparison a segment, whatever a tenant writes.
"""

import re
from collections.abc import Iterable

from django_relay import exceptions

MAX_LENGTH = 128
"""The most characters of a name or a pattern."""

MAX_PATTERNS = 100
"""The most patterns of one endpoint."""

RESERVED = "relay."
"""How the names of our own operational events begin; a project declares and emits none such."""

_WORD = r"[a-z0-9][a-z0-9_-]*"
_NAME = re.compile(rf"{_WORD}(?:\.{_WORD})*")
_PATTERN = re.compile(rf"(?:{_WORD}|\*\*?)(?:\.(?:{_WORD}|\*\*?))*")


def validate_name(name: object) -> str:
    """Return ``name`` if it may name an event type: dotted words of a-z, 0-9, ``_`` and ``-``.

    A word begins with a letter or a digit. Upper case is refused, so that "Invoice.paid" and
    "invoice.paid" are never two types.

    Raises:
        InvalidEventName: ``wrong_type`` when it is not text, otherwise ``bad_event_type``.
    """
    if not isinstance(name, str):
        raise exceptions.InvalidEventName("An event type's name must be a string.", code="wrong_type")
    # The length goes first: no tenant's text is handed to a regular expression unbounded.
    if len(name) > MAX_LENGTH:
        raise exceptions.InvalidEventName(f"An event type's name has at most {MAX_LENGTH} characters.")
    if not _NAME.fullmatch(name):
        raise exceptions.InvalidEventName
    return name


def validate_own_name(name: object) -> str:
    """Return ``name`` if a project may give it to an event type of its own.

    Raises:
        InvalidEventName: as :func:`validate_name`; ``reserved_event_type`` when it begins with ``relay.``.
    """
    valid = validate_name(name)
    if valid.startswith(RESERVED):
        raise exceptions.InvalidEventName(
            f"{valid} cannot be a type of yours: names that begin with {RESERVED!r} are those of django_relay's own "
            "operational events.",
            code="reserved_event_type",
        )
    return valid


def validate_pattern(pattern: object) -> str:
    """Return ``pattern`` if it may select event types; the module's table says what they mean.

    Raises:
        InvalidPattern: ``wrong_type`` when it is not text, otherwise ``bad_pattern``.
    """
    if not isinstance(pattern, str):
        raise exceptions.InvalidPattern("A pattern must be a string.", code="wrong_type")
    if len(pattern) > MAX_LENGTH:
        raise exceptions.InvalidPattern(f"A pattern has at most {MAX_LENGTH} characters.")
    if not _PATTERN.fullmatch(pattern):
        raise exceptions.InvalidPattern
    if pattern.split(".").count("**") > 1:
        raise exceptions.InvalidPattern('A pattern holds "**" at most once.')
    return pattern


def validate_patterns(patterns: object) -> list[str]:
    """Return a list of patterns that an endpoint may subscribe with: 1 to 100 of them.

    Raises:
        InvalidPattern: ``wrong_type`` when it is no such list, otherwise as :func:`validate_pattern`.
    """
    if not isinstance(patterns, list | tuple) or not 1 <= len(patterns) <= MAX_PATTERNS:
        message = f"Give a list of 1 to {MAX_PATTERNS} patterns, such as ['invoice.*']."
        raise exceptions.InvalidPattern(message, code="wrong_type")
    return [validate_pattern(pattern) for pattern in patterns]


def matches(pattern: str, name: str) -> bool:
    """Say whether a valid pattern selects a valid name, in time linear in their lengths."""
    if pattern == "*":
        return True
    wanted, given = pattern.split("."), name.split(".")
    if "**" not in wanted:
        return len(wanted) == len(given) and _same(wanted, given)
    place = wanted.index("**")
    head, tail = wanted[:place], wanted[place + 1 :]
    return len(given) > len(head) + len(tail) and _same(head, given) and _same(tail, given[len(given) - len(tail) :])


def regex(patterns: Iterable[str]) -> str:
    """Return a regular expression, of the words that databases share, for the names that any valid pattern selects."""
    return f"^(?:{'|'.join(map(_regex, patterns))})$"


def _regex(pattern: str) -> str:
    if pattern == "*":
        return ".*"
    kinds = {"*": "[^.]+", "**": r"[^.]+(?:\.[^.]+)*"}
    return r"\.".join(kinds.get(segment, segment) for segment in pattern.split("."))


def _same(wanted: list[str], given: list[str]) -> bool:
    """Say whether each wanted segment is ``*`` or equal to the given one in its place."""
    return all(segment in ("*", other) for segment, other in zip(wanted, given, strict=False))
