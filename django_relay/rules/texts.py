"""What every database of ours can hold and every receiver can read.

PostgreSQL refuses NUL in text and in JSON, and UTF-8 has no halves of surrogate pairs; SQLite stores both, and fails
when it reads them. So both are refused where they come in.
"""

import math
from collections.abc import Mapping


def is_storable(text: str) -> bool:
    """Return whether the text holds neither NUL nor half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def is_storable_json(value: object) -> bool:
    """Return whether a JSON value, keys included, holds only storable text and finite numbers."""
    if isinstance(value, str):
        return is_storable(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(is_storable_json(part) for pair in value.items() for part in pair)
    return not isinstance(value, list | tuple) or all(map(is_storable_json, value))


def cleaned(text: str) -> str:
    """Return the text with U+FFFD or ``?`` in place of what cannot be stored; for what others have sent us."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
