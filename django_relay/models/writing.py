"""How the pipeline writes.

One short transaction a step, retried when the database says "not now", and inserts that skip rows which exist already.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from django.db import DatabaseError, OperationalError, connections, models, transaction

from django_relay.fields import PrefixedIdField
from django_relay.models.application import Application

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=models.Model)

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


def _take_write_lock(using: str) -> None:
    with connections[using].cursor() as cursor:
        table = connections[using].ops.quote_name(Application._meta.db_table)
        cursor.execute(f"DELETE FROM {table} WHERE 1 = 0")  # noqa: S608 - the name is the model's own


def _is_retriable(error: DatabaseError) -> bool:
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    return sqlstate in _RETRIABLE_SQLSTATES or "database is locked" in str(error)


def insert_new(rows: Sequence[M], *, using: str) -> set[Any]:
    """Insert the rows that no unique constraint refuses and return the ids of those inserted.

    ``INSERT … ON CONFLICT DO NOTHING RETURNING id`` in as few statements as the database's parameter limit allows.
    Unlike ``bulk_create(ignore_conflicts=True)`` it says which rows are new, and on SQLite does not swallow other
    violations. Needs no savepoint, so it leaves a caller's transaction usable.
    """
    if not rows:
        return set()
    connection = connections[using]
    fields = list(rows[0]._meta.concrete_fields)
    names = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    table = connection.ops.quote_name(rows[0]._meta.db_table)
    key = rows[0]._meta.pk
    assert isinstance(key, PrefixedIdField)  # noqa: S101 - as every table of ours has it
    size = max(connection.ops.bulk_batch_size(fields, rows), 1)
    inserted: set[Any] = set()
    with connection.cursor() as cursor:
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            marks = ", ".join(["(" + ", ".join(["%s"] * len(fields)) + ")"] * len(batch))
            values = [
                field.get_db_prep_save(field.pre_save(row, True), connection) for row in batch for field in fields
            ]
            cursor.execute(
                f"INSERT INTO {table} ({names}) VALUES {marks} ON CONFLICT DO NOTHING "  # noqa: S608 - names are the model's own
                f"RETURNING {connection.ops.quote_name(str(key.column))}",
                values,
            )
            inserted.update(key.from_db_value(found, None, connection) for (found,) in cursor.fetchall())
    for row in rows:
        if row.pk in inserted:
            row._state.adding = False
            row._state.db = using
    return inserted
