"""Peers: N saves of one model, one endpoint, all received; ours with two relay_workers against what else there is.

django-webhook 0.0.15 (Celery, 2 processes, Redis on a unix socket) and drf-hooks 0.1.5 (three threads of the saving
process, nothing stored) run in environments of their own, made by ``benchmarks/peers/setup.sh``. The same PostgreSQL,
receiver, model and saving loop; every save is a transaction. There is one process that saves, and then four, as a
product has several that serve the web: the same number for each contestant.

``saves counted in``: workers are up, time runs from the first save to the last arrival. ``already committed``: the
workers start when all is saved, time runs from the first arrival to the last. CPU is everybody's but the receiver's:
who saves, who sends, PostgreSQL, Redis; the start of processes is not in it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from django.conf import settings
from django.db import connection

from benchmarks import work
from benchmarks.report import Result, Row, condense, progress, ratio
from benchmarks.stage import SOON, Process, Stage, fastest, wait_until

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("RELAY_BENCH_PEERS") or Path(tempfile.gettempdir()) / "relay_bench_peers")
OURS = "django_relay"
SAVERS = (1, 4)
"""How many processes save at once."""
COUNTED_IN, COMMITTED = "saves counted in", "already committed"


def run(stage: Stage, scale: str) -> Result:
    result = Result("peers")
    if scale == "quick":
        result.notes.append("not in --quick")
        return result
    if not (FOLDER / "drf_hooks" / "versions.txt").exists() or not shutil.which("redis-server"):
        result.notes.append(f"there are no peers in {FOLDER}: run benchmarks/peers/setup.sh once")
        result.at_least("ours / django-webhook", None, 8)
        return result
    rounds, count = (3 if scale == "full" else 2), 5_000
    rows = []
    for number in range(rounds):
        for name in (OURS, "django_webhook", "drf_hooks"):
            for mode, savers in _parts(name):
                progress(f"peers: round {number + 1}/{rounds}, {name}, {mode}, {savers} savers")
                rows.append(measure(stage, name, mode, savers, count))
    result.rows = condense(rows, ["who", "what", "savers"])
    several = SAVERS[-1]
    for mode, savers, bar in ((COUNTED_IN, 1, None), (COUNTED_IN, several, 8), (COMMITTED, several, 20)):
        rate = {row["who"]: row["per_s"] for row in result.rows if (row["what"], row["savers"]) == (mode, savers)}
        of = f"{mode}, {savers} saving" if mode == COUNTED_IN else mode
        found = ratio(rate[OURS], rate["django_webhook"])
        if bar is None:
            result.reported(f"ours / django-webhook, {of}", found, "x")
        else:
            result.at_least(f"ours / django-webhook, {of}", found, bar)
        if "drf_hooks" in rate:
            result.reported(f"ours / drf-hooks, {of}", ratio(rate[OURS], rate["drf_hooks"]), "x")
    result.notes.append(f"medians of {rounds} x {count:,} saves; ours by {fastest()}")
    result.notes += [f"{name}: {_versions(name)}" for name in ("django_webhook", "drf_hooks")]
    return result


def _parts(name: str) -> list[tuple[str, int]]:
    """Return what is measured of one contestant: how, and with how many savers."""
    parts = [(COUNTED_IN, savers) for savers in SAVERS]
    return parts if name == "drf_hooks" else [*parts, (COMMITTED, SAVERS[-1])]


def measure(stage: Stage, name: str, mode: str, savers: int, count: int) -> Row:
    """Return one row of one peer or of ours.

    Raises:
        AssertionError: not exactly what was saved was received.
    """
    stage.reset()
    project = _Ours(stage) if name == OURS else _Peer(stage, name)
    stage.receiver.expect(count)
    with project.workers() if mode == COUNTED_IN else nullcontext([]) as workers:
        started = _savers(stage, project, savers, count)
        before = stage.cpu([*workers, *project.services])
        said = _save(stage, started)
        if mode == COUNTED_IN:
            first, last = said["began"], stage.receiver.wait_reached(300)
        cpu = stage.cpu([*workers, *project.services]).since(before).sending
    if mode == COMMITTED:
        with project.workers() as workers:
            first = stage.receiver.wait_first(120)
            before = stage.cpu([*workers, *project.services])
            last = stage.receiver.wait_reached(300)
            cpu += stage.cpu([*workers, *project.services]).since(before).sending
    judged = stage.receiver.judge(project.secrets)
    assert judged == {"requests": count, "distinct": count, "repeats": 0, "bad": 0}, judged
    return {
        "who": name,
        "what": mode,
        "savers": savers,
        "saves": count,
        "per_s": count / (last - first),
        "save_us": (said["saved"] - said["began"]) * 1e6 * savers / count,
        "cpu_us": (cpu + said["cpu"]) * 1e6 / count,
    }


def _savers(stage: Stage, project: "_Ours | _Peer", savers: int, count: int) -> list[Process]:
    """Start so many processes that will save ``count`` together, and wait until all are ready."""
    _go(stage).unlink(missing_ok=True)
    started = [project.save(count // savers, _go(stage)) for _ in range(savers)]
    for saver in started:
        saver.wait_until_ready()
    return started


def _save(stage: Stage, started: list[Process]) -> dict[str, float]:
    """Have them save; return when the first began, the last ended, and their CPU."""
    _go(stage).touch()
    said = [json.loads(saver.output(300).splitlines()[-1]) for saver in started]
    return {
        "began": min(each["began"] for each in said),
        "saved": max(each["saved"] for each in said),
        "cpu": sum(each["cpu"] for each in said),
    }


def _go(stage: Stage) -> Path:
    """Return the file that the savers wait for."""
    return stage.folder / "go"


class _Ours:
    """Our package: the same model, an ``emit`` in its transaction (see ``benchmarks.webhooks``)."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.services: list[Process] = []
        self.secrets = work.secrets(work.endpoints(stage, 1, prefix="shop"))

    @contextmanager
    def workers(self) -> Iterator[list[Process]]:
        with self.stage.workers("relay_worker", fastest(), 2, **SOON) as started:
            yield started

    def save(self, count: int, go: Path) -> Process:
        return self.stage.python(str(HERE / "project.py"), "save", str(count), str(go), PYTHONPATH=os.getcwd())


class _Peer:
    """A peer in its own environment, with a database of its own."""

    secrets: dict[str, str] = {}

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage, self.name = stage, name
        self.python = FOLDER / name / "bin" / "python"
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            cursor.execute(f"CREATE DATABASE {name}")
        keys = ("ENGINE", "USER", "PASSWORD", "HOST", "PORT")
        database = {key: settings.DATABASES["default"][key] for key in keys} | {"NAME": name}
        socket = stage.folder / "redis.sock"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
            "PEER": name,
            "PEER_DATABASE": json.dumps(database),
            "PEER_BROKER": f"redis+socket://{socket}",
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPATH": str(HERE),
        }
        self.services = [self._redis(socket)] if name == "django_webhook" else []
        self._run("project.py", "prepare", stage.receiver.url(f"/{name}")).output(60)

    def _redis(self, socket: Path) -> Process:
        socket.unlink(missing_ok=True)
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(self.stage.folder)]
        redis = self.stage.process(["redis-server", *options])
        wait_until(socket.exists, 10, "Redis is there")
        return redis

    def _run(self, *arguments: str) -> Process:
        return self.stage.process([str(self.python), *arguments], environment=self.environment, cwd=HERE)

    @contextmanager
    def workers(self) -> Iterator[list[Process]]:
        if self.name != "django_webhook":
            yield []
            return
        celery = self._run("-m", "celery", "-A", "celery_app", "worker", "-c", "2", "-l", "WARNING")
        celery.wait_until_ready()
        with self.stage.ending([celery]):
            yield [celery]

    def save(self, count: int, go: Path) -> Process:
        return self._run("project.py", "save", str(count), str(go))


def _versions(name: str) -> str:
    wanted = ("django=", "django-webhook=", "drf-hooks=", "celery=", "redis=", "requests=")
    lines = (FOLDER / name / "versions.txt").read_text().splitlines()
    return ", ".join(line for line in lines if line.lower().startswith(wanted))
