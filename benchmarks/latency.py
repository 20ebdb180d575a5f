"""Latency: from the moment a COMMIT returned to the arrival at the receiver, of events emitted at a steady rate.

A process emits to ten tenants with one endpoint each and notes the monotonic time after each COMMIT; the receiver
notes the arrival by the same clock. Measured for ``relay_worker`` and for a pass of ``qcluster``, with the settings'
own pauses, beside a bare LISTEN → POST loop (:mod:`benchmarks.listener`) in the same run; 50 and 200 events/s, rounds
interleaved.
"""

import json
from collections.abc import Sequence
from contextlib import contextmanager

from benchmarks import work
from benchmarks.report import Result, Row, condense, percentiles, progress
from benchmarks.stage import Process, Stage, fastest

ENDPOINTS = 10
RATES = (50, 200)
HOWS = ("listen", "relay_worker", "qcluster")


def run(stage: Stage, scale: str) -> Result:
    result = Result("latency")
    rounds, seconds = (1, 1.5) if scale == "quick" else (3, 5.0)
    rows = []
    for number in range(rounds):
        for how in HOWS[:2] if scale == "quick" else HOWS:
            progress(f"latency: round {number + 1}/{rounds}, {how}")
            rows += measure(stage, how, seconds)
    result.rows = condense(rows, ["how", "transport", "rate"])
    result.notes.append(f"medians of {rounds} x {seconds:g} s")
    for row in result.rows:
        what = f"{row['how']} at {row['rate']}/s"
        if row["how"] == "relay_worker":
            result.at_most(f"{what}, p50", row["p50_ms"], 20, "ms")
            result.at_most(f"{what}, p95", row["p95_ms"], 60, "ms")
        else:
            result.reported(f"{what}, p50", row["p50_ms"], "ms")
    return result


def measure(stage: Stage, how: str, seconds: float) -> list[Row]:
    """Return a row for each rate."""
    stage.reset()
    registered = work.endpoints(stage, ENDPOINTS)
    secrets = work.secrets(registered)
    phases = [(20, 0.5), *((rate, seconds) for rate in RATES)]  # first: connections are open, caches warm
    stage.receiver.expect(sum(int(rate * seconds) for rate, seconds in phases))
    with _sender(stage, how, secrets):
        emitter = start_emitter(stage, phases, registered, bare=how == "listen")
        committed = [json.loads(line) for line in emitter.output(60).splitlines()]
        stage.receiver.wait_reached(30)
    judged = stage.receiver.judge(secrets)
    assert judged["distinct"] == sum(map(len, committed)), judged
    assert not judged["repeats"], judged
    assert not judged["bad"], judged
    arrived = arrivals(stage)
    transport = "raw" if how == "listen" else fastest()
    return [
        {"how": how, "transport": transport, "rate": rate, **percentiles([arrived[event] - at for event, at in found])}
        for rate, found in zip(RATES, committed[1:], strict=True)
    ]


def start_emitter(
    stage: Stage, phases: Sequence[tuple[float, float]], registered: list, *, bare: bool = False
) -> Process:
    """Start a process that emits to the endpoints' tenants in turn; its output says when each event was committed."""
    rates = ",".join(f"{rate}x{seconds}" for rate, seconds in phases)
    tenants = [endpoint.tenant_id for endpoint in registered]
    return stage.child("emitter", rates, *tenants, BENCH_NOTIFY="1" if bare else "0")


def arrivals(stage: Stage) -> dict[str, float]:
    """Return when each event first arrived, by its id."""
    at: dict[str, float] = {}
    for _path, webhook_id, arrived_at in stage.receiver.arrivals():
        at.setdefault(webhook_id, arrived_at)
    return at


@contextmanager
def _sender(stage: Stage, how: str, secrets: dict[str, str]):
    if how != "listen":
        with stage.workers(how, fastest(), 1) as started:
            yield started
        return
    file = stage.folder / "secrets.json"
    file.write_text(json.dumps(secrets))
    started = [stage.python("-m", "benchmarks.listener", str(file))]
    started[0].wait_until_ready()
    with stage.ending(started):
        yield started
