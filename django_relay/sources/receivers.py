"""What is done to the class of a declared model, and what is heard of its rows.

``save()`` outside of any transaction opens one, for Django sends ``post_save`` after the row was committed there.
Inside of one nothing is added. Deletions are told of before they are done (``pre_delete``), in Django's own
transaction, while the row and what belongs to it can still be read.
"""

import functools
from collections.abc import Collection
from typing import Any

from django.db import connections, models, router, transaction
from django.db.models.signals import post_save, pre_delete

from django_relay import context
from django_relay.sources import bulk, changes, declarations, differences, loaded, unwatched
from django_relay.sources.changes import Change
from django_relay.sources.declarations import CREATED, DELETED, UPDATED, Declaration


def connect(model: type[models.Model], declaration: Declaration) -> None:
    """Hear of changes of a model's rows, which a declaration is about: its own, or one that it is made from."""
    post_save.connect(_saved, sender=model, dispatch_uid=__name__)
    is_same_table = model._meta.concrete_model is declaration.model._meta.concrete_model
    if DELETED in declaration.names and is_same_table:  # Django tells of a child's deletion by its parent's, too
        pre_delete.connect(_deleting, sender=model, dispatch_uid=__name__)
    _wrap(model)
    unwatched.watch(model)


def prepared(sender: type[models.Model], **kwargs: Any) -> None:
    """Do the same to what is made from declared models later."""
    for declaration in declarations.concerning(sender):
        connect(sender, declaration)


def _wrap(model: type[models.Model]) -> None:
    if getattr(model, "django_relay_is_wrapped", False):
        return
    model.django_relay_is_wrapped = True  # type: ignore[attr-defined]
    save_base, refresh = model.save_base, model.refresh_from_db
    from_db = model.from_db.__func__  # type: ignore[attr-defined]

    @functools.wraps(save_base)
    def atomic_save_base(
        self: models.Model,
        raw: bool = False,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Any = None,
    ) -> None:
        using = using or router.db_for_write(type(self), instance=self)
        arguments = (raw, force_insert, force_update, using, update_fields)
        if connections[using].in_atomic_block:
            return save_base(self, *arguments)
        with transaction.atomic(using):
            return save_base(self, *arguments)

    @functools.wraps(from_db)
    def remembering_from_db(cls: Any, db: str | None, field_names: Any, values: Any, **kwargs: Any) -> Any:
        instance = from_db(cls, db, field_names, values, **kwargs)
        loaded.remember(instance, field_names, values)
        return instance

    @functools.wraps(refresh)
    def remembering_refresh(
        self: models.Model, using: str | None = None, fields: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        fields = None if fields is None else list(fields)
        refresh(self, using, fields, *args, **kwargs)
        every = differences.fields_of(type(self))
        loaded.refresh(self, every if fields is None else differences.attributes(type(self), fields))

    model.save_base = atomic_save_base  # type: ignore[method-assign]
    model.from_db = classmethod(remembering_from_db)  # type: ignore[method-assign,assignment,arg-type]
    model.refresh_from_db = remembering_refresh  # type: ignore[method-assign]


# --- what Django tells ---


def _saved(
    sender: type[models.Model],
    instance: models.Model,
    created: bool,
    raw: bool,
    using: str,
    update_fields: Collection[str] | None = None,
    **kwargs: Any,
) -> None:
    if raw:
        return
    concerned = declarations.concerning(sender)
    if not concerned:
        return
    was, stored = differences.of_save(instance, is_new=created, update_fields=update_fields, using=using)
    kind = CREATED if created else UPDATED
    written = None if update_fields is None else differences.attributes(sender, update_fields)
    told = [
        Change(each, kind, stored, was, written)
        for each in concerned
        if (kind in each.names or each.coalesce) and (created or was or each.unchanged)
    ]
    changes.tell(told, using=using)


def _deleting(sender: type[models.Model], instance: models.Model, using: str, **kwargs: Any) -> None:
    """Tell of a deletion while the row and what belongs to it are there; Django's transaction has begun."""
    if context.is_suppressed():
        return
    told = [
        change
        for each in declarations.concerning(sender)
        if DELETED in each.names
        and each.model._meta.concrete_model is sender._meta.concrete_model
        and (change := Change(each, DELETED, instance)).key not in bulk.told_already.get()
    ]
    changes.tell(told, using=using)
