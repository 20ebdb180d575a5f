"""The data of events about rows: what is read of a row, the schema that fits it, and an example.

:func:`make` takes one of:

- ``serializer``: a class of Django REST framework; see :mod:`django_relay.sources.serializers`.
- ``payload``: a callable that gets the row and returns a mapping. Its schema is unknown.
- ``fields``: names of the row's fields, properties and methods without arguments, and paths over relations to one
  (``customer__name``). The name is the key. ``customer`` and ``customer_id`` are both the id in the column, and a
  many-to-many field is the list of ids, in order.
- nothing: all of the model's own columns, by the names that Django gives them (``customer_id``), but those that look
  secret (:mod:`django_relay.rules.secret_names`) and those in ``exclude``.

A default payload makes no query but in three cases, each of them one query for all that is missing: fields that were
deferred, attributes that hold an expression (``F("stock") - 1``), and generated columns, which Django before 6.0 does
not read again when a row is saved. Each relation in a path, a many-to-many field, and whatever a property, method,
callable or serializer reads beyond the row costs its own query for each row, unless the row came with it
(``select_related``).
"""

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import django
from django.db import models, router
from django.utils.module_loading import import_string

from django_relay import exceptions
from django_relay.rules import examples
from django_relay.sources import model_fields, parts

_GENERATED_ARE_STALE = django.VERSION < (6,)


@dataclass(frozen=True)
class Payload:
    """What events say of a row of one model."""

    take: Callable[[models.Model], dict[str, Any]]
    described: Mapping[str, Any] | None
    field_names: frozenset[str] | None
    """The model's own fields that are read, by name; ``None`` where that is unknown."""

    def of(self, instance: models.Model) -> dict[str, Any]:
        """Return the data of a row as it is now, for ``emit``.

        Raises:
            InvalidPayload: the row cannot be told of: a deferred field of a row that is gone, a serializer that needs
                a request, a callable that returns no mapping.
        """
        return self.take(instance)

    def schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema 2020-12 of the data once it is encoded, ``None`` where it is unknown."""
        return None if self.described is None else copy.deepcopy(dict(self.described))

    def example(self) -> Any:
        """Return an example that fits the schema, ``None`` where that is unknown."""
        return None if self.described is None else examples.of(self.described)


def make(
    model: type[models.Model],
    *,
    serializer: Any = None,
    payload: Any = None,
    fields: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
) -> Payload:
    """Return the payload of a model's rows; call it once the apps are ready.

    ``serializer`` and ``payload`` are dotted paths or what these lead to.

    Raises:
        InvalidDeclaration: more than one way is given, a path leads nowhere or to something else, or a name is none of
            the model's.
    """
    given = [name for name, value in (("serializer", serializer), ("payload", payload), ("fields", fields)) if value]
    if len(given) > 1:
        raise exceptions.InvalidDeclaration(f"{_label(model)}: give one of {' and '.join(given)}, not more.")
    if given and exclude:
        raise exceptions.InvalidDeclaration(
            f"{_label(model)}: exclude is for the default payload; {given[0]} says it all."
        )
    if serializer:
        return _of_serializer(model, _load(model, "serializer", serializer))
    if payload:
        return _of_callable(model, _load(model, "payload", payload))
    if fields is not None:
        return _of_parts([parts.of_name(model, name) for name in _names(model, "fields", fields)])
    return _of_parts([parts.Column(field.attname, field) for field in _default_fields(model, exclude)])


def _of_parts(found: list[parts.Part]) -> Payload:
    columns = [part.field for part in found if isinstance(part, parts.Column)]
    # Of a column its attribute and encoder, of anything else its key and reader.
    plan = [
        (part.key, part.field.attname, model_fields.encoder(part.field))
        if isinstance(part, parts.Column)
        else (part.key, None, part.read)
        for part in found
    ]

    def take(instance: models.Model) -> dict[str, Any]:
        values = _values(instance, columns)
        return {key: read(instance if name is None else values[name]) for key, name, read in plan}

    described = {
        "type": "object",
        "properties": {part.key: part.schema() for part in found},
        "required": list(dict.fromkeys(part.key for part in found)),
    }
    known: set[str] | None = {field.name for field in columns}
    for part in found:
        if isinstance(part, parts.Reading):
            known = None if known is None or part.fields is None else known | part.fields
    return Payload(take, described, None if known is None else frozenset(known))


def _values(instance: models.Model, fields: list[model_fields.Field]) -> dict[str, Any]:
    """Return the values of the columns, by attribute; what the instance lacks is read in one query, and not kept."""
    deferred = instance.get_deferred_fields()
    values = {field.attname: field.value_from_object(instance) for field in fields if field.attname not in deferred}
    missing = [
        field.attname for field in fields if field.attname in deferred or _is_stale(field, values[field.attname])
    ]
    if not missing:
        return values
    using = instance._state.db or router.db_for_write(type(instance), instance=instance)
    row = type(instance)._base_manager.using(using).filter(pk=instance.pk).values(*missing).first()
    if row is not None:
        return {**values, **row}
    lost = [name for name in missing if name not in values or hasattr(values[name], "resolve_expression")]
    if lost:
        raise exceptions.InvalidPayload(
            f"{_label(type(instance))}: the row is gone, and {', '.join(lost)} was not loaded."
        )
    return values


def _is_stale(field: model_fields.Field, value: object) -> bool:
    return hasattr(value, "resolve_expression") or (_GENERATED_ARE_STALE and isinstance(field, models.GeneratedField))


def _default_fields(model: type[models.Model], exclude: Iterable[str]) -> Iterator[model_fields.Field]:
    left_out = {parts.own_field(model, "exclude", name) for name in _names(model, "exclude", exclude)}
    for field in model._meta.concrete_fields:
        # A link to the parent's row repeats the parent's id.
        is_link = isinstance(field, models.OneToOneField) and field.remote_field.parent_link
        if field not in left_out and not is_link and not model_fields.is_secret(field):
            yield field


def _names(model: type[models.Model], argument: str, names: Iterable[str]) -> list[str]:
    found = [names] if isinstance(names, str) else list(names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in found):
        raise exceptions.InvalidDeclaration(f"{_label(model)}: {argument} must be a list of names, not {names!r}.")
    return found


def _load(model: type[models.Model], argument: str, given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return import_string(given)
    except ImportError as error:
        raise exceptions.InvalidDeclaration(
            f"{_label(model)}: {argument} {given!r} cannot be imported: {error}. Give a dotted path such as "
            f"'billing.api.Invoice{argument.title()}'."
        ) from error


def _of_serializer(model: type[models.Model], serializer: Any) -> Payload:
    # Whoever declares no serializer needs no REST framework.
    from django_relay.sources import serializers  # noqa: PLC0415

    schema = serializers.schema_of(serializer, model=model)
    return Payload(functools.partial(serializers.data_of, serializer), schema, None)


def _of_callable(model: type[models.Model], function: Any) -> Payload:
    if not callable(function):
        raise exceptions.InvalidDeclaration(
            f"{_label(model)}: payload must be a callable that takes the row, or a path to one."
        )

    def take(instance: models.Model) -> dict[str, Any]:
        data = function(instance)
        if not isinstance(data, Mapping):
            name = getattr(function, "__qualname__", type(function).__name__)
            raise exceptions.InvalidPayload(f"{name} returned {type(data).__name__}; a payload is a mapping.")
        return dict(data)

    return Payload(take, None, None)


def _label(model: type[models.Model]) -> str:
    return model._meta.label
