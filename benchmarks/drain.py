"""Drain: a backlog of due deliveries to 20 endpoints, from the first arrival to the last, counted at the receiver.

The workers are up and idle when one transaction commits the whole backlog. ``per_s`` is deliveries over first to last
arrival; ``settled_per_s`` until the last row is written. CPU is what the workers and PostgreSQL burnt from the commit
until all was settled (``cpu_us``, per delivery), start-up and the backlog's INSERT not counted. Afterwards the
receiver's bytes are judged: each delivery once, every signature good.

Anchors, interleaved in each round: ``limit``, the bare loop of :mod:`benchmarks.limit`; and ``idiom``, one q2 task per
delivery (:mod:`benchmarks.idiom`), whose enqueueing is not counted. It runs at its best: q2 keeps no results
(``save_limit`` -1), and connections to the database persist (at Django's default, closing them after each task,
PostgreSQL burns some 13 ms more a delivery). The requests transport and the idiom get fewer deliveries, for they are
slow and their rates do not depend on it. In the last part the receivers take 300 ms each.
"""

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django_q.models import OrmQ
from django_q.tasks import async_task

from benchmarks import engine, work
from benchmarks.report import Result, Row, condense, progress, ratio
from benchmarks.stage import SOON, TRANSPORTS, Stage, fastest, missing, wait_until
from django_relay.models import Attempt, Delivery

ENDPOINTS = 20
SLOW_SECONDS = 0.3


@dataclass(frozen=True)
class Part:
    """One thing to measure."""

    how: str
    transport: str
    processes: int
    count: int
    delay: float = 0.0


def run(stage: Stage, scale: str) -> Result:
    result = Result("drain")
    rounds = 1 if scale == "quick" else 3
    rows = []
    parts = [part for part in _parts(scale) if part.transport not in TRANSPORTS or not missing(part.transport)]
    for number in range(rounds):
        for part in parts:
            progress(f"drain: round {number + 1}/{rounds}, {part.how} {part.transport} x {part.processes}")
            rows.append(measure(stage, part))
    result.rows = condense(rows, ["how", "transport", "processes", "receiver"])
    result.notes += [f"{name} is not there: {missing(name)}" for name in TRANSPORTS if missing(name)]
    result.notes.append(f"medians of {rounds}; ratios are of rows in this run")
    _check(result)
    return result


def _parts(scale: str) -> list[Part]:
    many = {"quick": 4_000}.get(scale, 20_000)
    some = {"quick": 800, "full": 20_000}.get(scale, 5_000)
    few = {"quick": 200}.get(scale, 1_000)
    parts = [
        Part("limit", "raw", 2, many),
        Part("qcluster", "curl", 2, many),
        Part("qcluster", "requests", 2, some),
        Part("idiom", "requests.post", 2, few),
        Part("relay_worker", "curl", 1, few * 4, SLOW_SECONDS),
        Part("relay_worker", "requests", 1, few, SLOW_SECONDS),
    ]
    if scale == "quick":
        return parts
    return [
        Part("limit", "raw", 1, many),
        Part("relay_worker", "curl", 1, many),
        Part("relay_worker", "curl", 2, many),
        Part("relay_worker", "requests", 1, some),
        Part("relay_worker", "requests", 2, some),
        *parts,
    ]


def measure(stage: Stage, part: Part) -> Row:
    """Run one part once, and return its row.

    Raises:
        AssertionError: something was lost, sent twice, or not signed.
    """
    stage.reset()
    registered = work.endpoints(stage, ENDPOINTS)
    secrets = work.secrets(registered)
    behaviours = {path: {"status": 200, "delay": part.delay} for path in secrets} if part.delay else {}
    stage.receiver.expect(part.count, behaviours)
    with _workers(stage, part, secrets) as workers:
        with transaction.atomic():
            work.fill(registered, part.count)
            if part.how == "idiom":
                for (pk,) in Delivery.objects.values_list("pk"):
                    async_task("benchmarks.idiom.deliver", pk)
            work.analyze()
            before = stage.cpu(workers)
        first = stage.receiver.wait_first(60)
        last = stage.receiver.wait_reached(300)
        work.wait_until_settled(60)
        settled = time.monotonic()
        burnt = stage.cpu(workers).since(before)
    judged = stage.receiver.judge(secrets)
    assert judged == {"requests": part.count, "distinct": part.count, "repeats": 0, "bad": 0}, judged
    assert Attempt.objects.count() == part.count
    return {
        "how": part.how,
        "transport": part.transport,
        "processes": part.processes,
        "receiver": f"{part.delay * 1e3:.0f} ms" if part.delay else "at once",
        "deliveries": part.count,
        "per_s": part.count / (last - first),
        "settled_per_s": part.count / (settled - first),
        **burnt.each(part.count),
    }


@contextmanager
def _workers(stage: Stage, part: Part, secrets: dict[str, str]):
    if part.how in ("relay_worker", "qcluster"):
        with stage.workers(part.how, part.transport, part.processes, **SOON) as started:
            yield started
        return
    if part.how == "limit":
        file = stage.folder / "secrets.json"
        file.write_text(json.dumps(secrets))
        arguments = ["-m", "benchmarks.limit", str(file), str(engine.in_flight(TRANSPORTS[fastest()]))]
        started = [stage.python(*arguments) for _ in range(part.processes)]
        for each in started:
            each.wait_until_ready()
    else:
        q = json.dumps({"workers": part.processes, "save_limit": -1})
        started = [stage.manage("qcluster", BENCH_Q=q, BENCH_CONN_MAX_AGE="600")]
        async_task("time.sleep", 0)
        wait_until(lambda: not OrmQ.objects.exists(), 30, "the cluster works", every=0.1)
    with stage.ending(started):
        yield started


def _check(result: Result) -> None:
    def of(column: str, how: str, transport: str, processes: int = 2, receiver: str = "at once") -> float | None:
        wanted = {"how": how, "transport": transport, "processes": processes, "receiver": receiver}
        return next((row[column] for row in result.rows if wanted.items() <= row.items()), None)

    limit, curl, plain = ("limit", "raw"), ("qcluster", "curl"), ("qcluster", "requests")
    idiom = ("idiom", "requests.post")
    slow: dict[str, Any] = {"processes": 1, "receiver": f"{SLOW_SECONDS * 1e3:.0f} ms"}
    curl_slow, plain_slow = (of("per_s", "relay_worker", name, **slow) for name in ("curl", "requests"))
    result.at_least("qcluster curl / limit, deliveries/s", ratio(of("per_s", *curl), of("per_s", *limit)), 0.6)
    result.at_least("qcluster curl / idiom, deliveries/s", ratio(of("per_s", *curl), of("per_s", *idiom)), 30)
    result.at_least("idiom / qcluster curl, CPU", ratio(of("cpu_us", *idiom), of("cpu_us", *curl)), 20)
    result.at_least("qcluster requests / idiom, deliveries/s", ratio(of("per_s", *plain), of("per_s", *idiom)), 5)
    result.at_least("curl / requests, one worker, 300 ms receivers", ratio(curl_slow, plain_slow), 3)
