"""What one name of a payload's ``fields`` reads of a row: a column, an attribute, or something over relations."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeAlias

from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db import models

from django_relay import exceptions
from django_relay.rules import annotations, schemas, texts
from django_relay.sources import model_fields


@dataclass(frozen=True)
class Column:
    """A column of the row itself."""

    key: str
    field: model_fields.Field

    def schema(self) -> dict[str, Any]:
        """Return the schema of the value in JSON."""
        return model_fields.schema_of(self.field)


@dataclass(frozen=True)
class Reading:
    """What is read from the row by a function; ``fields`` are the row's own that it is known to read."""

    key: str
    read: Callable[[Any], Any]
    described: dict[str, Any]
    fields: frozenset[str] | None

    def schema(self) -> dict[str, Any]:
        """Return the schema of the value in JSON."""
        return self.described


Part: TypeAlias = Column | Reading


def of_name(model: type[models.Model], name: str) -> Part:
    """Return how to read what one of ``fields`` names.

    Raises:
        InvalidDeclaration: it is nothing that can be read of one row.
    """
    field = _column(model, name)
    if field is not None:
        return Column(name, field)
    if name in {many.name for many in model._meta.many_to_many}:
        return _of_many(model, name)
    if _has_attribute(model, name):
        return Reading(name, functools.partial(_read_attribute, name=name), _describe_attribute(model, name), None)
    if "__" in name:
        return _of_path(model, name)
    known = [*(own.name for own in model._meta.get_fields()), *(item for item in vars(model) if item[0] != "_")]
    hint = texts.near_miss(name, known) or " Name fields, properties, methods without arguments, or paths such as a__b."
    raise exceptions.InvalidDeclaration(f"{model._meta.label} has nothing named {name!r}, which fields names.{hint}")


def own_field(model: type[models.Model], argument: str, name: str) -> model_fields.Field:
    """Return the model's own column that an argument names by field, attribute or ``pk``.

    Raises:
        InvalidDeclaration: it has none of that name.
    """
    field = _column(model, name)
    if field is None:
        known = [own.name for own in model._meta.concrete_fields]
        hint = texts.near_miss(name, known) or f" It has {', '.join(known)}."
        raise exceptions.InvalidDeclaration(f"{model._meta.label} has no field {name!r}, which {argument} names.{hint}")
    return field


def _column(model: type[models.Model], name: str) -> "model_fields.Field | None":
    """Return the model's own column of that name, attribute (``customer_id``) or alias (``pk``)."""
    for field in model._meta.concrete_fields:
        if name in (field.name, field.attname) or (name == "pk" and field.primary_key):
            return field
    return None


def _of_many(model: type[models.Model], name: str) -> Reading:
    target = model._meta.get_field(name).related_model._meta.pk  # type: ignore[union-attr]

    def read(instance: Any) -> list[Any]:
        ids = getattr(instance, name).using(instance._state.db).order_by("pk").values_list("pk", flat=True)
        return [model_fields.encode(target, value) for value in ids]

    schema = {"type": "array", "items": model_fields.schema_of(target)}
    return Reading(name, read, schema, frozenset())


def _of_path(model: type[models.Model], path: str) -> Reading:
    """Return how to read ``a__b``: over relations to one row, to a field or attribute of the last."""
    *relations, last = path.split("__")
    current, may_miss = model, False
    for relation in relations:
        field = _relation_to_one(current, relation, path)
        may_miss = may_miss or not field.concrete or field.null
        current = field.related_model
    end = of_name(current, last)

    def read(instance: Any) -> Any:
        for relation in relations:
            try:
                instance = getattr(instance, relation)
            except ObjectDoesNotExist:
                return None
            if instance is None:
                return None
        if isinstance(end, Column):
            return model_fields.encode(end.field, end.field.value_from_object(instance))
        return end.read(instance)

    schema = schemas.nullable(end.schema()) if may_miss else end.schema()
    return Reading(
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
        f"{model._meta.label} has no relation to one row named {name!r}, which {path!r} goes over.{hint} "
        "For many rows use a property or a serializer."
    )


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
        f"{model._meta.label}.{name} is other rows. Name a path over it to one row's field, or use a property "
        "or a serializer."
    )


def _describe_attribute(model: type[models.Model], name: str) -> dict[str, Any]:
    attribute: Any = inspect.getattr_static(model, name)
    function: Any
    if getattr(attribute, "alters_data", False):
        raise exceptions.InvalidDeclaration(f"{model._meta.label}.{name}() changes data; a payload only reads.")
    if isinstance(attribute, property):
        function = attribute.fget
    elif isinstance(attribute, FunctionType | staticmethod | classmethod):
        function = getattr(attribute, "__func__", attribute)
        own = 0 if isinstance(attribute, staticmethod) else 1
        needed = [part for part in inspect.signature(function).parameters.values() if part.default is part.empty]
        if len([part for part in needed if part.kind not in (part.VAR_POSITIONAL, part.VAR_KEYWORD)]) > own:
            raise exceptions.InvalidDeclaration(
                f"{model._meta.label}.{name}() takes arguments, and a payload has none to give; use a property or a "
                "callable."
            )
    else:
        function = getattr(attribute, "func", None)  # a cached property
    return annotations.schema_of(function) if function is not None else {}


def _read_attribute(instance: Any, *, name: str) -> Any:
    value = getattr(instance, name)
    return model_fields.encode_plain(value() if callable(value) else value)
