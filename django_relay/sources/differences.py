"""What a ``save()`` changed: the row before, from what was loaded, against the row as it is written now.

Nothing is queried, but for values that only the database knows: an expression such as ``F("stock") - 1`` is read back,
in one query for all of them.
"""

import copy
import functools
from collections.abc import Collection, Mapping
from typing import Any

from django.db import models

from django_relay import exceptions
from django_relay.sources import loaded, model_fields
from django_relay.sources.conditions import UNKNOWN


def of_save(
    instance: models.Model, *, is_new: bool, update_fields: Collection[str] | None, using: str
) -> tuple[dict[str, Any], models.Model]:
    """Return what was changed, old values by attribute name, and the row as it is now in the database.

    An old value that nobody knows is ``UNKNOWN``. The row is the instance itself, or a copy where the instance holds
    what was not written. What was written is remembered as the next "before".
    """
    written = _written(type(instance), None if update_fields is None else frozenset(update_fields), is_new)
    values, read = _values(instance, written, using)
    known = {} if is_new else loaded.known(instance)
    was = {}
    if not is_new:
        for name, field in written.items():
            if name not in known:
                was[name] = UNKNOWN
            elif not is_same(field, known[name], values[name]):
                was[name] = known[name]
    stored = _stored(instance, read, {} if update_fields is None else known, written)
    loaded.save(instance, {**known, **_keys(instance), **values}, using=using)
    return was, stored


def is_same(field: "models.Field[Any, Any]", old: Any, new: Any) -> bool:
    """Return whether two values are one to the database: ``"9.0"`` and ``Decimal("9.00")`` are."""
    try:
        if old is new or bool(old == new):
            return True
        if type(old) is type(new) and not isinstance(field, models.DecimalField):
            return False
        return bool(model_fields.encode(field, old) == model_fields.encode(field, new))
    except (exceptions.InvalidPayload, TypeError, ValueError):
        return False


def shown(model: type[models.Model], was: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return old values as JSON, by the keys that an event's data has for them; an unknown one stays ``UNKNOWN``.

    What the data does not show is not shown of the past either, nor what looks secret.
    """
    fields, found = fields_of(model), {}
    for name, old in was.items():
        field = fields[name]
        key = name if name in data else field.name
        if key in data and not _is_secret(field):
            found[key] = UNKNOWN if old is UNKNOWN else model_fields.encode(field, old)
    return found


_is_secret = functools.cache(model_fields.is_secret)


@functools.cache
def fields_of(model: type[models.Model]) -> dict[str, Any]:
    """Return a model's columns by attribute name."""
    return {field.attname: field for field in model._meta.concrete_fields}


def attributes(model: type[models.Model], names: Collection[str]) -> frozenset[str]:
    """Return the attributes that fields go by, which may be named by field, by attribute, or as ``pk``."""
    return frozenset(
        name
        for name, field in fields_of(model).items()
        if name in names or field.name in names or (field.primary_key and "pk" in names)
    )


def values_of(row: models.Model) -> dict[str, Any]:
    """Return the values of a row's columns by attribute name."""
    return {name: row.__dict__.get(name) for name in fields_of(type(row))}


@functools.lru_cache(maxsize=1_000)
def _written(model: type[models.Model], update_fields: frozenset[str] | None, is_new: bool) -> dict[str, Any]:
    """Return the fields that a save writes, by attribute name."""
    return {
        name: field
        for name, field in fields_of(model).items()
        if not isinstance(field, models.GeneratedField)
        and (is_new or not field.primary_key)
        and (is_new or update_fields is None or field.name in update_fields or name in update_fields)
    }


def _keys(instance: models.Model) -> dict[str, Any]:
    return {name: instance.__dict__.get(name) for name, field in fields_of(type(instance)).items() if field.primary_key}


def _values(instance: models.Model, written: Mapping[str, Any], using: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was written, and of that what had to be read back."""
    held = instance.__dict__
    values = {name: held[name] for name in written if name in held}
    missing = [
        name
        for name in written
        if name not in values
        or (not loaded.is_unchangeable(values[name]) and hasattr(values[name], "resolve_expression"))
    ]
    if not missing:
        return values, {}
    read = type(instance)._base_manager.using(using).filter(pk=instance.pk).values(*missing).get()
    return {**values, **read}, read


def _stored(
    instance: models.Model, read: Mapping[str, Any], known: Mapping[str, Any], written: Mapping[str, Any]
) -> models.Model:
    """Return the row as the database has it, where the instance holds something else."""
    fields, held = fields_of(type(instance)), instance.__dict__
    other = {
        name: old
        for name, old in known.items()
        if name not in written and name in held and not is_same(fields[name], old, held[name])
    }
    if not read and not other:
        return instance
    stored = copy.copy(instance)
    for name, value in {**other, **read}.items():
        setattr(stored, name, value)
    return stored
