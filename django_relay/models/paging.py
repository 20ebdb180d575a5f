"""Pages by key: what a page costs does not depend on how many rows come before it, nor on how many there are.

A list is one or several *arms*: rows with given values in some columns, each served in order by an index that begins
with these columns. :func:`looked_at` merges them, newest first, and stops after a *window* of :data:`LOOKS` rows for
each that is wanted. Filters that no index serves choose from the window. So a page costs the same however rare
its rows are: it may hold fewer than asked for, or none, and still say that there are more.

A cursor is signed and names the list it was made for: owner, filters and order. It ends with the list, not with time.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from django.core import signing
from django.db import connections, models

from django_relay import exceptions
from django_relay.fields import PrefixedIdField

DEFAULT_LIMIT = 50
MAX_LIMIT = 250
LOOKS = 5
"""How many rows a page looks at for each that was asked for, when no index serves its filters."""

ANY = object()
"""In an arm: the column has some value."""

_UNPLANNED = {"endpoint_id", "state"}
"""In arms: columns whose values PostgreSQL's planner is not to see. Of an endpoint with many rows it would read
everybody's, newest first, until it has met enough; of a state that is a partial index's condition the whole of that
index, and sort."""

M = TypeVar("M", bound=models.Model)

_SALT = "django_relay.cursor"
_MAX_CURSOR_LENGTH = 1_000


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """Some rows of a list, newest first; ``next_cursor`` asks for those after them."""

    data: list[M]
    next_cursor: str | None = None

    @property
    def has_more(self) -> bool:
        """Return whether there may be more."""
        return self.next_cursor is not None


class Wanted(NamedTuple):
    """Which page: how many rows, after which cursor (``None`` is the first page)."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


class Bounds(NamedTuple):
    """Between which keys a list goes on: from ``first`` (inclusive) to before ``last``; ``None`` is no bound."""

    first: Sequence[Any] | None = None
    last: Sequence[Any] | None = None


def validate_limit(limit: object) -> int:
    """Return how many rows a page is to have at most.

    Raises:
        InvalidCursor: ``bad_limit``, it is no whole number from 1 to :data:`MAX_LIMIT`.
    """
    if isinstance(limit, int) and not isinstance(limit, bool) and 1 <= limit <= MAX_LIMIT:
        return limit
    raise exceptions.InvalidCursor(f"limit must be a whole number from 1 to {MAX_LIMIT}.", code="bad_limit")


def seal(key: Sequence[Any], *, of: Mapping[str, Any]) -> str:
    """Return the cursor that goes on after the row with ``key``, in the list that ``of`` names and nowhere else."""
    return signing.dumps([_fingerprint(of), *map(_as_text, key)], salt=_SALT)


def unseal(cursor: str, *, of: Mapping[str, Any]) -> list[str]:
    """Return the key in a cursor, as text.

    Raises:
        InvalidCursor: it was not made by :func:`seal`, or for another list.
    """
    if len(cursor) > _MAX_CURSOR_LENGTH:
        raise exceptions.InvalidCursor
    try:
        fingerprint, *key = signing.loads(cursor, salt=_SALT)
    except (signing.BadSignature, ValueError) as error:
        raise exceptions.InvalidCursor from error
    if fingerprint != _fingerprint(of):
        raise exceptions.InvalidCursor
    return [str(part) for part in key]


def by_column(
    rows: "models.QuerySet[M]", name: str, *, of: Mapping[str, Any], wanted: Wanted, descending: bool = True
) -> Page[M]:
    """Return a page of rows in the order of one unique column, which an index must serve; one query.

    Raises:
        InvalidCursor: the cursor is another list's.
    """
    limit = validate_limit(wanted.limit)
    if wanted.cursor is not None:
        after = field_of(rows.model, name).to_python(unseal(wanted.cursor, of=of)[0])
        rows = rows.filter(**{f"{name}__{'lt' if descending else 'gt'}": after})
    found = list(rows.order_by(f"-{name}" if descending else name)[: limit + 1])
    data = found[:limit]
    return Page(data, seal([getattr(data[-1], name)], of=of) if len(found) > limit else None)


def looked_at(
    model: type[models.Model],
    arms: Sequence[Mapping[str, Any]],
    *,
    order: Sequence[str],
    bounds: Bounds,
    window: int,
    using: str,
) -> list[str]:
    """Return the ids of the ``window`` newest rows of some arms within ``bounds``.

    ``arms`` are values by field, each of which an index serves in the order of the fields ``order``, the last of which
    is the id. PostgreSQL merges the arms as they come only if each is in order by itself; SQLite always does.
    """
    if not arms:
        return []
    connection = connections[using]
    fields = [field_of(model, name) for name in order]
    parts, values = [], []
    sorted_by = ", ".join(f"{number} DESC" for number in range(1, len(order) + 1))
    columns = ", ".join(str(field.column) for field in fields)
    for arm in arms:
        where, found = _where(model, arm, fields, bounds, connection)
        parts.append(f"SELECT {columns} FROM {model._meta.db_table} WHERE {where}")
        values += found
    if len(parts) > 1 and connection.features.supports_slicing_ordering_in_compound:
        parts = [f"({part} ORDER BY {sorted_by} LIMIT {window:d})" for part in parts]
    with connection.cursor() as cursor:
        cursor.execute(f"{' UNION ALL '.join(parts)} ORDER BY {sorted_by} LIMIT {window:d}", values)
        rows = cursor.fetchall()
    key = PrefixedIdField.of(model)
    return [str(key.from_db_value(row[-1], None, connection)) for row in rows]


def field_of(model: type[models.Model], name: str) -> "models.Field[Any, Any]":
    """Return a column's field, by its own name or its column's."""
    field = model._meta.get_field(name)
    assert isinstance(field, models.Field)  # noqa: S101 - arms and orders name columns
    return field


def _where(
    model: type[models.Model],
    arm: Mapping[str, Any],
    fields: Sequence["models.Field[Any, Any]"],
    bounds: Bounds,
    connection: Any,
) -> tuple[str, list[Any]]:
    parts, values = [], []
    for name, value in arm.items():
        field = field_of(model, name)
        if value is None or value is ANY:
            parts.append(f"{field.column} IS {'NOT ' if value is ANY else ''}NULL")
            continue
        parts.append(f"{field.column} = {'(SELECT %s)' if name in _UNPLANNED else '%s'}")
        values.append(field.get_db_prep_value(value, connection))
    for sign, key in ((">=", bounds.first), ("<", bounds.last)):
        if key is None:
            continue
        some = fields[: len(key)]
        parts.append(f"({', '.join(str(field.column) for field in some)}) {sign} ({', '.join(['%s'] * len(some))})")
        values += [field.get_db_prep_value(part, connection) for field, part in zip(some, key, strict=True)]
    return " AND ".join(parts) or "1 = 1", values


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _fingerprint(of: Mapping[str, Any]) -> str:
    text = json.dumps(of, sort_keys=True, default=_as_text)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
