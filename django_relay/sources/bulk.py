"""Bulk writes that tell: a queryset for declared models, whose bulk methods Django sends no signals for.

::

    class Invoice(models.Model):
        objects = RelayQuerySet.as_manager()

    class InvoiceQuerySet(RelayQuerySet): ...
    class InvoiceManager(models.Manager.from_queryset(InvoiceQuerySet)): ...

Each method writes as Django's does, in one transaction with its events, which are stored by one INSERT. What it costs,
and what it knows:

==============================================  ========================================================================
``create``, ``get_or_create``,                  as ``save()``
``update_or_create``
``bulk_create(objs)``                           no query more; ``created`` of each
``bulk_create(…, ignore_conflicts=True)``       no query more: the database returns the rows that it inserted, and these
                                               alone are ``created``
``bulk_create(…, update_conflicts=True)``       the rows in the way are read before (and locked, on PostgreSQL), and all
                                               of them after: ``created`` or ``updated``. A row that somebody else
                                               inserts in between is taken for ours on PostgreSQL
``bulk_update(objs, fields)``                   before comes from what was loaded; one query more if rows are missing
``update(…)``                                   the rows are read before (and locked, on PostgreSQL) and after; nothing
                                               more where nobody heeds the fields
``delete()``                                    the rows are read before (and locked, on PostgreSQL)
==============================================  ========================================================================

The asynchronous forms (``abulk_create``, …) do the same. A model without a declaration gets Django's own methods.
"""

from collections.abc import Collection, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, Self, TypeVar

from django.db import connections, models, transaction
from django.db.models import sql
from django.db.models.constants import OnConflict

from django_relay import context
from django_relay.sources import changes, declarations, differences, loaded
from django_relay.sources.changes import Change
from django_relay.sources.declarations import CREATED, DELETED, UPDATED, Declaration

M = TypeVar("M", bound=models.Model)

told_already: ContextVar[frozenset[tuple[Declaration, Any]]] = ContextVar(
    "django_relay.told_already", default=frozenset()
)
"""Rows whose deletion was told before Django's signals tell of it."""


class RelayQuerySet(models.QuerySet[M]):
    """A queryset whose bulk writes make events, see :mod:`django_relay.sources.bulk`."""

    is_told = False
    """Whether somebody else tells of what this queryset writes."""
    _inserted: list[M] | None = None
    """What an INSERT that passes over conflicts has inserted, where that is asked for."""

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]
        clone.is_told = self.is_told
        return clone

    def bulk_create(  # noqa: D102 - Django's own
        self,
        objs: Iterable[M],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[M]:
        objs = list(objs)
        concerned = self._concerning(CREATED, UPDATED if update_conflicts else CREATED)
        options: dict[str, Any] = {
            "batch_size": batch_size,
            "ignore_conflicts": ignore_conflicts,
            "update_conflicts": update_conflicts,
            "update_fields": update_fields,
            "unique_fields": unique_fields,
        }
        if not concerned or not objs:
            return super().bulk_create(objs, **options)
        self._for_write = True
        with transaction.atomic(self.db):
            if ignore_conflicts:
                self._inserted = []
                made = super().bulk_create(objs, **options)
                self._tell(concerned, [(CREATED, row, {}) for row in self._inserted])
            elif update_conflicts:
                before = self._in_the_way(objs, unique_fields or ())
                made = super().bulk_create(objs, **options)
                found = self._compared(before, [obj.pk for obj in made])
                rows = {row.pk: row for _kind, row, _was in found}
                for obj in made:
                    loaded.save(obj, differences.values_of(rows[obj.pk]), using=self.db)
                self._tell(concerned, found)
            else:
                made = super().bulk_create(objs, **options)
                for obj in made:
                    differences.of_save(obj, is_new=True, update_fields=None, using=self.db)
                self._tell(concerned, [(CREATED, obj, {}) for obj in made])
        return made

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(  # noqa: D102
        self, objs: Iterable[M], fields: Iterable[str], batch_size: int | None = None
    ) -> int:
        objs, fields = list(objs), list(fields)
        concerned = self._heeding(fields)
        if not concerned or not objs:
            return super().bulk_update(objs, fields, batch_size)
        self._for_write = True
        with transaction.atomic(self.db):
            quiet = self._chain()  # type: ignore[attr-defined]
            quiet.is_told = True
            count: int = models.QuerySet.bulk_update(quiet, objs, fields, batch_size)
            found: list[tuple[str, Any, dict[str, Any]]] = []
            for obj in objs if count == len(objs) else self._existing(objs):
                was, stored = differences.of_save(obj, is_new=False, update_fields=fields, using=self.db)
                found.append((UPDATED, stored, was))
            self._tell(concerned, found, written=differences.attributes(self.model, fields))
        return count

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def update(self, **kwargs: Any) -> int:  # noqa: D102
        concerned = self._heeding(kwargs)
        if not concerned or self.query.is_sliced or self.query.combinator:
            return super().update(**kwargs)
        self._for_write = True
        with transaction.atomic(self.db):
            before = {row.pk: row for row in self._locked()}
            count = self._exactly(before).update(**kwargs)
            self._tell(concerned, self._compared(before, list(before)))
        self._result_cache = None
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def delete(self) -> tuple[int, dict[str, int]]:  # noqa: D102
        concerned = self._concerning(DELETED, DELETED)
        query: Any = self.query
        if not concerned or query.is_sliced or query.combinator or query.distinct_fields or query.values_select:
            return super().delete()
        self._for_write = True
        with transaction.atomic(self.db):
            found = [Change(each, DELETED, row) for row in self._locked() for each in concerned]
            changes.tell(found, using=self.db)
            token = told_already.set(told_already.get() | {change.key for change in found})
            try:
                return super().delete()
            finally:
                told_already.reset(token)

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _insert(self, objs: Sequence[M], fields: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        if self._inserted is None:
            return super()._insert(objs, fields, *args, **kwargs)  # type: ignore[misc]
        self._inserted += _insert_new(self.model, objs, fields, using=kwargs["using"])
        return []

    # --- what is concerned ---

    def _concerning(self, *kinds: str) -> list[Declaration]:
        if self.is_told or context.is_suppressed():
            return []
        found = declarations.concerning(self.model)
        return [each for each in found if set(kinds) & set(each.names) or (UPDATED in kinds and each.transitions)]

    def _heeding(self, names: Collection[str]) -> list[Declaration]:
        if self.is_told or context.is_suppressed():
            return []
        concerned = declarations.concerning(self.model)
        if not concerned:
            return []
        attributes = differences.attributes(self.model, names)
        return [each for each in concerned if each.heeds_writes_of(attributes) or changes.has_told(each, using=self.db)]

    # --- rows ---

    def _plain(self) -> models.QuerySet[M]:
        return models.QuerySet(self.model, using=self.db)

    def _locked(self) -> list[M]:
        """Return the rows of the queryset as they are, and let nobody change them before we do."""
        keys = self._chain().order_by()  # type: ignore[attr-defined]
        rows = self._plain().filter(pk__in=keys.values("pk"))
        return list(rows.select_for_update() if connections[self.db].features.has_select_for_update else rows)

    def _exactly(self, rows: Collection[Any]) -> models.QuerySet[M]:
        """Return the queryset, told of by us, of these rows alone: others may have come to fit it since."""
        quiet: Self = self._chain()  # type: ignore[attr-defined]
        quiet.is_told = True
        alone = connections[self.db].vendor == "sqlite"  # where nobody else writes meanwhile
        return quiet if alone or len(rows) > _MOST_KEYS else quiet.filter(pk__in=list(rows))

    def _existing(self, objs: Iterable[M]) -> list[M]:
        keys = set(self._plain().filter(pk__in=[obj.pk for obj in objs]).values_list("pk", flat=True))
        return [obj for obj in objs if obj.pk in keys]

    def _in_the_way(self, objs: Sequence[M], unique_fields: Iterable[str]) -> dict[Any, M]:
        """Return the rows that inserting these objects conflicts with."""
        names = [self.model._meta.pk.name if name == "pk" else name for name in unique_fields]
        attributes = [self.model._meta.get_field(name).attname for name in names]  # type: ignore[union-attr]
        found: dict[Any, M] = {}
        for start in range(0, len(objs), _CONDITIONS):
            same = models.Q()
            for obj in objs[start : start + _CONDITIONS]:
                values = {name: getattr(obj, name) for name in attributes}
                if values and None not in values.values():
                    same |= models.Q(**values)
            if same:
                rows = self._plain().filter(same)
                locks = connections[self.db].features.has_select_for_update
                found.update({row.pk: row for row in (rows.select_for_update() if locks else rows)})
        return found

    def _compared(self, before: dict[Any, M], keys: Sequence[Any]) -> list[tuple[str, M, dict[str, Any]]]:
        """Return what became of rows, read again; those that were not there before are created."""
        found: list[tuple[str, M, dict[str, Any]]] = []
        fields = differences.fields_of(self.model)
        for start in range(0, len(keys), _MOST_KEYS):
            for row in self._plain().filter(pk__in=keys[start : start + _MOST_KEYS]):
                old = before.get(row.pk)
                if old is None:
                    found.append((CREATED, row, {}))
                    continue
                now, then = differences.values_of(row), differences.values_of(old)
                was = {
                    name: then[name] for name in fields if not differences.is_same(fields[name], then[name], now[name])
                }
                found.append((UPDATED, row, was))
        return found

    def _tell(
        self,
        concerned: Sequence[Declaration],
        found: Iterable[tuple[str, M, dict[str, Any]]],
        *,
        written: Collection[str] | None = None,
    ) -> None:
        told = [
            Change(each, kind, row, was, written)
            for kind, row, was in found
            for each in concerned
            if kind == CREATED or was or each.unchanged
        ]
        changes.tell(told, using=self.db)


def _insert_new(model: type[M], objs: Sequence[M], fields: Sequence[Any], *, using: str) -> list[M]:
    """Insert the objects that nothing is in the way of, and return these rows as the database has them."""
    query = sql.InsertQuery(model, on_conflict=OnConflict.IGNORE)
    query.insert_values(fields, list(objs))
    compiler: Any = query.get_compiler(using=using)
    columns = model._meta.concrete_fields
    compiler.returning_fields = columns
    rows: list[Any] = []
    with connections[using].cursor() as cursor:
        for statement, parameters in compiler.as_sql():
            cursor.execute(statement, parameters)
            rows += cursor.fetchall()
    converters = compiler.get_converters([column.get_col(model._meta.db_table) for column in columns])
    if converters:
        rows = list(compiler.apply_converters(rows, converters))
    names = [column.attname for column in columns]
    return [model.from_db(using, names, tuple(row)) for row in rows]


_MOST_KEYS = 10_000
_CONDITIONS = 100
