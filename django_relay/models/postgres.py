"""How the hot statements are sent to PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections


@contextmanager
def cursor(using: str) -> Iterator[Any]:
    """Give a cursor that sends parameters beside the statement and reads binary answers.

    Django's own writes the parameters into the statement: for a batch of rows, quoting here and unquoting there cost
    about as much as the work. Within a transaction only. With psycopg 2, which cannot, it is Django's own. JSON may come
    as text or read.
    """
    connection = connections[using]
    try:
        import psycopg  # noqa: PLC0415 - only where PostgreSQL is used
    except ImportError:
        psycopg = None  # type: ignore[assignment]
    if psycopg is None or not isinstance(connection.connection, psycopg.Connection):
        with connection.cursor() as found:
            yield found
        return
    raw: Any = psycopg.Cursor(connection.connection)
    raw.format = psycopg.pq.Format.BINARY
    with connection.make_debug_cursor(raw) if connection.queries_logged else connection.make_cursor(raw) as found:
        yield found
