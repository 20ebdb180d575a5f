"""``HOOK_EVENTS`` of drf-hooks and django-rest-hooks, so that a migrating project pastes its dict.

::

    HOOK_EVENTS = {
        "book.added": "bookstore.Book.created+",   # of the global tenant
        "book.changed": "bookstore.Book.updated",  # of the tenant str(book.user_id)
        "book.removed": "bookstore.Book.deleted",
        "book.read": "bookstore.Book.read",        # a type only: emit() it where hook_event was sent
        "user.logged_in": None,                    # a type only: emit() it where raw_hook_event was sent
    }

Whose events these are:

- Without ``+`` they are of the row's ``user``, as there: the tenant is the user's primary key as text, ``"7"``; of a
  row that is a user, its own. Register the endpoints that the users' hooks become with the same ``tenant_id``. A model
  without ``user`` is refused; one that belongs to an account says so in the full spelling, with its own tenant.
- ``+`` sent to the hooks of *all users*. Tenants are isolated here, and an event has one: it is of the global tenant
  ``""``, and reaches the endpoints that are registered without a tenant. Where every user must go on hearing of it,
  give the model a tenant, or ``emit`` it for each.

What else differs: nothing is sent for a save that changed nothing; the data is flat, where theirs without a serializer
was ``{"model", "pk", "fields"}``; and names are lower case.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import models

from django_relay import exceptions
from django_relay.rules import event_names, texts

ACTIONS = ("created", "updated", "deleted")
_MISSPELT = {"create": "created", "update": "updated", "delete": "deleted"}


@dataclass(frozen=True)
class Declaration:
    """What the entries of one model and one kind of tenant declare, or event types that the project emits itself."""

    event_types: tuple[str, ...]
    model: str = ""
    """The model's label; ``""`` where there is nothing to listen to."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """For ``model_signals.register(model, **arguments)``: each action with its event type's name, and the tenant."""


def parse(hook_events: Mapping[str, str | None], *, serializers: Mapping[str, str] | None = None) -> list[Declaration]:
    """Return what ``HOOK_EVENTS`` declares; ``serializers`` is ``HOOK_SERIALIZERS``. Call it once the apps are ready.

    Raises:
        InvalidDeclaration: entries cannot be used; the message names all of them, and what would be right.
    """
    problems: list[str] = []
    types_only: list[str] = []
    found: defaultdict[tuple[str, bool], dict[str, str]] = defaultdict(dict)
    taken: dict[tuple[str, str], str] = {}
    for name, target in hook_events.items():
        try:
            model, action, is_everybodys = _read(name, target)
            if not action:
                types_only.append(name)
                continue
            first = taken.setdefault((model, action), name)
            if first != name:
                raise exceptions.InvalidDeclaration(f"{model}.{action} is {first!r} already.")
            found[model, is_everybodys][action] = name
        except exceptions.RelayError as error:
            problems.append(f"{name!a}: {error}")
    if problems:
        raise exceptions.InvalidDeclaration(f"HOOK_EVENTS: {' '.join(problems)}")
    declarations = [
        Declaration(tuple(names.values()), model, _arguments(names, model, is_everybodys, serializers or {}))
        for (model, is_everybodys), names in found.items()
    ]
    return declarations + ([Declaration(tuple(types_only))] if types_only else [])


def owner(instance: models.Model) -> str | None:
    """Return the tenant of a row as those packages have it: its user's primary key, ``None`` where it has no user."""
    own: Any = {item.name: item for item in instance._meta.concrete_fields}.get("user")
    if own is not None and own.is_relation and own.target_field.primary_key:
        key = getattr(instance, own.attname)  # the user itself is not fetched
    else:
        user = getattr(instance, "user", instance if isinstance(instance, get_user_model()) else None)
        key = getattr(user, "pk", None)
    return None if key is None else str(key)


def nobody_in_particular(instance: models.Model) -> str:
    """Return the global tenant, whatever the row."""
    return ""


def _read(name: str, target: Any) -> tuple[str, str, bool]:
    """Return the label of the model, the action (``""`` for what is no change of a row), and whether it has a ``+``."""
    _check_name(name)
    if target is None or target == "":
        return "", "", False
    if not isinstance(target, str):
        raise exceptions.InvalidDeclaration("give 'app.Model.action', or None for an event of your own.")
    label, _, action = target.removesuffix("+").rpartition(".")
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        known = [known._meta.label for known in apps.get_models()]
        raise exceptions.InvalidDeclaration(
            f"there is no model {label!r}.{texts.near_miss(label, known) or ' Give app.Model.action.'}"
        ) from None
    if action in _MISSPELT:
        raise exceptions.InvalidDeclaration(f"write {_MISSPELT[action]!r}, not {action!r}.")
    is_everybodys = target.endswith("+")
    if action not in ACTIONS:
        return "", "", is_everybodys
    if not is_everybodys and not hasattr(model, "user") and not issubclass(model, get_user_model()):
        raise exceptions.InvalidDeclaration(
            f"{model._meta.label} has no user whose event it could be. End it with '+' for the global tenant, or "
            "declare the model in full, with its tenant."
        )
    return model._meta.label, action, is_everybodys


def _check_name(name: Any) -> None:
    try:
        event_names.validate_own_name(name)
    except exceptions.InvalidEventName as error:
        lower = name.lower().replace(" ", "_") if isinstance(name, str) else ""
        try:
            event_names.validate_own_name(lower)
        except exceptions.InvalidEventName:
            raise error from None
        raise exceptions.InvalidDeclaration(f"{error} Call it {lower!r}, and tell those who subscribed.") from None


def _arguments(
    names: Mapping[str, str], model: str, is_everybodys: bool, serializers: Mapping[str, str]
) -> dict[str, Any]:
    arguments: dict[str, Any] = {**names, "tenant": nobody_in_particular if is_everybodys else owner}
    return {**arguments, "serializer": serializers[model]} if model in serializers else arguments
