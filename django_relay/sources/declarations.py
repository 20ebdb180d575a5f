"""Declarations: which changes of a model become which events, checked and ready for use.

:func:`make` reads what ``emits`` and ``register`` were told. Which declarations a change concerns is asked of
:func:`concerning`: those of the row's class, of its abstract bases, of what it is a proxy of and of its parents'
tables.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models

from django_relay import exceptions
from django_relay.catalog.registry import WebhookDefinition
from django_relay.rules import texts
from django_relay.sources import conditions, model_fields, payloads, tenants
from django_relay.sources.conditions import Condition, Predicate

CREATED, UPDATED, DELETED = "created", "updated", "deleted"
OURS = ("changed", "previous", "added", "removed")
"""Keys that we add to the data of updates."""
APP_LABEL = "django_relay"


@dataclass(frozen=True, eq=False)
class Declaration:
    """What one declaration makes of one model's changes."""

    model: type[models.Model]
    place: str
    application: str
    payload: payloads.Payload
    tenant: tenants.Tenant
    names: Mapping[str, str]
    """The event type of each of ``created``, ``updated`` and ``deleted`` that is declared."""
    watched: frozenset[str]
    """Attributes whose change makes an ``updated``."""
    many: frozenset[str]
    """Many-to-many fields whose change makes one."""
    transitions: Mapping[str, tuple[Condition, str | None]]
    """Event type → its condition, and the attribute that this is about."""
    when: Predicate | None
    unchanged: bool
    coalesce: bool

    def subject(self, key: object) -> str:
        """Return the name of a row: ``billing.Invoice:42``."""
        text = ",".join(map(str, key)) if isinstance(key, tuple) else str(key)
        return f"{self.model._meta.concrete_model._meta.label}:{text}"  # type: ignore[union-attr]

    def key_of(self, instance: models.Model) -> Any:
        """Return the primary key of the declared model's own row, which a child's instance holds too."""
        return getattr(instance, self.model._meta.pk.attname)

    def takes(self, instance: models.Model) -> bool:
        """Return whether the declaration is about rows like this one."""
        return self.when is None or bool(self.when(instance))

    def heeds_writes_of(self, attributes: Iterable[str]) -> bool:
        """Return whether a change of one of these attributes can make an event of an update."""
        touched = set(attributes)
        if UPDATED in self.names and (self.unchanged or touched & self.watched):
            return True
        return any(attribute is None or attribute in touched for _condition, attribute in self.transitions.values())

    def definitions(self) -> list[WebhookDefinition]:
        """Return the event types for the catalog."""
        verbose, group = self.model._meta.verbose_name, str(self.model._meta.verbose_name_plural)
        article = "An" if str(verbose)[:1].lower() in "aeio" else "A"
        told = [(kind, name, f"{article} {verbose} was {kind}.") for kind, name in self.names.items()]
        told += [
            (UPDATED, name, f"{article} {verbose} was updated so that it is {name.rpartition('.')[2]}.")
            for name in self.transitions
        ]
        return [
            WebhookDefinition(
                name,
                description,
                group=group[:128],
                application=self.application,
                **_described(self.payload, self.watched if kind == UPDATED else None),
            )
            for kind, name, description in told
        ]


_declared: dict[type[models.Model], list[Declaration]] = {}
_concerning: dict[type[models.Model], tuple[Declaration, ...]] = {}


def add(declaration: Declaration) -> None:
    """Let a declaration count from now on."""
    _declared.setdefault(declaration.model, []).append(declaration)
    _concerning.clear()


def remove(declaration: Declaration) -> None:
    """Let it count no more."""
    _declared[declaration.model].remove(declaration)
    _concerning.clear()


def everything() -> list[Declaration]:
    """Return all declarations."""
    return [declaration for found in _declared.values() for declaration in found]


def concerning(model: type[models.Model]) -> tuple[Declaration, ...]:
    """Return the declarations that changes of a class's rows concern."""
    found = _concerning.get(model)
    if found is None:
        found = tuple(declaration for base in model.__mro__ for declaration in _declared.get(base, ()))
        _concerning[model] = found
    return found


def make(model: type[models.Model], *, place: str, **said: Any) -> Declaration:
    """Return a declaration for one model; what is said are the arguments of ``model_signals.register``.

    Raises:
        InvalidDeclaration: something in it cannot be; the message says what would.
        TypeError: an argument is none that there is.
    """
    label = model._meta.label
    if model._meta.app_label == APP_LABEL:
        message = f"{label} is django_relay's own: its changes would make events, and these changes again."
        raise exceptions.InvalidDeclaration(f"{message} Subscribe to relay.* instead.", code="own_model")
    try:
        declaration = _make(model, place, **said)
        _check(declaration)
    except exceptions.InvalidDeclaration as error:
        message = str(error) if str(error).startswith(label) else f"{label}: {error}"
        raise exceptions.InvalidDeclaration(message) from error
    return declaration


def _make(  # noqa: PLR0913 - all keyword-only, as many as there are to say
    model: type[models.Model],
    place: str,
    *,
    prefix: str | None = None,
    tenant: object = None,
    tenant_if_none: str | None = None,
    serializer: object = None,
    payload: object = None,
    fields: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    created: bool | str = False,
    updated: bool | str | Iterable[str] = False,
    deleted: bool | str = False,
    events: Mapping[str, object] | None = None,
    when: object = None,
    unchanged: bool = False,
    coalesce: bool = True,
    application: str = "default",
) -> Declaration:
    is_default = not (serializer or payload or fields is not None)
    data = payloads.make(model, serializer=serializer, payload=payload, fields=fields, exclude=exclude)
    attributes, many = _watched(model, updated, data, is_default=is_default)
    return Declaration(
        model=model,
        place=place,
        application=application,
        payload=data,
        tenant=tenants.make(model, tenant, if_none=tenant_if_none),
        names=_names(model, prefix, created=created, updated=updated, deleted=deleted),
        watched=attributes,
        many=many,
        transitions=_transitions(model, events or {}),
        when=None if when is None else conditions.predicate(when),
        unchanged=unchanged,
        coalesce=coalesce,
    )


def _check(declaration: Declaration) -> None:
    if not declaration.names and not declaration.transitions:
        raise exceptions.InvalidDeclaration(
            "nothing is declared. Say created=True, updated=True, deleted=True or events={…}."
        )
    schema = declaration.payload.schema()
    taken = set(OURS) & set(schema.get("properties", ()) if schema else ())
    if taken and (UPDATED in declaration.names or declaration.transitions):
        raise exceptions.InvalidDeclaration(
            f"the payload has {', '.join(sorted(taken))}, which updates carry for what has changed. "
            "Call it otherwise, or leave it out with exclude=."
        )


def _names(model: type[models.Model], prefix: str | None, **kinds: object) -> dict[str, str]:
    start = model._meta.model_name if prefix is None else prefix
    names = {}
    for kind, said in kinds.items():
        if isinstance(said, str) and said:
            names[kind] = said
        elif said is True or (kind == UPDATED and said):
            names[kind] = f"{start}.{kind}"
        elif said:
            raise exceptions.InvalidDeclaration(f"{kind} must be True or the name of an event type, not {said!r}.")
    return names


def _watched(
    model: type[models.Model], updated: object, payload: payloads.Payload, *, is_default: bool
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the attributes and the many-to-many fields whose change counts."""
    if isinstance(updated, bool | str):
        own = [field for field in model._meta.concrete_fields if _counts(field)]
        if payload.field_names is not None:
            own = [field for field in own if field.name in payload.field_names]
        keys = (payload.schema() or {}).get("properties", {})
        many = [field.name for field in model._meta.many_to_many if is_default or field.name in keys]
        return frozenset(field.attname for field in own), frozenset(many)
    if not isinstance(updated, Iterable):
        raise exceptions.InvalidDeclaration(f"updated must be True, or a list of fields, not {updated!r}.")
    attributes, named_many = set(), set()
    for name in updated:
        field = _field(model, name, "updated")
        if field.many_to_many:
            named_many.add(field.name)
        else:
            attributes.add(field.attname)
    return frozenset(attributes), frozenset(named_many)


def _counts(field: "models.Field[Any, Any]") -> bool:
    """Return whether a change of the field is news by itself: not of its own making, and nothing to keep to oneself."""
    generated = field.primary_key or getattr(field, "auto_now", False) or isinstance(field, models.GeneratedField)
    return not generated and not model_fields.is_secret(field)


def _transitions(model: type[models.Model], events: Mapping[str, object]) -> dict[str, tuple[Condition, str | None]]:
    if not isinstance(events, Mapping):
        raise exceptions.InvalidDeclaration("events must map names of event types to conditions.")
    found: dict[str, tuple[Condition, str | None]] = {}
    for name, given in events.items():
        condition = conditions.make(given)
        attribute = None
        if condition.field is not None:
            field = _field(model, condition.field, f"changed() of {name}")
            if field.many_to_many:
                raise exceptions.InvalidDeclaration(f"{name}: changed() takes a field of the row, not a relation.")
            attribute = field.attname
        found[name] = (condition, attribute)
    return found


def _field(model: type[models.Model], name: object, said_by: str) -> Any:
    known = [*model._meta.concrete_fields, *model._meta.many_to_many]
    try:
        field: Any = model._meta.get_field(str(name))
    except FieldDoesNotExist:
        field = None
    if field not in known:
        names = [each.name for each in known]
        hint = texts.near_miss(str(name), names) or f" It has {', '.join(names)}."
        raise exceptions.InvalidDeclaration(f"{model._meta.label} has no field {name!r}, which {said_by} names.{hint}")
    return field


def _described(payload: payloads.Payload, changing: frozenset[str] | None) -> dict[str, Any]:
    """Return the schema and example of an event's data; updates say what has changed as well."""
    schema, example = payload.schema(), payload.example()
    if schema is None or changing is None:
        return {"schema": schema, "example": example}
    names = {"type": "array", "items": {"type": "string"}}
    values, many = {"type": "object"}, {"type": "object", "additionalProperties": {"type": "array"}}
    added = {"changed": names, "previous": values, "added": many, "removed": many}
    schema = {
        **schema,
        "properties": {**schema.get("properties", {}), **added},
        "required": [*schema.get("required", []), "changed", "previous"],
    }
    if isinstance(example, dict):
        shown = next((name for name in sorted(changing) if name in example), None)
        was = {} if shown is None else {shown: example[shown]}
        example = {**example, "changed": sorted(was), "previous": was}
    return {"schema": schema, "example": example}
