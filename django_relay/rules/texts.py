"""What every database of ours can hold and every receiver can read.

PostgreSQL refuses NUL in text and in JSON, and UTF-8 has no halves of surrogate pairs; SQLite stores both, and fails
when it reads them. So both are refused where they come in.
"""

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping

from django_relay import exceptions

_SURROGATE = re.compile("[\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return whether the text holds neither NUL nor half of a surrogate pair."""
    return "\x00" not in text and (text.isascii() or _SURROGATE.search(text) is None)


def is_storable_json(value: object) -> bool:
    """Return whether a JSON value, keys included, holds only storable text and finite numbers."""
    if isinstance(value, str):
        return is_storable(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(is_storable_json(part) for pair in value.items() for part in pair)
    return not isinstance(value, list | tuple) or all(map(is_storable_json, value))


def validate_text(value: object, *, code: str) -> str:
    """Return the value if it is storable text.

    Raises:
        InvalidInput: with ``code``.
    """
    if not isinstance(value, str) or not is_storable(value):
        raise exceptions.InvalidInput("It must be text, without NUL or halves of surrogate pairs.", code=code)
    return value


def validate_json(value: object, *, code: str) -> object:
    """Return the value if it is storable JSON.

    Raises:
        InvalidInput: with ``code``.
    """
    try:
        json.dumps(value)
        if is_storable_json(value):
            return value
    except (TypeError, ValueError, RecursionError):
        pass
    raise exceptions.InvalidInput("It must be JSON, without NUL, halves of surrogate pairs and NaN.", code=code)


def cleaned(text: str) -> str:
    """Return the text with U+FFFD or ``?`` in place of what cannot be stored; for what others have sent us."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def near_miss(name: str, known: Iterable[str]) -> str:
    """Return the one of the known names that was probably meant, as " Did you mean 'name'?", or ``""``."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
