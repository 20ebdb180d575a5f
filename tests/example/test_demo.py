"""The demo, run as a newcomer runs it; it can fail, and it leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from example_project.processes import ROOT

pytestmark = pytest.mark.process

COMMAND = [sys.executable, "manage.py", "relay_demo"]
SECONDS = 120
TABLE = {
    "events emitted": [6],
    "events delivered": [6, 6],
    "attempts": [15, 15],
    "dead-lettered": [3],
    "replayed": [3],
    "signatures verified": [15],
}


def environ(**changes: str) -> dict[str, str]:
    """A newcomer's environment: nothing of the tests'."""
    foreign = ("RELAY_", "DJANGO_SETTINGS_MODULE", "DATABASE_URL", "Q_CLUSTER_NAME", "NO_COLOR", "XDG_RUNTIME_DIR")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | changes


def play(*options: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options],
        check=False,
        cwd=ROOT,
        env=environ(**changes),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@contextmanager
def running(command: list[str], **changes: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command whose test may fail without waiting for it for ever."""
    with subprocess.Popen(command, cwd=ROOT, env=environ(**changes), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def playing(**changes: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return running(COMMAND, **changes)


def table(output: str) -> dict[str, list[int]]:
    rows = (re.fullmatch(r" {4}([a-z-]+(?: [a-z-]+)?)((?: +\d+)+)", line) for line in output.splitlines())
    return {row[1]: [int(number) for number in row[2].split()] for row in rows if row}


@pytest.mark.parametrize("options", [[], ["--postgres"]], ids=["sqlite", "postgres"])
def test_every_event_arrives_as_often_as_it_should(options):
    done = play(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert table(done.stdout) == TABLE
    assert ("PostgreSQL" if options else "SQLite") in done.stdout
    assert "\x1b" not in done.stdout


def test_it_fails_if_the_receiver_cannot_verify():
    done = play("--sabotage", "secret")
    assert done.returncode == 1
    assert table(done.stdout)["signatures verified"] == [0]
    assert "2026-001 came with a signature that was not verified" in done.stdout


def test_it_fails_if_the_receiver_lost_what_it_accepted():
    done = play("--sabotage", "forget")
    assert done.returncode == 1
    assert table(done.stdout)["events delivered"] == [6, 3]
    assert "2026-001 was never received" in done.stdout
    assert "2026-005" not in done.stdout.partition("Not as it should be")[2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path: Path, number, code):
    with playing(TMPDIR=str(tmp_path)) as process:
        while " 2 " not in process.stdout.readline():
            assert process.poll() is None
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 3
        process.send_signal(number)
        assert process.wait(SECONDS) == code
    assert [child for child in started if child.is_running()] == []
    assert list(tmp_path.glob("relay_demo_*")) == []


def test_it_fails_and_shows_the_log_when_the_worker_dies(tmp_path: Path):
    with playing(TMPDIR=str(tmp_path)) as process:
        worker = _worker(process)
        started = worker.children(recursive=True)
        worker.kill()
        rest = process.stdout.read()
        assert process.wait(SECONDS) == 1
    assert "the worker died" in rest
    assert "worker: " in rest
    assert psutil.wait_procs(started, timeout=5)[1] == []


def _worker(process: subprocess.Popen[str]) -> psutil.Process:
    for line in process.stdout:
        if found := re.search(r"qcluster, process (\d+)", line):
            return psutil.Process(int(found[1]))
    raise AssertionError("no worker was named")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class TestServe:
    """``manage.py relay_serve``, what ``make serve`` runs."""

    def test_it_runs_until_it_is_stopped(self, tmp_path: Path, free_port):
        database = f"sqlite:///{tmp_path}/serve.sqlite3"
        command = [sys.executable, "manage.py", "relay_serve", "--port", str(free_port)]
        with running(command, DATABASE_URL=database) as process:
            _read_until(process, "Starting development server")
            started = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0
        assert [child for child in started if child.is_running()] == []


def _read_until(process: subprocess.Popen[str], text: str) -> None:
    ends_at = time.monotonic() + SECONDS
    while text not in process.stdout.readline():
        assert process.poll() is None
        assert time.monotonic() < ends_at
