"""How the hot statements are sent to PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections


@contextmanager
def cursor(using: str) -> Iterator[Any]:
    """Give a cursor that sends parameters beside the statement and reads binary answers.

    Django's own writes the parameters into the statement: for a batch of rows, quoting here and unquoting there cost
    about as much as the work. With psycopg 2, which cannot, and before the first connection, it is Django's own; JSON
    may therefore come as text or read.
    """
    connection = connections[using]
    raw = _raw(connection.connection)
    if raw is None:
        found = connection.cursor()
    else:
        found = connection.make_debug_cursor(raw) if connection.queries_logged else connection.make_cursor(raw)
    with found:
        yield found


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
