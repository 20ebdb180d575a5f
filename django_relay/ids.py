"""Ids: UUIDv7 in the database, TypeID strings ("evt_01m8…") everywhere else.

The string form is the TypeID specification 0.3: a prefix, an underscore, and the 128 bits as 26 characters of
Crockford's base32 in lower case. Both directions accept one spelling only, so that an id is a safe cache key and a safe
``webhook-id``.
"""

import hashlib
import uuid
from datetime import datetime

from typeid.codecs import base32
from uuid_utils import uuid7


def new(prefix: str) -> str:
    """Return a new id, such as ``new("evt_")``; ids of one process grow in the order they are made."""
    return prefix + base32.encode(uuid7().bytes)


def to_uuid(value: str, *, prefix: str) -> uuid.UUID:
    """Return the UUID behind an id string.

    Raises:
        ValueError: the prefix is another one, or the rest is not a canonical TypeID suffix.
    """
    return uuid.UUID(bytes=_to_bytes(value, prefix))


def to_hex(value: str, *, prefix: str) -> str:
    """Return the UUID behind an id string as 32 hexadecimal digits; raises what :func:`to_uuid` does."""
    return _to_bytes(value, prefix).hex()


def _to_bytes(value: str, prefix: str) -> bytes:
    suffix = value.removeprefix(prefix)
    # 26 characters hold 130 bits: a first character above "7" would be a second spelling of a smaller id.
    if len(value) != len(prefix) + 26 or len(suffix) != 26 or not "0" <= suffix[0] <= "7":
        raise ValueError(f"An id of the form {prefix}… with 26 characters is wanted.")
    try:
        return bytes(base32.decode(suffix))
    except RuntimeError as error:
        raise ValueError(f"An id of the form {prefix}… uses only 0-9 and a-z without i, l, o, u.") from error


def from_uuid(value: uuid.UUID, *, prefix: str) -> str:
    """Return the id string of a UUID."""
    return prefix + base32.encode(value.bytes)


def deterministic_event_id(*parts: object) -> str:
    """Return the event id that belongs to ``parts``: the same parts always give the same id.

    Emitting twice with such an id stores one event. The id is the first 128 bits of the SHA-256 of the parts, as text,
    joined by ``|``.

    Raises:
        ValueError: no parts were given.
    """
    if not parts:
        raise ValueError("deterministic_event_id() needs at least one part, such as the invoice's number.")
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return "evt_" + base32.encode(digest[:16])


def earliest(moment: datetime, *, prefix: str) -> str:
    """Return the smallest id that :func:`new` could make at ``moment``, to a millisecond (RFC 9562, 5.7)."""
    milliseconds = max(int(moment.timestamp() * 1000), 0)
    return from_uuid(uuid.UUID(int=milliseconds << 80), prefix=prefix)
