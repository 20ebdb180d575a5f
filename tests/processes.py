"""Real processes for tests: a stage holds a database, a receiver, and the workers that one test starts and kills.

The test's own connection ``default`` is one to the stage's database meanwhile. Every process is the leader of a session of its own,
so that whatever it forks is found by that session and nothing survives the test.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from django.db import connections
from psycopg import sql

from django_relay.catalog import lookup
from django_relay.models import Delivery, Endpoint, Event, WorkerPresence
from django_relay.pipeline import outbox
from example_project.settings import database
from tests import databases
from tests.receiver import Receiver

ROOT = Path(__file__).parent.parent
ATTEMPT_SECONDS = 2.0
LEASE_SECONDS = 4.0
PASS_SECONDS = 2.0
SETTINGS = {
    "RUNNER": "django_relay.runners.process.ProcessRunner",
    "TIMEOUT_SECONDS": ATTEMPT_SECONDS,
    "LEASE_SECONDS": LEASE_SECONDS,
    "PASS_SECONDS": PASS_SECONDS,
    "POLL_SECONDS": 0.2,
    "MAX_IN_FLIGHT": 32,
    "FIRST_IN_FLIGHT_PER_ENDPOINT": 32,
    "RETRY_JITTER": 0,
}
"""``DJANGO_RELAY`` of the processes, over the example's: everything takes seconds instead of minutes."""
INVOICE = {"amount": "99.00", "currency": "EUR"}


def wait_until(condition: Callable[[], Any], seconds: float, what: str = "", *, every: float = 0.02) -> Any:
    """Return the condition's value once it is true; fail when that takes longer than ``seconds``."""
    gives_up_at = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < gives_up_at, f"after {seconds} s still not: {what or condition}"
        time.sleep(every)
    return value


WORKER_STARTED = "Delivering what is due in the database 'default'; stop with Ctrl-C or SIGTERM.\n"
"""All that a relay_worker with nothing to complain of says."""


class Process:
    """A started process, with all that it forked."""

    def __init__(self, arguments: Sequence[str], *, environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        """What it wrote to its standard output and error."""
        return self.log.read_text()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def members(self) -> list[psutil.Process]:
        """Return the living processes of its session: itself and its children, orphaned or not."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, and to none of its children."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End all of it by SIGKILL at once, as a machine that fails does."""
        while found := self.members():
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.poll()
        self._process.wait(10)

    def wait(self, seconds: float) -> int:
        """Return the exit code; fail if it still runs after ``seconds``."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.pid} still runs after {seconds} s; it wrote:\n{self.output[-2_000:]}")


class Stage:
    """Where one test plays: its database, its receiver, its processes."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.receiver = Receiver(folder)
        self.processes: list[Process] = []
        self.relay: dict[str, object] = {}
        """``DJANGO_RELAY`` of all processes of this stage, over :data:`SETTINGS`."""
        self.jobs: dict[str, object] = {}
        """``Q_CLUSTER`` of all processes of this stage, over the example's."""
        self.django: dict[str, object] = {}
        """Other settings of all processes of this stage."""

    # Processes

    def worker(self, *arguments: str, schedule: str = "0.2,0.2,0.2", **relay: object) -> Process:
        """Start ``manage.py relay_worker`` and return once it works. Keyword arguments are settings."""
        process = self._start(
            "relay_worker", ["manage.py", "relay_worker", *arguments], relay, RELAY_RETRY_SCHEDULE=schedule
        )
        self._wait_for_presence(process)
        return process

    def cluster(self, *, schedule: str = "0.2,0.2,0.2", **relay: object) -> Process:
        """Start the example's cluster of passes, ``Q_CLUSTER_NAME=relay manage.py qcluster``; it need not work yet."""
        relay.setdefault("RUNNER", "django_relay.runners.django_q.DjangoQRunner")
        return self._start(
            "qcluster", ["manage.py", "qcluster"], relay, RELAY_RETRY_SCHEDULE=schedule, Q_CLUSTER_NAME="relay"
        )

    def command(self, *arguments: str, **relay: object) -> Process:
        """Start ``manage.py`` with a command; ``qcluster`` is the cluster of the host's own jobs."""
        return self._start(arguments[0], ["manage.py", *arguments], relay)

    def program(self, module: str, *arguments: str) -> Process:
        """Start ``python -m`` with a module and its arguments."""
        return self._start(module, ["-m", module, *arguments], {})

    def server(self) -> tuple[Process, str]:
        """Start the example's site, and return it and its address once it answers."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = self.command("runserver", "--noreload", f"127.0.0.1:{port}")

        def answers() -> bool:
            assert process.is_running(), process.output
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        wait_until(answers, 30, "the site is there", every=0.1)
        return process, f"http://127.0.0.1:{port}"

    def script(self, code: str, **relay: object) -> Process:
        """Start a Python script that has Django set up."""
        return self._start("script", ["-c", f"import django; django.setup()\n{code}"], relay)

    def _start(self, name: str, arguments: Sequence[str], relay: dict[str, object], **variables: str) -> Process:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("Q_", "COV_"))}
        environment = {
            **inherited,
            "DATABASE_URL": self.url,
            "DJANGO_SETTINGS_MODULE": "tests.process_settings",
            "DEBUG": "0",
            "RELAY_TEST_SETTINGS": json.dumps({**SETTINGS, **self.relay, **relay}),
            "RELAY_TEST_CLUSTER": json.dumps(self.jobs),
            "RELAY_TEST_DJANGO": json.dumps(self.django),
            **variables,
        }
        log = self.folder / f"{len(self.processes)}-{name}.log"
        process = Process(arguments, environment=environment, log=log)
        self.processes.append(process)
        return process

    def _wait_for_presence(self, process: Process) -> None:
        def is_there() -> bool:
            assert process.is_running(), process.output
            return WorkerPresence.objects.filter(pid=process.pid).exists()

        wait_until(is_there, 20, "the worker is there")

    # What the host does

    def endpoint(self, path: str, *, tenant_id: str = "acme", **values: Any) -> Endpoint:
        """Register an endpoint of the receiver's, which learns its secret."""
        values.setdefault("event_types", ["invoice.*"])
        endpoint = Endpoint.objects.register(tenant_id=tenant_id, url=self.receiver.url(path), **values)
        self.receiver.know(path, *endpoint.secrets)
        return endpoint

    def emit(self, count: int, *, tenant_id: str = "acme") -> list[str]:
        """Emit so many events in one transaction, and return their ids."""
        events = outbox.emit_many(
            [
                {"event_type": "invoice.paid", "data": {"number": uuid.uuid4().hex, **INVOICE}, "tenant_id": tenant_id}
                for _ in range(count)
            ]
        )
        return [event.pk for event in events]

    # What there is

    def is_drained(self) -> bool:
        """Say whether nothing is pending any more."""
        return not Event.objects.pending().exists() and not Delivery.objects.pending().exists()

    def wait_until_drained(self, seconds: float = 20) -> None:
        wait_until(self.is_drained, seconds, "everything is settled", every=0.05)

    def wait_for_requests(self, count: int, path: str | None = None, *, seconds: float = 15) -> None:
        wait_until(lambda: len(self.receiver.requests(path)) >= count, seconds, f"{count} requests came")

    def wait_for_held(self, count: int, path: str | None = None, *, seconds: float = 15) -> None:
        wait_until(lambda: self.receiver.held(path) >= count, seconds, f"{count} requests are held")

    def close(self) -> None:
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send(signal.SIGCONT)
            process.kill()
        self.receiver.close()


@contextmanager
def _connected(url: str) -> Iterator[None]:
    """Make the connection ``default`` of this process one to the stage's database."""
    before = connections.settings["default"]
    _reconnect(connections.configure_settings({"default": database(url)})["default"])
    try:
        yield
    finally:
        _reconnect(before)


def _reconnect(settings: dict[str, Any]) -> None:
    connections["default"].close()
    del connections["default"]
    connections.settings["default"] = settings
    lookup.clear()


@pytest.fixture(scope="session")
def _templates(tmp_path_factory) -> Iterator[Callable[[str], str]]:
    """Give a function that returns the URL of a migrated database to copy, made once a session for each backend."""
    made: dict[str, str] = {}
    with ExitStack() as stack:

        def template(backend: str) -> str:
            if backend not in made:
                url = stack.enter_context(databases.fresh(backend))
                environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.process_settings"}
                subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], env=environment, cwd=ROOT, check=True)
                made[backend] = url
            return made[backend]

        yield template


def _copy(template: str, url: str) -> None:
    if template.startswith("sqlite"):
        shutil.copy(urlsplit(template).path[1:], urlsplit(url).path[1:])
        return
    name, source = (sql.Identifier(urlsplit(place).path[1:]) for place in (url, template))
    with psycopg.connect(databases.postgres_url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {}").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, source))


@contextmanager
def _staged(backend: str, template: str) -> Iterator[Stage]:
    with databases.fresh(backend) as url, tempfile.TemporaryDirectory(dir=databases.folder()) as folder:
        _copy(template, url)
        with _connected(url), contextlib.closing(Stage(url, Path(folder))) as stage:
            yield stage


@pytest.fixture
def stage(backend, _templates, django_db_blocker) -> Iterator[Stage]:
    """A stage on each database in turn."""
    with django_db_blocker.unblock(), _staged(backend, _templates(backend)) as found:
        yield found


@pytest.fixture
def postgres_stage(_templates, django_db_blocker) -> Iterator[Stage]:
    """A stage on PostgreSQL, for what only a server can show."""
    with django_db_blocker.unblock(), _staged("postgres", _templates("postgres")) as found:
        yield found
