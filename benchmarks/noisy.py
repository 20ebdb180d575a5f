"""Noisy neighbours: 50 good endpoints beside 50 that hang until the deadline, in one worker; against the same without
them.

Those that hang have 100 deliveries each due before it begins. First 100 events/s are emitted to the good ones for at
least five deadlines: commit → arrival. Then a backlog of theirs is drained: deliveries/s. Meanwhile
``pg_stat_activity`` is read: while receivers hang, no transaction may be as old as half the deadline; one that was
open during a POST would be.
"""

import itertools
import json
import time
from contextlib import suppress

from django.db import connection

from benchmarks import work
from benchmarks.latency import arrivals, start_emitter
from benchmarks.report import Result, Row, condense, percentiles, progress, ratio
from benchmarks.stage import SOON, Stage, fastest, wait_until

EACH = 50
PER_HANGING = 100
RATE = 100
_OPEN = """
SELECT extract(epoch FROM clock_timestamp() - xact_start), concat_ws(' ', application_name, state, left(query, 80))
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 1
"""


def run(stage: Stage, scale: str) -> Result:
    result = Result("noisy")
    rounds, deadline, backlog = (1, 1.0, 1_000) if scale == "quick" else (2, 2.0, 5_000)
    rows = []
    for number, hanging in itertools.product(range(rounds), (0, EACH)):
        progress(f"noisy: round {number + 1}/{rounds}, {hanging} hang")
        rows.append(measure(stage, hanging, deadline, backlog))
    result.rows = condense(rows, ["hanging"])
    without, beside = result.rows
    longest = max(row["oldest_transaction_ms"] for row in rows if row["hanging"])
    result.at_most("p99 of the good ones / without", ratio(beside["p99_ms"], without["p99_ms"]), 2)
    result.at_least("throughput of the good ones / without", ratio(beside["per_s"], without["per_s"]), 0.9)
    result.at_most("oldest transaction while receivers hang", longest, deadline * 500, "ms")
    result.notes.append(f"{fastest()}, one relay_worker, deadline {deadline:.0f} s, medians of {rounds}")
    return result


def measure(stage: Stage, hanging: int, deadline: float, backlog: int) -> Row:
    """Return one row: latency of the good ones at a steady rate, and their throughput."""
    stage.reset()
    good = work.endpoints(stage, EACH)
    secrets = work.secrets(good)
    bad = work.endpoints(stage, hanging, prefix="hangs") if hanging else []
    behaviours = {work.path(endpoint): {"hang": True} for endpoint in bad}
    phases = [(RATE, 0.5), (RATE, 5.5 * deadline)]
    stage.receiver.expect(sum(int(rate * seconds) for rate, seconds in phases), behaviours)
    with stage.workers("relay_worker", fastest(), 1, TIMEOUT_SECONDS=deadline, **SOON):
        if bad:
            work.fill(bad, hanging * PER_HANGING)
            wait_until(stage.receiver.held, 20, "receivers hang")
        emitter = start_emitter(stage, phases, good)
        held, oldest, whose = _watch(stage, emitter.is_running)
        _warm, committed = map(json.loads, emitter.output(60).splitlines())
        gave_up = _wait(stage, deadline)
        at = arrivals(stage)
        _assert_genuine(stage, secrets)
        stage.receiver.expect(backlog, behaviours)
        work.fill(good, backlog)
        began = time.monotonic()
        took = _wait(stage, deadline) - began
        arrived = stage.receiver.count()
        _assert_genuine(stage, secrets)
    return {
        "hanging": hanging,
        "held": held,
        **percentiles([at.get(event, gave_up) - since for event, since in committed]),
        "never": sum(event not in at for event, _since in committed),
        "per_s": arrived / took,
        "oldest_transaction_ms": oldest * 1e3,
        "whose": whose[:30],
    }


def _wait(stage: Stage, deadline: float) -> float:
    """Return when all had arrived, or when it was given up: after fifteen deadlines whoever waits is starved."""
    with suppress(TimeoutError):
        return stage.receiver.wait_reached(15 * deadline)
    return time.monotonic()


def _watch(stage: Stage, goes_on) -> tuple[float, float, str]:
    """Return how many requests hung on average, and the oldest transaction seen while any did: its age, and whose."""
    held, oldest, whose = [], 0.0, ""
    while goes_on():
        held.append(stage.receiver.held())
        with connection.cursor() as cursor:
            cursor.execute(_OPEN)
            found = cursor.fetchone() or (0, "")
        if held[-1] and stage.receiver.held() and found[0] > oldest:
            oldest, whose = float(found[0]), found[1]
        time.sleep(0.05)
    return sum(held) / max(len(held), 1), oldest, whose


def _assert_genuine(stage: Stage, secrets: dict[str, str]) -> None:
    judged = stage.receiver.judge(secrets)
    assert not judged["bad"], judged
