"""Serializers of Django REST framework as payloads: the only file here that imports it.

The data is what the project's own API would send: the serializer's, through REST framework's encoder. There is no
request: a serializer that needs one is refused with an error that says so, and one that gets along without (``context
.get("request")``) is used as it is. Relations that a serializer follows are queries for each row.

The schema is read from the declared fields, and promises only what can be known:

- A value is nullable unless the model's columns on the way to it never are; a key is required unless REST framework
  may leave it out (a field that is not required, of an attribute that can be missing).
- ``SerializerMethodField``, and properties that are only read, take the schema of their return annotation.
- A field of an unknown class, or that overrides ``to_representation``, is ``{}``; a serializer that does is any object.
"""

import inspect
import json
from collections.abc import Callable
from typing import Any, TypeAlias

from django.conf import settings
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from rest_framework import ISO_8601, relations
from rest_framework import serializers as drf
from rest_framework.settings import api_settings
from rest_framework.utils.encoders import JSONEncoder

from django_relay import exceptions
from django_relay.rules import annotations, schemas
from django_relay.sources import model_fields

Schema: TypeAlias = dict[str, Any]
_OPEN: Schema = {"type": "object"}


class _NoRequest(dict[str, Any]):
    """The context of a serializer that notes whether it was asked for the request."""

    asked = False

    def __missing__(self, key: str) -> Any:
        self.asked = self.asked or key == "request"
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked = self.asked or key == "request"
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.asked = self.asked or key == "request"
        return super().__contains__(key)


def data_of(serializer: type[drf.BaseSerializer[Any]], instance: models.Model) -> dict[str, Any]:
    """Return the serializer's data of a row, as JSON.

    Raises:
        InvalidPayload: it needs the request, or its data is no mapping.
    """
    context = _NoRequest()
    try:
        data = json.loads(json.dumps(serializer(instance, context=context).data, cls=JSONEncoder))
    except Exception as error:
        if context.asked:
            raise exceptions.InvalidPayload(_needs_request(serializer, error)) from error
        raise
    if not isinstance(data, dict):
        raise exceptions.InvalidPayload(
            f"{serializer.__qualname__} gave {type(data).__name__}; a payload is a mapping."
        )
    return data


def schema_of(serializer: object, *, model: type[models.Model]) -> Schema:
    """Return the schema of the serializer's data.

    Raises:
        InvalidDeclaration: it is no serializer class, is one of another model, or its fields cannot be made.
    """
    if not (isinstance(serializer, type) and issubclass(serializer, drf.BaseSerializer)):
        raise exceptions.InvalidDeclaration(
            f"{model._meta.label}: serializer must be a serializer class of Django REST framework or a path to one, "
            f"not {serializer!r}."
        )
    meant = getattr(getattr(serializer, "Meta", None), "model", model)
    if not issubclass(model, meant) and not issubclass(meant, model):
        raise exceptions.InvalidDeclaration(
            f"{serializer.__qualname__} is of {meant._meta.label}, and cannot serialize {model._meta.label}."
        )
    context = _NoRequest()
    try:
        # What is no ``Serializer`` says nothing of its keys.
        return _schema_of_rows(serializer(context=context), model) or dict(_OPEN)
    except Exception as error:
        reason = _needs_request(serializer, error) if context.asked else f"{type(error).__name__}: {error}"
        raise exceptions.InvalidDeclaration(
            f"The fields of {serializer.__qualname__} cannot be read: {reason}"
        ) from error


def _needs_request(serializer: type[Any], error: Exception) -> str:
    return (
        f"{serializer.__qualname__} asked for the request and then failed ({type(error).__name__}). An event has none: "
        "give a serializer that does without, or a callable."
    )


# --- a serializer's keys ---


def _schema_of_serializer(serializer: drf.Serializer[Any], model: type[models.Model] | None) -> Schema:
    if not _is_drf(serializer, "to_representation"):
        return dict(_OPEN)
    model = getattr(getattr(serializer, "Meta", None), "model", model)
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for name, field in serializer.fields.items():
        if field.write_only:
            continue
        source = _Source(field, model)
        schema = _schema_of_value(field, source.model, source)
        properties[name] = schemas.nullable(schema) if source.nullable else schema
        if source.always_there:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


class _Source:
    """Where a field's value comes from, as far as the model tells."""

    def __init__(self, field: Any, model: type[models.Model] | None) -> None:
        self.column: Any = None
        self.model: type[models.Model] | None = None
        self.nullable = False
        self.always_there = True
        self.attribute: Any = None
        if field.source == "*":
            self.model = model
            return
        known, broken = self._follow(field.source_attrs, model)
        if not _is_drf(field, "get_attribute"):
            known = False
        self.nullable = self.nullable or broken or not known
        has_default = field.default is not drf.empty
        self.always_there = (known and not broken) or field.required or field.allow_null or has_default

    def _follow(self, path: list[str], model: type[models.Model] | None) -> tuple[bool, bool]:
        """Walk the path over the model's fields; return whether each was found, and whether one may be missing."""
        broken = False
        for position, name in enumerate(path):
            last = position == len(path) - 1
            found = _field(model, name)
            if found is None:
                self.attribute = inspect.getattr_static(model, name, None) if model is not None and last else None
                self.model = None
                return False, broken
            if last:
                self.column = found if getattr(found, "concrete", False) and not found.many_to_many else None
                # An object of one-to-one relations may be missing; many rows are at least an empty list.
                self.nullable = found.null if self.column is not None else bool(found.one_to_one)
            else:
                broken = broken or not found.concrete or found.null
            model = found.related_model if found.is_relation else None
        self.model = model
        return True, broken


def _field(model: type[models.Model] | None, name: str) -> Any:
    if model is None:
        return None
    if name == "pk":
        return model._meta.pk
    for field in model._meta.get_fields():
        accessor = field.get_accessor_name() if isinstance(field, models.ForeignObjectRel) else field.name
        if name in (accessor, getattr(field, "attname", accessor)):
            # ``customer_id`` is the column, not the row it points at.
            return field if accessor == name or not field.is_relation else _Column(field)
    return None


class _Column:
    """The column of a foreign key, read by itself."""

    concrete, is_relation, many_to_many, one_to_one, related_model = True, False, False, False, None

    def __init__(self, field: Any) -> None:
        self.field, self.null = field, field.null


# --- a field's value ---


def _schema_of_value(field: Any, model: type[models.Model] | None, source: _Source | None = None) -> Schema:
    """Return the schema of what a field represents a value as; ``model`` is that of the value, if it is a row."""
    if isinstance(field, drf.SerializerMethodField):
        return annotations.schema_of(getattr(field.parent, field.method_name))
    if isinstance(field, drf.BaseSerializer):
        return _schema_of_rows(field, model)
    if not _is_drf(field, "to_representation"):
        return {}
    for cls in type(field).__mro__:
        if cls is drf.ReadOnlyField:
            return _schema_of_property(source)
        if cls in _OF_RELATIONS:
            return _OF_RELATIONS[cls](field, model)
        if cls in _SCHEMAS:
            schema = _SCHEMAS[cls]
            return schema(field) if callable(schema) else dict(schema)
    return {}


def _schema_of_rows(field: Any, model: type[models.Model] | None) -> Schema:
    if isinstance(field, drf.Serializer):
        return _schema_of_serializer(field, model)
    if isinstance(field, drf.ListSerializer) and _is_drf(field, "to_representation"):
        return {"type": "array", "items": _schema_of_value(field.child, model)}
    return {}


def _is_drf(thing: object, name: str) -> bool:
    """Return whether the method is REST framework's own."""
    return str(getattr(type(thing), name).__module__).startswith("rest_framework.")


def _schema_of_property(source: _Source | None) -> Schema:
    attribute = source.attribute if source is not None else None
    function = attribute.fget if isinstance(attribute, property) else getattr(attribute, "func", attribute)
    return annotations.schema_of(function) if callable(function) else {}


def _choice(field: Any) -> Schema:
    values = list(field.choices)
    if not all(isinstance(value, str | int | float) for value in values):
        return {}
    # A blank value of the column is given as it is, whatever the field accepts.
    return {"enum": list(dict.fromkeys([*values, *([""] if all(isinstance(value, str) for value in values) else [])]))}


def _decimal(field: Any) -> Schema:
    as_text = getattr(field, "coerce_to_string", api_settings.COERCE_DECIMAL_TO_STRING)
    if not as_text:
        return {"type": "number"}
    if field.localize:
        return {"type": "string"}
    return {"type": "string", "examples": [f"{1:.{field.decimal_places or 0}f}"]}


def _big_integer(field: Any) -> Schema:
    as_text = getattr(field, "coerce_to_string", getattr(api_settings, "COERCE_BIGINT_TO_STRING", False))
    return {"type": "string", "examples": ["1"]} if as_text else {"type": "integer"}


def _moment(kind: str, setting: str) -> Callable[[Any], Schema]:
    """Return how a date or time is described: by its format where that is ISO 8601, else as text."""

    def describe(field: Any) -> Schema:
        shape = getattr(field, "format", getattr(api_settings, setting))
        is_iso = shape is None or shape.lower() == ISO_8601
        if is_iso and (kind == "date" or (kind == "date-time" and settings.USE_TZ)):
            return {"type": "string", "format": kind}
        return {"type": "string"}

    return describe


def _uuid(field: Any) -> Schema:
    match field.uuid_format:
        case "hex_verbose":
            return {"type": "string", "format": "uuid"}
        case "int":
            return {"type": "integer"}
    return {"type": "string"}


def _file(field: Any) -> Schema:
    # REST framework gives null for "no file", whatever the column says.
    return {"type": ["string", "null"]}


def _list(field: Any) -> Schema:
    return {"type": "array", "items": _child(field)}


def _dict(field: Any) -> Schema:
    return {"type": "object", "additionalProperties": _child(field)}


def _child(field: Any) -> Schema:
    # Lists and dicts represent each None in them as null.
    return schemas.nullable(_schema_of_value(field.child, None))


def _primary_key(field: Any, model: type[models.Model] | None) -> Schema:
    if field.pk_field is not None:
        return _schema_of_value(field.pk_field, None)
    if model is None and getattr(field, "queryset", None) is not None:
        model = field.queryset.model
    return _of_raw(model._meta.pk) if model is not None else {}


def _slug(field: Any, model: type[models.Model] | None) -> Schema:
    if model is None and getattr(field, "queryset", None) is not None:
        model = field.queryset.model
    try:
        target = model._meta.get_field(field.slug_field) if model is not None else None
    except FieldDoesNotExist:
        return {}
    return _of_raw(target) if target is not None else {}


def _of_raw(field: Any) -> Schema:
    """Return the schema of a column's value that REST framework gives as it is."""
    schema = model_fields.schema_of(field)
    return schema if schema.get("type") == "integer" or schema.get("format") == "uuid" or _is_text(field) else {}


def _is_text(field: Any) -> bool:
    return isinstance(field, models.CharField | models.TextField)


def _many(field: Any, model: type[models.Model] | None) -> Schema:
    return {"type": "array", "items": _schema_of_value(field.child_relation, model)}


_OF_RELATIONS: dict[type, Callable[[Any, type[models.Model] | None], Schema]] = {
    relations.ManyRelatedField: _many,
    relations.PrimaryKeyRelatedField: _primary_key,
    relations.SlugRelatedField: _slug,
}
_TEXT: Schema = {"type": "string"}
_SCHEMAS: dict[type, Schema | Callable[[Any], Schema]] = {
    drf.BooleanField: {"type": "boolean"},
    drf.CharField: _TEXT,
    drf.ChoiceField: _choice,
    drf.MultipleChoiceField: lambda field: {"type": "array", "items": _choice(field)},
    drf.FilePathField: _TEXT,
    drf.IPAddressField: _TEXT,
    drf.UUIDField: _uuid,
    drf.IntegerField: {"type": "integer"},
    drf.FloatField: {"type": "number"},
    drf.DecimalField: _decimal,
    drf.DateTimeField: _moment("date-time", "DATETIME_FORMAT"),
    drf.DateField: _moment("date", "DATE_FORMAT"),
    drf.TimeField: _moment("time", "TIME_FORMAT"),
    drf.DurationField: _TEXT,
    drf.FileField: _file,
    drf.ListField: _list,
    drf.DictField: _dict,
    drf.JSONField: lambda field: _TEXT if field.binary else {},
    relations.StringRelatedField: _TEXT,
    relations.HyperlinkedRelatedField: _TEXT,
}
if hasattr(drf, "BigIntegerField"):  # 3.17
    _SCHEMAS[drf.BigIntegerField] = _big_integer
