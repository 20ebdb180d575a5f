"""What an audit entry says of a change: each field's value before and after, and of secrets only that they changed."""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django_relay.rules import texts, tokens

CHANGED = "changed"
"""What stands in place of values that are secret, or too long to be kept."""

SECRET_FIELDS = frozenset(
    {"data", "hash", "headers", "key", "link_hash", "payload", "secret", "secrets", "session_hash", "token"}
)
"""Fields whose values are never told."""

_MAX_LENGTH = 1_000
_SECRET = re.compile(rf"{tokens.SCANNER_PATTERN}|wh(?:sec|sk)_[A-Za-z0-9+/=]+|(?<=\?)[^#\s]+")
_ABSENT = object()


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return ``{"name": {"before": …, "after": …}, "headers": "changed"}`` of the fields that differ, by name.

    A side without the field, as all are of what was made or deleted, is left out. Besides :data:`SECRET_FIELDS`, what
    looks like a secret within a text is hidden, and so is the query of a URL: customers put tokens there.
    """
    before, after = before or {}, after or {}
    changes: dict[str, Any] = {}
    for name in sorted({*before, *after}):
        sides = {"before": before.get(name, _ABSENT), "after": after.get(name, _ABSENT)}
        if sides["before"] != sides["after"]:
            changes[name] = _tell(name, {side: value for side, value in sides.items() if value is not _ABSENT})
    return changes


def _tell(name: str, sides: dict[str, Any]) -> Any:
    if name in SECRET_FIELDS:
        return CHANGED
    told = {side: _plain(value) for side, value in sides.items()}
    return told if len(repr(told)) <= _MAX_LENGTH else CHANGED


def _plain(value: Any) -> Any:
    """Return the value as JSON that every database can hold, without secrets."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {
            str(_plain(str(name))): CHANGED if name in SECRET_FIELDS else _plain(part) for name, part in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float | Decimal | timedelta):
        return str(value)
    return _SECRET.sub("…", texts.cleaned(str(value)))
