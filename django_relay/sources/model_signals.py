"""Changes of models become events, by declaration.

::

    @emits("invoice", tenant="customer_id", created=True, updated=("amount", "due_on"), deleted=True,
           events={"invoice.paid": changed("status", to="paid")})
    class Invoice(models.Model):
        objects = RelayQuerySet.as_manager()

or, without touching the model, ``register("billing.Invoice", "invoice", tenant=…, …)`` in an app's ``webhooks.py``, or
the same arguments in ``DJANGO_RELAY["MODELS"]["billing.Invoice"]``. drf-hooks' ``HOOK_EVENTS`` can be pasted there too.

What a declaration does to a model, and to no other: ``post_save`` is connected (``pre_delete`` where ``deleted`` is
declared, so that others keep Django's fast deletes; ``m2m_changed`` where relations are watched), ``from_db`` and
``refresh_from_db`` remember what was loaded, and ``save()`` outside of any transaction opens one, so that the row and
its event are one. It counts for subclasses and proxies too, once.

``loaddata`` (``raw=True``) and what is written under ``suppressed()`` makes no events.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from django.db import connections, models, router
from django.db.models.signals import class_prepared

from django_relay import conf, exceptions
from django_relay.catalog import registry
from django_relay.catalog.registry import Fault, WebhookDefinition
from django_relay.models import Event
from django_relay.rules import schemas, texts
from django_relay.sources import declarations, hook_events, receivers, relations
from django_relay.sources.bulk import RelayQuerySet
from django_relay.sources.conditions import changed
from django_relay.sources.declarations import Declaration
from django_relay.sources.tenants import constant

__all__ = ["RelayQuerySet", "changed", "constant", "emits", "register"]

M = TypeVar("M", bound=type[models.Model])


@dataclass(frozen=True)
class _Request:
    model: type[models.Model] | str
    arguments: Mapping[str, Any]
    place: str


@dataclass
class _Requests:
    waiting: list[_Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    own_types: set[tuple[str, str]] = field(default_factory=set)
    """Event types in the catalog that declarations brought."""
    is_connected: bool = False


_requests = _Requests()


def emits(prefix: str | None = None, **arguments: Any) -> Callable[[M], M]:
    """Declare, above a model, which of its changes become events. Takes what :func:`register` takes."""
    place = _place()

    def decorate(model: M) -> M:
        _request(_Request(model, {"prefix": prefix, **arguments}, place))
        return model

    return decorate


def register(  # noqa: D417 - **arguments are named one by one
    model: type[models.Model] | str, prefix: str | None = None, **arguments: Any
) -> None:
    """Declare which changes of a model become events.

    Args:
        model: the class or its label, ``"billing.Invoice"``. An abstract model stands for each model made from it.
        prefix: of the event types, ``<prefix>.created``; default the model's name.
        tenant: whose the events are: a field (``"customer_id"``), a path (``"order__customer_id"``), a callable or its
            dotted path, ``constant("acme")``, or ``""`` for the global tenant. Must be said.
        tenant_if_none: whose they are where that finds none; not said, they are kept as publish failures.
        created, deleted: ``True``, or the name of the event type.
        updated: ``True`` (any field that the payload shows, but automatic ones), fields, or the event type's name.
        events: more event types and the conditions of their transitions: ``{"invoice.paid": changed("status",
            to="paid")}``, or a predicate that takes the row.
        serializer, payload, fields, exclude: what the data is; see :mod:`django_relay.sources.payloads`.
        when: a predicate that takes the row: others make no events.
        unchanged: ``True`` makes an ``updated`` of a save that changed nothing, too.
        coalesce: ``False`` makes an event of each change of a row, and not one of all in a transaction.
        application: the slug of the application whose catalog and endpoints are meant.

    What is wrong with it is an error of ``manage.py check``; it never stops Django from starting.
    """
    _request(_Request(model, {"prefix": prefix, **arguments}, _place()))


def connect() -> None:
    """Put all declarations into force: those made so far, those in the settings, and then each as it is made."""
    for model, arguments, place in _configured():
        _requests.waiting.append(_Request(model, arguments, place))
    _requests.is_connected = True
    waiting, _requests.waiting = _requests.waiting, []
    for request in waiting:
        _declare(request)
    class_prepared.connect(receivers.prepared, dispatch_uid=__name__)


def faults() -> list[Fault]:
    """Return the declarations that cannot be used."""
    return list(_requests.faults)


def check() -> list[CheckMessage]:
    """Return what is wrong with declarations, and where events could not be stored beside their rows."""
    found: list[CheckMessage] = [
        Error(fault.message, hint=f"Declared at {fault.place}.", id="django_relay.E010") for fault in _requests.faults
    ]
    for declaration in declarations.everything():
        model = declaration.model
        apart = [
            alias
            for alias in connections
            if router.allow_migrate_model(alias, model) and not router.allow_migrate_model(alias, Event)
        ]
        if apart:
            message = (
                f"{model._meta.label} is kept in {', '.join(apart)}, where the routers allow no tables of ours: an "
                "event cannot commit with its row there, and is kept as a publish failure."
            )
            hint = (
                "Let allow_migrate() of DATABASE_ROUTERS have django_relay in every database of a declared model, and "
                "run a worker for each (relay_worker --database)."
            )
            found.append(Warning(message, hint=hint, id="django_relay.W012"))
    return found


@contextmanager
def isolated() -> Iterator[list[Fault]]:
    """Undo at the end what is declared meanwhile, for tests of declarations; give the list of its faults."""
    before, known, types = declarations.everything(), _requests.faults, set(_requests.own_types)
    _requests.faults = []
    try:
        with registry.isolated():
            yield _requests.faults
    finally:
        for declaration in declarations.everything():
            if declaration not in before:
                declarations.remove(declaration)
        _requests.faults, _requests.own_types = known, types


def _place() -> str:
    caller = sys._getframe(2)
    return f"{caller.f_code.co_filename}:{caller.f_lineno}"


def _request(request: _Request) -> None:
    if _requests.is_connected:
        _declare(request)
    else:
        _requests.waiting.append(request)


def _configured() -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Return what ``MODELS`` declares: the model, its arguments, and where that stands."""
    where = "DJANGO_RELAY['MODELS']"
    found: Any = conf.settings.MODELS
    if not isinstance(found, Mapping):
        return  # E002 says so
    pasted: dict[str, str | None] = {}
    for name, said in found.items():
        if said is None or isinstance(said, str):
            pasted[name] = said
        else:
            yield name, said if isinstance(said, Mapping) else {"": said}, f"{where}[{name!r}]"
    try:
        for declared in hook_events.parse(pasted):
            for name in declared.event_types if not declared.model else ():
                registry.declare(WebhookDefinition(name), place=where)
            if declared.model:
                yield declared.model, declared.arguments, where
    except exceptions.InvalidDeclaration as error:
        _requests.faults.append(Fault(str(error), where))


def _declare(request: _Request) -> None:
    try:
        models_found = _models(request.model)
        made = [declarations.make(model, place=request.place, **request.arguments) for model in models_found]
    except exceptions.RelayError as error:
        _requests.faults.append(Fault(str(error), request.place))
        return
    except TypeError as error:
        message = str(error).replace("_make()", "a declaration")
        _requests.faults.append(Fault(f"{request.model}: {message}", request.place))
        return
    _add_types(made)
    for declaration in made:
        declarations.add(declaration)
        for model in _family(declaration.model):
            receivers.connect(model, declaration)
        relations.connect(declaration)


def _models(given: type[models.Model] | str) -> list[type[models.Model]]:
    if isinstance(given, str):
        try:
            return [apps.get_model(given)]
        except (LookupError, ValueError) as error:
            known = [model._meta.label for model in apps.get_models()]
            hint = texts.near_miss(given, known) or " Give app.Model."
            raise exceptions.InvalidDeclaration(f"There is no model {given!r}.{hint}") from error
    if not given._meta.abstract:
        return [given]
    return [model for child in given.__subclasses__() if hasattr(child, "_meta") for model in _models(child)]


def _family(model: type[models.Model]) -> Iterator[type[models.Model]]:
    """Return a model with its proxies and the models that extend its table."""
    yield model
    for child in model.__subclasses__():
        if not child._meta.abstract:
            yield from _family(child)
        else:
            for each in child.__subclasses__():
                yield from _family(each)


def _add_types(made: Iterable[Declaration]) -> None:
    """Put the event types into the catalog, but those that the host has declared there in its own words."""
    found: dict[tuple[str, str], tuple[WebhookDefinition, str]] = {}
    for declaration in made:
        for definition in declaration.definitions():
            key = (definition.application, definition.name)
            first = found.get(key)
            # Of several models of one abstract one, whose rows have different schemas.
            differs = first is not None and first[0].schema != definition.schema
            common = replace(definition, schema=None, example=None) if differs else definition
            found[key] = (common, declaration.place)
    for key, (definition, place) in found.items():
        known = registry.find(*key)
        if known is None or key in _requests.own_types:
            registry.declare(definition, place=place)
            _requests.own_types.add(key)
        elif problems := _misfits(known, definition):
            message = f"{definition.name} is in the catalog with a schema that its rows do not fit: {problems}"
            _requests.faults.append(Fault(message, place))


def _misfits(known: WebhookDefinition, definition: WebhookDefinition) -> str:
    """Return what a schema of the host's refuses of the example of what rows will say."""
    if known.schema is None or definition.example is None:
        return ""
    return "; ".join(schemas.errors(schemas.compile(known.schema), definition.example))
