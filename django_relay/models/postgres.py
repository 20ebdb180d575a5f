"""How the hot statements are sent to PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

_KEPT_AFTER = 5
_own_sessions: set[str] = set()


def keep_plans(using: str, *, is_safe: bool) -> None:
    """Say whether the sessions of the database ``using`` are known to be this process's own.

    Behind a pooler that gives them away by transaction, as PgBouncer may, a statement that was prepared is soon in
    another's session. Django therefore prepares none; a project that does by its own OPTIONS has decided for itself.
    """
    (_own_sessions.add if is_safe else _own_sessions.discard)(using)


class OwnWrapper:
    """One of Django's ``execute_wrapper`` that leaves statements as they are."""


def is_wrapped(using: str) -> bool:
    """Return whether one of the host's ``execute_wrapper`` may change what is sent, as django-pghistory's do.

    It expects then what Django's own cursors do: statements with the parameters in them, one at a time.
    """
    return any(not isinstance(found, OwnWrapper) for found in connections[using].execute_wrappers)


@contextmanager
def cursor(using: str, *, keeps_plan: bool = False) -> Iterator[Any]:
    """Give a cursor that sends parameters beside the statement and reads binary answers.

    With ``keeps_plan`` the server keeps the plan of what is executed again and again, where that is safe
    (:func:`keep_plans`): making one takes longer than a small batch. Only for statements whose best plan is the same
    whatever the parameters.

    Django's own writes the parameters into the statement: for a batch of rows, quoting here and unquoting there cost
    about as much as the work. With psycopg 2, which cannot, before the first connection, and where the host changes
    what is sent (:func:`is_wrapped`), it is Django's own; JSON may therefore come as text or read.
    """
    connection = connections[using]
    raw = None if is_wrapped(using) else _raw(connection.connection)
    if raw is None:
        found = connection.cursor()
    else:
        found = connection.make_debug_cursor(raw) if connection.queries_logged else connection.make_cursor(raw)
    with found:
        if not keeps_plan or using not in _own_sessions or raw is None or raw.connection.prepare_threshold is not None:
            yield found
            return
        raw.connection.prepare_threshold = _KEPT_AFTER
        try:
            yield found
        finally:
            raw.connection.prepare_threshold = None


def takes_several(using: str) -> bool:
    """Return whether Django's own cursors can send several statements in one go, with parameters."""
    session = connections[using].connection
    try:
        import psycopg  # noqa: PLC0415 - only where PostgreSQL is used
    except ImportError:
        return False
    return isinstance(session, psycopg.Connection) and issubclass(session.cursor_factory, psycopg.ClientCursor)


def is_in_order(using: str) -> bool:
    """Return whether the session takes another statement: none has failed in its transaction, and it is not lost."""
    session = connections[using].connection
    try:
        from psycopg.pq import TransactionStatus as Status  # noqa: PLC0415 - only where PostgreSQL is used
    except ImportError:
        return session is not None
    return session is not None and session.info.transaction_status in {Status.IDLE, Status.INTRANS}


def _raw(session: Any) -> Any:
    try:
        import psycopg  # noqa: PLC0415 - only where PostgreSQL is used
    except ImportError:
        return None
    if not isinstance(session, psycopg.Connection):
        return None
    raw = psycopg.Cursor(session)
    raw.format = psycopg.pq.Format.BINARY
    return raw
