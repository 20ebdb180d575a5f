"""How the pipeline writes.

One short transaction a step, retried when the database says "not now", and inserts that skip rows which exist already.
"""

import functools
import json
import operator
import sqlite3
import time
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, ParamSpec, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections, models, transaction

from django_relay import ids
from django_relay.fields import PrefixedIdField
from django_relay.models import postgres, savepoints
from django_relay.models.application import Application

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=models.Model)

_Fields = list["models.Field[Any, Any]"]
_Rows = Sequence[Mapping[str, Any]]


@functools.lru_cache(maxsize=64)
def _moment(value: datetime) -> str:
    """Return a time as text, once for all that a batch says of it."""
    return str(value)


def _text(value: object) -> str:
    return _moment(value) if isinstance(value, datetime) else str(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_text, check_circular=False)
BUSY_SECONDS = 5
"""After how long to ask again what the database did not take (:func:`is_unavailable`): what ``Retry-After`` says."""
_NOTED_EVERY = timedelta(minutes=1)
_TRIES = 4
_RETRIABLE_SQLSTATES = {
    "40001",
    "40P01",
    "55P03",
}  # serialization failure, deadlock, lock not available


def in_transaction(step: Callable[P, R]) -> Callable[P, R]:
    """Run a pipeline step in one transaction on the database given by its keyword argument ``using``.

    On SQLite the transaction begins with a write, whatever the connection's ``transaction_mode``, so that it never has
    to turn a read lock into a write lock. A locked file, a deadlock or a serialization failure is retried up to three
    times; inside a transaction of the caller's there is no retry, for it is theirs to repeat.
    """

    @functools.wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        using = str(kwargs["using"])
        connection = connections[using]
        for number in range(1, _TRIES + 1):
            try:
                with transaction.atomic(using):
                    if connection.vendor == "sqlite":
                        _take_write_lock(using)
                    return step(*args, **kwargs)
            except OperationalError as error:
                if number == _TRIES or connection.in_atomic_block or not _is_retriable(error):
                    raise
                time.sleep(0.05 * 2**number)
        raise AssertionError("unreachable")

    return run


def after_commit(call: Callable[..., object], *arguments: object, using: str) -> None:
    """Call with the arguments once the current transaction has committed; an error is logged, and stops nobody.

    Django's robust hooks log the name of what failed. A ``functools.partial`` has none, and would raise there.
    """

    def run() -> None:
        call(*arguments)

    transaction.on_commit(run, using=using, robust=True)


def is_unavailable(error: BaseException) -> bool:
    """Return whether the database failed a statement that it may take later: it is locked, too slow, full or gone.

    Django says the same of what is wrong for good, on SQLite alone: there a statement that names no table of the
    database's is an ``OperationalError``, too.
    """
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    return isinstance(error, OperationalError | InterfaceError) and code != sqlite3.SQLITE_ERROR


def reason_of(error: BaseException) -> str:
    """Return what the database said of a statement it failed, for the log: not the lines that quote the statement."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _take_write_lock(using: str) -> None:
    with connections[using].cursor() as cursor:
        table = connections[using].ops.quote_name(Application._meta.db_table)
        cursor.execute(f"DELETE FROM {table} WHERE 1 = 0")


def _is_retriable(error: DatabaseError) -> bool:
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    return sqlstate in _RETRIABLE_SQLSTATES or "database is locked" in str(error)


def alias_of(rows: "models.QuerySet[Any]") -> str:
    """Return the database that rows are written to: the one the queryset was given, else the router's for writing."""
    return rows.select_for_update().db


def note_time(row: models.Model, field: str, now: datetime, *, using: str) -> None:
    """Write when a row was last used into ``field``, at most once a minute.

    One guarded UPDATE, after the commit: a lock on the row is held for no longer than that, however long the
    transaction goes on in which the row was used. What it cannot write it logs.
    """
    old = now - _NOTED_EVERY
    noted: datetime | None = getattr(row, field)
    if noted is not None and noted > old:
        return

    def write() -> None:
        stale = models.Q(**{f"{field}__isnull": True}) | models.Q(**{f"{field}__lte": old})
        type(row)._default_manager.using(using).filter(stale, pk=row.pk).update(**{field: now})

    transaction.on_commit(write, using=using, robust=True)


def make(model: type[M], **values: Any) -> M:
    """Return an instance with values by attribute name: what the model's own call returns, at half the price.

    Django looks each keyword up among fields, relations and properties; values in their order it takes as they are.
    """
    instance = model(*[values.pop(name) if name in values else default() for name, default in _defaults(model)])
    if values:
        raise TypeError(f"{model.__name__} has no {', '.join(values)}.")
    return instance


def insert_new(rows: Sequence[M], *, using: str) -> set[Any]:
    """Insert the rows that no unique constraint refuses and return the ids of those inserted.

    ``INSERT … ON CONFLICT DO NOTHING RETURNING id`` in as few statements as the database's parameter limit allows.
    Unlike ``bulk_create(ignore_conflicts=True)`` it says which rows are new, and on SQLite does not swallow other
    violations. Needs no savepoint, so it leaves a caller's transaction usable.
    """
    if not rows:
        return set()
    names, computed = _columns(type(rows[0]))
    of = operator.attrgetter(*names)
    values = [dict(zip(names, of(row), strict=True)) for row in rows]
    for field in computed:
        for row, found in zip(rows, values, strict=True):
            found[field.attname] = field.pre_save(row, True)
    inserted = insert(type(rows[0]), values, using=using)
    for row in rows:
        if row.pk in inserted:
            row._state.adding = False
            row._state.db = using
    return inserted


def insert(model: type[models.Model], rows: Sequence[Mapping[str, Any]], *, using: str) -> set[Any]:
    """Insert rows that are values by field: :func:`insert_new` without instances, which cost more than the rows.

    Every row has the same fields. Those left out become null.
    """
    if not rows:
        return set()
    write = _insert_on_postgres if connections[using].vendor == "postgresql" else _insert_anywhere
    return write(model, rows, using)


def rewrite(row: M, names: Sequence[str], *, where: Mapping[str, Any], using: str) -> bool:
    """Update the one row that has the values ``where`` with some of the row's values; return whether it was there.

    ``QuerySet.update`` without what it costs to build one.
    """
    connection, meta = connections[using], type(row)._meta
    quote = connection.ops.quote_name
    fields = {field.attname: field for field in meta.concrete_fields}

    def marks(columns: Sequence[str]) -> list[str]:
        return [f"{quote(str(fields[name].column))} = %s" for name in columns]

    values = {**{name: getattr(row, name) for name in names}, **where}
    parameters = [fields[name].get_db_prep_save(values[name], connection) for name in (*names, *where)]
    statement = f"UPDATE {quote(meta.db_table)} SET {', '.join(marks(names))} WHERE {' AND '.join(marks(list(where)))}"
    return bool(savepoints.execute(statement, parameters, using=using))


@functools.cache
def _defaults(model: type[models.Model]) -> list[tuple[str, Callable[[], Any]]]:
    return [(field.attname, field.get_default) for field in model._meta.concrete_fields]


@functools.cache
def _columns(model: type[models.Model]) -> tuple[list[str], _Fields]:
    """Return the names of a model's columns, and the fields that compute their value for an insert."""
    fields = model._meta.concrete_fields
    computed = [
        field
        for field in fields
        # Dates have a way of their own, for what they do only if they are told to.
        if type(field).pre_save is not models.Field.pre_save
        and any(getattr(field, name, True) for name in ("auto_now", "auto_now_add"))
    ]
    return [field.attname for field in fields], computed


def _insert_anywhere(model: type[models.Model], rows: _Rows, using: str) -> set[Any]:
    """Insert by ``VALUES``, as every database has it."""
    connection = connections[using]
    fields = _fields_of(model, rows[0])
    size = max(connection.ops.bulk_batch_size(fields, list(rows)), 1)
    inserted: set[Any] = set()
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        marks = ", ".join(["(" + ", ".join(["%s"] * len(fields)) + ")"] * len(batch))
        values = [field.get_db_prep_save(row[field.attname], connection) for row in batch for field in fields]
        with connection.cursor() as cursor:
            cursor.execute(_statement(model, fields, f"VALUES {marks}", using) + _returning(model, using), values)
            inserted |= _ids(model, cursor.fetchall(), using)
    return inserted


def _insert_on_postgres(model: type[models.Model], rows: _Rows, using: str) -> set[Any]:
    """Insert one row by ``VALUES``, which is half the work for PostgreSQL, and many by one JSON document.

    Of that PostgreSQL parses one short statement, and Python writes it in one go.
    """
    form = _form(model, tuple(rows[0]), using)
    document = []
    for row in rows:
        new = dict(row)
        for name, prefix in form.keys.items():
            if new[name] is not None:
                new[name] = ids.to_hex(new[name], prefix=prefix)
        document.append(new)
    if len(document) == 1:
        [new] = document
        for name in form.documents:
            if new[name] is not None:
                new[name] = _ENCODER.encode(new[name])
        written = savepoints.execute(form.one, [new[name] for name in form.names], using=using)
        return {rows[0][form.key]} if written else set()
    by_key = {new[form.key]: row[form.key] for new, row in zip(document, rows, strict=True)}
    with postgres.cursor(using) as cursor:
        cursor.execute(form.many, [dumps(document)])
        return {by_key[key] for (key,) in cursor.fetchall()}


class _Form(NamedTuple):
    """How rows of a model that have some of its fields are inserted on PostgreSQL."""

    names: list[str]
    keys: dict[str, str]
    """The prefixes of those that are ids."""
    documents: set[str]
    """Those that are JSON."""
    key: str
    """The primary key."""
    one: str
    many: str


@functools.lru_cache(maxsize=64)
def _form(model: type[models.Model], names: tuple[str, ...], using: str) -> _Form:
    fields = _fields_of(model, names)
    types = {field.attname: str(field.db_type(connections[using])) for field in fields}
    key, quote = PrefixedIdField.of(model), connections[using].ops.quote_name
    marks = ", ".join(["%s"] * len(fields))
    many = f"SELECT {', '.join(types)} FROM {recordset(types)}"
    return _Form(
        names=list(types),
        keys={field.attname: kind.prefix for field in fields if (kind := _id_field(field)) is not None},
        documents={field.attname for field in fields if isinstance(field, models.JSONField)},
        key=key.attname,
        one=_statement(model, fields, f"VALUES ({marks})", using),
        # As the text that was sent: to read UUIDs and make ids of them takes longer than to look them up.
        many=f"{_statement(model, fields, many, using)} RETURNING encode(uuid_send({quote(str(key.column))}), 'hex')",
    )


def _fields_of(model: type[models.Model], names: Container[str]) -> _Fields:
    return [field for field in model._meta.concrete_fields if field.attname in names]


def _statement(model: type[models.Model], fields: _Fields, source: str, using: str) -> str:
    quote = connections[using].ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    return f"INSERT INTO {quote(model._meta.db_table)} ({columns}) {source} ON CONFLICT DO NOTHING"


def _returning(model: type[models.Model], using: str) -> str:
    return f" RETURNING {connections[using].ops.quote_name(str(PrefixedIdField.of(model).column))}"


def _ids(model: type[models.Model], rows: Sequence[tuple[Any, ...]], using: str) -> set[Any]:
    key, connection = PrefixedIdField.of(model), connections[using]
    return {key.from_db_value(found, None, connection) for (found,) in rows}


def _id_field(field: "models.Field[Any, Any]") -> PrefixedIdField | None:
    kind = getattr(field, "target_field", field)
    return kind if isinstance(kind, PrefixedIdField) else None


def recordset(columns: Mapping[str, str]) -> str:
    """Return the SQL of a ``FROM`` item, ``new``, that reads one parameter of :func:`dumps` as rows (PostgreSQL)."""
    types = ", ".join(f"{name} {kind.partition('(')[0]}" for name, kind in columns.items())  # varchar(n) would cut
    return f"jsonb_to_recordset(%s::jsonb) AS new ({types})"


def dumps(document: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as the JSON that :func:`recordset` reads; times and UUIDs become text."""
    return _ENCODER.encode(document)
