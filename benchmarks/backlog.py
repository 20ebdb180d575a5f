"""Backlog: how long a claim takes, and how much memory a worker, with 10^4 to 10^6 (``--full`` 10^7) deliveries due.

One tenant's endpoint has 95 % of them, a hundred others the rest. Claims of 64 are timed in three situations: every
endpoint open; the big one saturated (its share is in flight already); the big one disabled. Each claim is rolled back,
so that all see the same backlog, and the commit's fsync is not in it. Then a worker runs on it for some seconds: rate
and peak memory.
"""

import time

from django.db import connection, transaction

from benchmarks import engine, work
from benchmarks.report import Result, Row, percentiles, progress, ratio
from benchmarks.stage import SOON, Stage, fastest
from django_relay.models import Endpoint

OTHERS = 100
CLAIM = 64
_LONGEST_SECONDS = 15.0
_WARM_SECONDS = 1.0


def run(stage: Stage, scale: str) -> Result:
    result = Result("backlog")
    sizes = [10**4, 10**5, *([10**6] if scale != "quick" else []), *([10**7] if scale == "full" else [])]
    claims = 20 if scale == "quick" else 200
    seconds = 1.0 if scale == "quick" else 5.0
    memory = []
    for size in sizes:
        progress(f"backlog: {size:,} rows")
        big = _fill(stage, size)
        for situation in ("open", "saturated", "disabled"):
            result.rows.append({"waiting": size, "big endpoint": situation, **_claims(big, situation, claims)})
        progress(f"backlog: a worker on {size:,} rows")
        memory.append({"waiting": size, **_work(stage, seconds)})
    for situation in ("open", "saturated", "disabled"):
        found = [row for row in result.rows if row["big endpoint"] == situation]
        for row in found[1:]:
            value = ratio(row["p95_ms"], found[0]["p95_ms"])
            what = f"claim p95 at {row['waiting']:,} / at {sizes[0]:,}, {situation}"
            if row["waiting"] <= 10**6:
                result.at_most(what, value, 2)
            else:
                result.reported(what, value, "x")
    growth = max(row["peak_mib"] for row in memory) - memory[0]["peak_mib"]
    result.at_most(f"worker's peak memory over that at {sizes[0]:,}", growth, 32, "MiB")
    result.at_most("worker's growth after its first second", max(row["growth_mib"] for row in memory), 32, "MiB")
    result.rows += memory
    result.notes.append(f"up to {claims} claims of {CLAIM} each; {fastest()}, one relay_worker for {seconds:.0f} s")
    return result


def _fill(stage: Stage, size: int) -> Endpoint:
    stage.reset()
    (big,) = work.endpoints(stage, 1, prefix="big")
    others = work.endpoints(stage, OTHERS)
    work.fill([big], size * 95 // 100)
    work.fill(others, size - size * 95 // 100)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return big


def _claims(big: Endpoint, situation: str, times: int) -> Row:
    """Return percentiles of a claim, and how many deliveries it got."""
    worker = engine.Claimer(CLAIM, saturated=[big.pk] if situation == "saturated" else [])
    if situation == "disabled":
        big.disable()
    taken, got = [], 0
    gives_up_at = time.monotonic() + _LONGEST_SECONDS
    for number in range(times + 3):  # the first ones warm up
        if time.monotonic() > gives_up_at and len(taken) >= 5:
            break
        with transaction.atomic():
            began = time.perf_counter()
            got = worker.claim()
            if number >= 3:
                taken.append(time.perf_counter() - began)
            transaction.set_rollback(True)
    if situation == "disabled":
        big.enable()
    return {**percentiles(taken), "claims": len(taken), "got": got}


def _work(stage: Stage, seconds: float) -> Row:
    stage.receiver.expect(0)
    with stage.workers("relay_worker", fastest(), 1, **SOON) as (worker,):
        first = stage.receiver.wait_first(120)
        memory = []
        while time.monotonic() < first + _WARM_SECONDS + seconds:
            time.sleep(0.05)
            memory.append((time.monotonic(), worker.rss()))
        count = stage.receiver.count()
        now = time.monotonic()
    peak = max(mib for _at, mib in memory)
    warm = max(mib for at, mib in memory if at < first + _WARM_SECONDS)
    return {"per_s": count / (now - first), "peak_mib": peak, "growth_mib": peak - warm}
