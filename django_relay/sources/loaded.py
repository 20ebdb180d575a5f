"""What a row held when it was loaded or last saved: the "before" of a change, without a query.

Declared models remember it beside Django's own state of an instance. It costs a reference where nothing that was loaded
can be changed in place; lists, dicts and the like are copied. What a roll-back undoes is undone here too: an instance
that was saved in it has the state it had before.

What is not known is left out: deferred fields until they are loaded, all fields of an instance that was made by hand
and never saved, and of one that was given another primary key.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models.fields.files import FieldFile

from django_relay.sources import journal

_ATTRIBUTE = "django_relay_loaded"
_UNCHANGEABLE = frozenset(
    {type(None), str, int, float, bool, bytes, Decimal, UUID, datetime, date, time, timedelta}
)  # fmt: skip


class Loaded:
    """Values by attribute name, as the database has them; ``below`` is what counts if ``note`` does not."""

    __slots__ = ("below", "names", "note", "values")

    def __init__(
        self,
        names: Sequence[str],
        values: Sequence[Any],
        *,
        note: journal.Note | None = None,
        below: "Loaded | None" = None,
    ) -> None:
        self.names = names
        self.values = values
        self.note = note
        self.below = below

    def __reduce__(self) -> tuple[Any, ...]:
        found = _counting(self)  # another process knows nothing of our transactions
        return (Loaded, (tuple(found.names), tuple(found.values)) if found else ((), ()))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Loaded":
        return self  # nobody changes it


def remember(instance: models.Model, names: Sequence[str], values: Sequence[Any]) -> None:
    """Note what was just loaded, and copy what can be changed in place."""
    if not _UNCHANGEABLE.issuperset(map(type, values)):
        values = [value if type(value) in _UNCHANGEABLE else _copied(value) for value in values]
    setattr(instance._state, _ATTRIBUTE, Loaded(names, values))


def known(instance: models.Model) -> dict[str, Any]:
    """Return what is known of the row as it is in the database, by attribute name."""
    found = _counting(getattr(instance._state, _ATTRIBUTE, None))
    values = dict(zip(found.names, found.values, strict=False)) if found else {}
    key = instance._meta.pk.attname
    return {} if key in values and values[key] != getattr(instance, key) else values


def refresh(instance: models.Model, names: Iterable[str]) -> None:
    """Note what was just read again."""
    values = known(instance)
    values.update({name: instance.__dict__[name] for name in names if name in instance.__dict__})
    remember(instance, tuple(values), tuple(values.values()))


def save(instance: models.Model, values: Mapping[str, Any], *, using: str) -> None:
    """Note what was just written, for as long as the transaction that wrote it counts."""
    note = journal.Note(using)
    journal.write(note)
    below = _counting(getattr(instance._state, _ATTRIBUTE, None))
    while below and below.note and not below.note.is_kept and below.note.savepoints == note.savepoints:
        below = below.below  # they are undone together
    if below and (below.note is None or below.note.is_kept):
        below.below = None  # nothing can undo it any more
    kept = [value if type(value) in _UNCHANGEABLE else _copied(value) for value in values.values()]
    setattr(instance._state, _ATTRIBUTE, Loaded(tuple(values), kept, note=note, below=below))


def is_unchangeable(value: object) -> bool:
    """Return whether the value is of a type that cannot be changed in place, and is no expression."""
    return type(value) in _UNCHANGEABLE


def _counting(loaded: Loaded | None) -> Loaded | None:
    while loaded and loaded.note and not loaded.note.counts():
        loaded = loaded.below
    return loaded


def _copied(value: Any) -> Any:
    if isinstance(value, FieldFile):
        return value.name or ""
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - a value of the host's own; what it will have been is then what it is
        return value
