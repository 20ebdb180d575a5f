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
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import django
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db import models, router
from django.utils.module_loading import import_string

from django_relay import exceptions
from django_relay.rules import annotations, examples, schemas, texts
from django_relay.sources import model_fields

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
        return _of_parts([_part(model, name) for name in _names(model, "fields", fields)])
    return _of_parts([_Column(field.attname, field) for field in _default_fields(model, exclude)])


# --- the parts of a payload that is read field by field ---


@dataclass(frozen=True)
class _Column:
    """A column of the row itself."""

    key: str
    field: model_fields.Field

    def schema(self) -> dict[str, Any]:
        return model_fields.schema_of(self.field)


@dataclass(frozen=True)
class _Reading:
    """What is read from the row by a function; ``fields`` are the row's own that it is known to read."""

    key: str
    read: Callable[[Any], Any]
    described: dict[str, Any]
    fields: frozenset[str] | None

    def schema(self) -> dict[str, Any]:
        return self.described


_Part = _Column | _Reading


def _of_parts(parts: list[_Part]) -> Payload:
    columns = [part.field for part in parts if isinstance(part, _Column)]

    def take(instance: models.Model) -> dict[str, Any]:
        values = _values(instance, columns)
        return {
            part.key: model_fields.encode(part.field, values[part.field.attname])
            if isinstance(part, _Column)
            else part.read(instance)
            for part in parts
        }

    described = {
        "type": "object",
        "properties": {part.key: part.schema() for part in parts},
        "required": list(dict.fromkeys(part.key for part in parts)),
    }
    known: set[str] | None = {field.name for field in columns}
    for part in parts:
        if isinstance(part, _Reading):
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


# --- what the names say ---


def _default_fields(model: type[models.Model], exclude: Iterable[str]) -> Iterator[model_fields.Field]:
    left_out = {_own_field(model, "exclude", name) for name in _names(model, "exclude", exclude)}
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


def _own_field(model: type[models.Model], argument: str, name: str) -> model_fields.Field:
    field = _column(model, name)
    if field is None:
        known = [own.name for own in model._meta.concrete_fields]
        hint = texts.near_miss(name, known) or f" It has {', '.join(known)}."
        raise exceptions.InvalidDeclaration(f"{_label(model)} has no field {name!r}, which {argument} names.{hint}")
    return field


def _column(model: type[models.Model], name: str) -> "model_fields.Field | None":
    """Return the model's own column of that name, attribute (``customer_id``) or alias (``pk``)."""
    for field in model._meta.concrete_fields:
        if name in (field.name, field.attname) or (name == "pk" and field.primary_key):
            return field
    return None


def _part(model: type[models.Model], name: str) -> _Part:
    """Return how to read what one of ``fields`` names."""
    field = _column(model, name)
    if field is not None:
        return _Column(name, field)
    if name in {many.name for many in model._meta.many_to_many}:
        return _of_many(model, name)
    if _has_attribute(model, name):
        return _Reading(name, functools.partial(_read_attribute, name=name), _describe_attribute(model, name), None)
    if "__" in name:
        return _of_path(model, name)
    known = [*(own.name for own in model._meta.get_fields()), *(item for item in vars(model) if item[0] != "_")]
    hint = texts.near_miss(name, known) or " Name fields, properties, methods without arguments, or paths such as a__b."
    raise exceptions.InvalidDeclaration(f"{_label(model)} has nothing named {name!r}, which fields names.{hint}")


def _of_many(model: type[models.Model], name: str) -> _Reading:
    target = model._meta.get_field(name).related_model._meta.pk  # type: ignore[union-attr]

    def read(instance: Any) -> list[Any]:
        ids = getattr(instance, name).order_by("pk").values_list("pk", flat=True)
        return [model_fields.encode(target, value) for value in ids]

    schema = {"type": "array", "items": model_fields.schema_of(target)}
    return _Reading(name, read, schema, frozenset())


def _of_path(model: type[models.Model], path: str) -> _Reading:
    """Return how to read ``a__b``: over relations to one row, to a field or attribute of the last."""
    *relations, last = path.split("__")
    current, may_miss = model, False
    for relation in relations:
        field = _relation_to_one(current, relation, path)
        may_miss = may_miss or not field.concrete or field.null
        current = field.related_model
    end = _part(current, last)

    def read(instance: Any) -> Any:
        for relation in relations:
            try:
                instance = getattr(instance, relation)
            except ObjectDoesNotExist:
                return None
            if instance is None:
                return None
        if isinstance(end, _Column):
            return model_fields.encode(end.field, end.field.value_from_object(instance))
        return end.read(instance)

    schema = schemas.nullable(end.schema()) if may_miss else end.schema()
    return _Reading(
        path, read, schema, frozenset({relations[0]} & {field.name for field in model._meta.concrete_fields})
    )


def _relation_to_one(model: type[models.Model], name: str, path: str) -> Any:
    for field in model._meta.get_fields():
        accessor = field.get_accessor_name() if isinstance(field, models.ForeignObjectRel) else field.name
        if accessor == name and field.related_model and (field.many_to_one or field.one_to_one):
            return field
    known = [field.name for field in model._meta.concrete_fields if field.is_relation]
    hint = texts.near_miss(name, known) or f" Relations to one row: {', '.join(known) or 'none'}."
    raise exceptions.InvalidDeclaration(
        f"{_label(model)} has no relation to one row named {name!r}, which {path!r} goes over.{hint} "
        "For many rows use a property or a serializer."
    )


# --- properties and methods ---


def _has_attribute(model: type[models.Model], name: str) -> bool:
    missing = object()
    if name.startswith("_") or inspect.getattr_static(model, name, missing) is missing:
        return False
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        accessors = {relation.get_accessor_name() for relation in model._meta.related_objects}
        if name not in accessors:
            return True
    else:
        if not field.is_relation:
            return True
    raise exceptions.InvalidDeclaration(
        f"{_label(model)}.{name} is other rows. Name a path over it to one row's field, or use a property "
        "or a serializer."
    )


def _describe_attribute(model: type[models.Model], name: str) -> dict[str, Any]:
    attribute: Any = inspect.getattr_static(model, name)
    function: Any
    if getattr(attribute, "alters_data", False):
        raise exceptions.InvalidDeclaration(f"{_label(model)}.{name}() changes data; a payload only reads.")
    if isinstance(attribute, property):
        function = attribute.fget
    elif isinstance(attribute, FunctionType | staticmethod | classmethod):
        function = getattr(attribute, "__func__", attribute)
        own = 0 if isinstance(attribute, staticmethod) else 1
        needed = [part for part in inspect.signature(function).parameters.values() if part.default is part.empty]
        if len([part for part in needed if part.kind not in (part.VAR_POSITIONAL, part.VAR_KEYWORD)]) > own:
            raise exceptions.InvalidDeclaration(
                f"{_label(model)}.{name}() takes arguments, and a payload has none to give; use a property or a "
                "callable."
            )
    else:
        function = getattr(attribute, "func", None)  # a cached property
    return annotations.schema_of(function) if function is not None else {}


def _read_attribute(instance: Any, *, name: str) -> Any:
    value = getattr(instance, name)
    return model_fields.encode_plain(value() if callable(value) else value)


# --- serializers and callables ---


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
