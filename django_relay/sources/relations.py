"""Many-to-many fields: what was added to a row's relation and removed from it, as an update of that row.

A change may come from either side: ``tag.invoices.add(invoice)`` updates the invoice as ``invoice.tags.add(tag)`` does.
The rows are read again, in one query, since no instance says what the other side holds; ``remove()`` and
``clear()`` cost one query more, for what is there to be removed. Rows of a ``through`` model that are written directly
are not seen: declare that model.
"""

from collections import defaultdict
from typing import Any

from django.db import models
from django.db.models.signals import m2m_changed

from django_relay import context
from django_relay.sources import changes, declarations
from django_relay.sources.changes import Change
from django_relay.sources.declarations import CREATED, UPDATED, Declaration

_REMOVED = "django_relay_removed"
_Pairs = dict[Any, set[Any]]


def connect(declaration: Declaration) -> None:
    """Hear of the many-to-many fields that a declaration watches, or whose values its ``created`` tells."""
    told = (declaration.payload.schema() or {}).get("properties", {}) if CREATED in declaration.names else {}
    for field in declaration.model._meta.many_to_many:
        if field.name in told or (UPDATED in declaration.names and field.name in declaration.many):
            m2m_changed.connect(_changed, sender=field.remote_field.through, dispatch_uid=__name__)


def _changed(
    sender: type[models.Model],
    action: str,
    instance: models.Model,
    reverse: bool,
    pk_set: set[Any] | None,
    using: str,
    **kwargs: Any,
) -> None:
    field = _field(sender)
    if field is None or context.is_suppressed():
        return
    if action in ("pre_remove", "pre_clear"):  # Django says what is to be removed, whether it is there or not
        setattr(instance._state, _REMOVED, _related(sender, field, instance, pk_set, using, is_reverse=reverse))
    elif action in ("post_remove", "post_clear"):
        removed = instance._state.__dict__.pop(_REMOVED, set())
        _tell(field, _pairs(instance, field, removed, is_reverse=reverse), "removed", using)
    elif action == "post_add":
        _tell(field, _pairs(instance, field, pk_set or set(), is_reverse=reverse), "added", using)


def _field(through: type[models.Model]) -> Any:
    """Return the many-to-many field of a declared model whose rows are kept in a table."""
    for declaration in declarations.everything():
        for field in declaration.model._meta.many_to_many:
            if field.remote_field.through is through:
                return field
    return None


def _pairs(instance: models.Model, field: Any, pks: set[Any], *, is_reverse: bool) -> _Pairs:
    """Return what was related to each row of the field's own model, by primary key."""
    if is_reverse:
        return {pk: {instance.pk} for pk in pks}
    pairs: _Pairs = {instance.pk: set(pks)} if pks else {}
    if field.remote_field.symmetrical:  # Django tells of one side only
        for pk in pks:
            pairs.setdefault(pk, set()).add(instance.pk)
    return pairs


def _related(
    through: type[models.Model],
    field: Any,
    instance: models.Model,
    pks: set[Any] | None,
    using: str,
    *,
    is_reverse: bool,
) -> set[Any]:
    """Return the primary keys, of these or of all, that an instance is related to."""
    mine, others = field.m2m_field_name(), field.m2m_reverse_field_name()
    if is_reverse:
        mine, others = others, mine
    rows = through._default_manager.using(using).filter(**{mine: instance})
    if pks is not None:
        rows = rows.filter(**{f"{others}__in": pks})
    return set(rows.values_list(f"{others}__pk", flat=True))


def _tell(field: Any, pairs: _Pairs, how: str, using: str) -> None:
    told: list[Change] = []
    rows: dict[type[models.Model], dict[Any, models.Model]] = defaultdict(dict)
    for declaration in declarations.everything():
        model = declaration.model
        if field not in model._meta.many_to_many:
            continue
        if model not in rows:
            rows[model] = model._base_manager.using(using).in_bulk(list(pairs))
        told += [
            Change(declaration, UPDATED, rows[model][pk], **{how: {field.name: others}})
            for pk, others in pairs.items()
            if pk in rows[model]
        ]
    changes.tell(told, using=using)
