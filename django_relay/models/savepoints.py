"""Savepoints that cost PostgreSQL a round trip only where there is something to undo.

``transaction.atomic`` inside of a transaction sends ``SAVEPOINT`` and ``RELEASE`` around whatever its block does: two
round trips, for what is mostly one INSERT. A :func:`guarded` block sends its ``SAVEPOINT`` with the first statement, if
there is one; and its only write can go in one round trip with both (:func:`execute`).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_relay.models import postgres

# One inside of another of the same name hides it until it is released.
_SET = "SAVEPOINT django_relay"
_RELEASE = "RELEASE SAVEPOINT django_relay"
_UNDO = "ROLLBACK TO SAVEPOINT django_relay"
_numbers = itertools.count(1)


@contextmanager
def guarded(using: str) -> Iterator[None]:
    """Undo what the block does if it raises, as ``transaction.atomic`` does.

    It hears of what Django's ``execute_wrapper`` hear of. If the first thing that the block sends is none of that
    (``callproc``, ``copy``, the driver's own connection) and fails, there is nothing to go back to.
    """
    connection = connections[using]
    if connection.vendor != "postgresql" or not connection.in_atomic_block or connection.needs_rollback:
        with transaction.atomic(using):
            yield
        return
    guard = _Guard(connection)
    try:
        with guard.listening(), transaction.atomic(using, savepoint=False), guard.named():
            yield
        guard.release()
    except BaseException:
        guard.undo()
        raise


def expect_one(using: str) -> None:
    """Say that the guarded block still has one write to do, and no other: :func:`execute` may send all in one go."""
    guard = _guard(connections[using])
    if guard is not None and postgres.takes_several(using):
        guard.expects_one = True


def execute(statement: str, parameters: Sequence[Any], *, using: str) -> int:
    """Execute a statement that has no answer; return how many rows it wrote.

    Where :func:`expect_one` was said it stays once it is done, whatever the block raises after it.
    """
    connection = connections[using]
    guard = _guard(connection)
    if guard is None or not guard.expects_one or guard.is_set or postgres.is_wrapped(using):
        with postgres.cursor(using) as cursor:
            cursor.execute(statement, parameters)
            return int(cursor.rowcount)
    guard.expects_one, guard.is_set = False, True
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"{_SET}; {statement}; {_RELEASE}", parameters)
        finally:
            guard.is_set = not postgres.is_in_order(using)  # it is released, or else nothing was sent
        cursor.nextset()  # from the answer to SAVEPOINT to the statement's
        return int(cursor.rowcount)


class _Guard(postgres.OwnWrapper):
    """The savepoint of one block, and whether the database has it; stands between Django and the database."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.name = f"django_relay_{next(_numbers)}"
        """What Django knows it by; no other block's."""
        self.is_set = False
        self.expects_one = False

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Set the savepoint before the first statement, as one of Django's ``execute_wrapper``."""
        if not self.is_set:
            self.is_set = True
            try:
                self._send(_SET)  # by a cursor of its own: the statement's may be one that declares
            except BaseException:
                self.is_set = False
                raise
        return execute(sql, params, many, context)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear of statements; wrappers that the block puts beside and leaves are its own affair."""
        self.connection.execute_wrappers.append(self)
        try:
            yield
        finally:
            self.connection.execute_wrappers.remove(self)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Let hooks be noted as those of a savepoint; but it is not for Django's block to end it."""
        self.connection.savepoint_ids[-1] = self.name
        try:
            yield
        finally:
            self.connection.savepoint_ids[-1] = None  # type: ignore[call-overload]  # what it is of a block without

    def release(self) -> None:
        """End it, or undo what it is about if an error was swallowed after which Django takes no statement."""
        if self.connection.needs_rollback:
            self.undo()
        elif self.is_set:
            self._send(_RELEASE)

    def undo(self) -> None:
        """Make it as it was before the block: with Django, which must know that, and in the database."""
        hooks = self.connection.run_on_commit
        self.connection.run_on_commit = [hook for hook in hooks if self.name not in hook[0]]
        self.connection.needs_rollback = False
        if self.is_set:
            try:
                self._send(_UNDO)
                self._send(_RELEASE)
            except Error:
                self.connection.needs_rollback = True
        elif not postgres.is_in_order(self.connection.alias):
            self.connection.needs_rollback = True

    def _send(self, statement: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)


def _guard(connection: BaseDatabaseWrapper) -> _Guard | None:
    return next((found for found in reversed(connection.execute_wrappers) if isinstance(found, _Guard)), None)
