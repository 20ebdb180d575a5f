"""Declarations in code: what each installed app's ``webhooks.py`` registers.

A faulty declaration does not stop Django from starting: it is kept as a :class:`Fault` with the place it came from,
which the system checks report as errors, and the event type stays undeclared.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django_relay import exceptions
from django_relay.rules import event_names, schemas, texts


@dataclass(frozen=True)
class WebhookDefinition:
    """The declaration of one event type.

    Args:
        name: dot-separated lower-case words, such as ``invoice.paid``.
        description: what happened when this event is sent; shown to tenants.
        group: a heading for the catalog's pages.
        schema: JSON Schema 2020-12 of ``data``; ``None`` takes any JSON. Remote references are never fetched.
        schema_version: sent with each event when set.
        version: the version of the event type, for the catalog's pages.
        example: ``data`` as it might be; must fit the schema.
        application: the slug of the application it belongs to.
        replaced_by: the event type to use instead, named in the error once this one is deprecated.
        metadata: anything of the host's own.
    """

    name: str
    description: str = ""
    group: str = ""
    schema: Mapping[str, Any] | bool | None = None
    schema_version: str = ""
    version: str = ""
    example: Any = None
    application: str = "default"
    replaced_by: str = ""
    metadata: Mapping[str, Any] | None = None

    def check(self) -> None:
        """Check the definition against itself.

        Raises:
            InvalidEventName: ``name`` or ``replaced_by`` is no event type's name, or ``name`` a reserved one.
            InvalidSchema: ``schema`` is not JSON Schema 2020-12, or needs a remote reference.
            InvalidDefinition: the schema refuses the example, the type replaces itself, or a value cannot be stored.
        """
        event_names.validate_own_name(self.name)
        self._check_storable()
        if self.replaced_by:
            event_names.validate_name(self.replaced_by)
            if self.replaced_by == self.name:
                raise exceptions.InvalidDefinition(f"{self.name} cannot be replaced by itself.")
        if self.schema is None:
            return
        validator = schemas.compile(self.schema)
        found = schemas.errors(validator, self.example) if self.example is not None else []
        if found:
            raise exceptions.InvalidDefinition(
                f"The example of {self.name} does not fit its own schema: {'; '.join(found)}"
            )

    def _check_storable(self) -> None:
        for name, length in _LONGEST.items():
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > length or not texts.is_storable(value):
                raise exceptions.InvalidDefinition(
                    f"{self.name}: {name} must be text of at most {length} characters, without NUL."
                )
        for name in ("example", "metadata"):
            value = getattr(self, name)
            try:
                json.dumps(value)
            except (TypeError, ValueError, RecursionError) as error:
                raise exceptions.InvalidDefinition(f"{self.name}: {name} is not JSON: {error}") from error
            if not texts.is_storable_json(value):
                raise exceptions.InvalidDefinition(f"{self.name}: {name} holds NUL, half of a surrogate pair or NaN.")


_LONGEST = {"description": 10_000, "group": 128, "schema_version": 64, "version": 64, "application": 64}


@dataclass(frozen=True)
class Fault:
    """A declaration that cannot be used: what is wrong, and where it stands."""

    message: str
    place: str


@dataclass
class Registry:
    """All declarations of this process: each definition with the place it stands at, by application and name."""

    definitions: dict[tuple[str, str], tuple[WebhookDefinition, str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def add(self, definition: WebhookDefinition, *, place: str) -> None:
        """Take a declaration, or keep it as a fault."""
        try:
            definition.check()
        except exceptions.RelayError as error:
            self.faults.append(Fault(str(error), place))
            return
        key = (definition.application, definition.name)
        _first, first_place = self.definitions.setdefault(key, (definition, place))
        if first_place == place:
            self.definitions[key] = (definition, place)
        else:
            self.faults.append(Fault(f"{definition.name} is declared twice; first at {first_place}.", place))


_registry = Registry()


def register(definition: WebhookDefinition) -> WebhookDefinition:
    """Declare an event type in code and return the definition.

    Call it in an installed app's ``webhooks.py``. For types that are known only at run time use
    :func:`django_relay.register_event_type`.
    """
    caller = sys._getframe(1)
    declare(definition, place=f"{caller.f_code.co_filename}:{caller.f_lineno}")
    return definition


def declare(definition: WebhookDefinition, *, place: str) -> None:
    """Take the declaration of an event type that stands at a place, or keep it as a fault."""
    _registry.add(definition, place=place)


def definitions() -> list[WebhookDefinition]:
    """Return the declared event types, in the order of their declaration."""
    return [definition for definition, _place in _registry.definitions.values()]


def find(application: str, name: str) -> WebhookDefinition | None:
    """Return the declaration of an event type, if code declares it."""
    return _registry.definitions.get((application, name), (None, ""))[0]


def faults() -> list[Fault]:
    """Return the declarations that cannot be used."""
    return list(_registry.faults)


@contextmanager
def isolated() -> Iterator[Registry]:
    """Work with an empty registry for a while, for tests of declarations."""
    global _registry  # noqa: PLW0603 - the registry is this module's one state
    kept, _registry = _registry, Registry()
    try:
        yield _registry
    finally:
        _registry = kept
