"""Whose an event of a row is: what the ``tenant=`` of a declaration says.

=============================================  ========================================================================
``"customer_id"``, ``"order__customer_id"``    a field of the row, or a path over relations to one (a relation that is
                                               not loaded costs a query); a relation itself stands for its id
a callable, ``"billing.tenants.of_invoice"``   what it returns for the row (a dotted path has a dot, a field's none)
``constant("acme")``                           always this tenant
``""``                                         the global tenant
=============================================  ========================================================================

``with tenant("acme"):`` goes before all of them. Ids that are no text become text. Where none is found (``None``, or
the empty text of a field), the event is not stored but kept as a publish failure, unless the declaration says
``tenant_if_none``: another tenant, or ``""`` for the global one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db import models
from django.utils.module_loading import import_string

from django_relay import context, exceptions
from django_relay.rules import texts

Finder = Callable[[Any], Any]


@dataclass(frozen=True)
class Constant:
    """One tenant for all rows. Make it with :func:`constant`."""

    tenant_id: str


def constant(tenant_id: str) -> Constant:
    """Return what a declaration's ``tenant`` is when all its rows are one tenant's."""
    return Constant(tenant_id)


@dataclass(frozen=True)
class Tenant:
    """Finds the tenant of a row."""

    find: Finder
    if_none: str | None

    def of(self, instance: models.Model) -> str:
        """Return the tenant of a row's events.

        Raises:
            InvalidEvent: ``no_tenant``, none is found and the declaration does not say what then.
        """
        said = context.current_tenant()
        if said is not None:
            return said
        found = self.find(instance)
        if found is not None and (tenant_id := str(found)):
            return tenant_id
        if self.if_none is None:
            raise exceptions.InvalidEvent(
                f"No tenant is found for {type(instance).__name__} {instance.pk}. Say tenant_if_none='' in its "
                "declaration if the event is then the global tenant's.",
                code="no_tenant",
            )
        return self.if_none


def make(model: type[models.Model], given: object, *, if_none: object = None) -> Tenant:
    """Return the finder that a declaration's ``tenant`` and ``tenant_if_none`` describe.

    Raises:
        InvalidDeclaration: it is nothing of the table above, or a path that leads nowhere.
    """
    if if_none is not None and not _is_tenant(if_none):
        raise exceptions.InvalidDeclaration("tenant_if_none must be a tenant, or '' for the global tenant.")
    fallback = None if if_none is None else str(if_none)
    if isinstance(given, Constant) or given == "":
        tenant_id = given.tenant_id if isinstance(given, Constant) else ""
        if not _is_tenant(tenant_id):
            raise exceptions.InvalidDeclaration("constant() takes a tenant: text of at most 255 characters.")
        return Tenant(lambda instance: tenant_id, tenant_id)
    if isinstance(given, str):
        return Tenant(_imported(given) if "." in given else _path(model, given), fallback)
    if callable(given):
        return Tenant(given, fallback)
    raise exceptions.InvalidDeclaration(
        "tenant must say whose the events are: a field ('customer_id'), a path over relations ('order__customer_id'), "
        "a callable, constant('acme'), or '' for the global tenant."
    )


def _is_tenant(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 255 and texts.is_storable(value)


def _imported(path: str) -> Finder:
    try:
        found = import_string(path)
    except ImportError as error:
        raise exceptions.InvalidDeclaration(f"tenant {path!r} cannot be imported: {error}.") from error
    if not callable(found):
        raise exceptions.InvalidDeclaration(f"tenant {path!r} is no callable.")
    return found  # type: ignore[no-any-return]


def _path(model: type[models.Model], path: str) -> Finder:
    *relations, last = path.split("__")
    at = model
    for name in relations:
        field = _field(at, name, path)
        if not (field.many_to_one or field.one_to_one) or not isinstance(field.related_model, type):
            raise exceptions.InvalidDeclaration(f"tenant {path!r}: {at._meta.label}.{name} leads to no one row.")
        at = field.related_model
    field = _field(at, last, path)
    if not getattr(field, "concrete", False) or field.many_to_many:
        raise exceptions.InvalidDeclaration(f"tenant {path!r}: {at._meta.label}.{last} has no value of its own.")
    attribute = field.attname

    def find(instance: Any) -> Any:
        for name in relations:
            try:
                instance = getattr(instance, name)
            except ObjectDoesNotExist:
                return None
            if instance is None:
                return None
        return getattr(instance, attribute)

    return find


def _field(model: type[models.Model], name: str, path: str) -> Any:
    try:
        return model._meta.pk if name == "pk" else model._meta.get_field(name)
    except FieldDoesNotExist as error:
        known = [field.attname for field in model._meta.concrete_fields]
        hint = texts.near_miss(name, known) or f" It has {', '.join(known)}."
        message = f"tenant {path!r}: {model._meta.label} has no field {name!r}.{hint}"
        raise exceptions.InvalidDeclaration(message) from error
