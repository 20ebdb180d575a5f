"""Pace: endpoints with a rate limit and a backlog, two workers; and ``Retry-After``.

Three endpoints with limits of 10, 50 and 200 requests/s each have as many deliveries due as the limit allows in the
time. ``off_sends`` is by how many sends the receiver's count differs from limit x time, first to last arrival; allowed
is 1 % or one send. ``busiest_s`` is the most that came within any second.

Receivers that answer 429 with ``Retry-After: 2`` must not hear from us earlier, whatever the schedule says.
"""

import bisect
from collections import defaultdict

from benchmarks import work
from benchmarks.report import Result, progress
from benchmarks.stage import SOON, Stage, fastest

LIMITS = (10, 50, 200)
RETRY_AFTER = 2.0
EACH = 4


def run(stage: Stage, scale: str) -> Result:
    result = Result("pace")
    _pace(stage, result, 2 if scale == "quick" else 10)
    _retry_after(stage, result)
    result.notes.append(f"{fastest()}, two relay_workers")
    return result


def _pace(stage: Stage, result: Result, seconds: int) -> None:
    progress("pace: rate limits")
    stage.reset()
    registered = [work.endpoints(stage, 1, prefix=f"limit-{limit}", rate_limit=limit)[0] for limit in LIMITS]
    stage.receiver.expect(sum(LIMITS) * seconds)
    with stage.workers("relay_worker", fastest(), 2, **SOON):
        for endpoint, limit in zip(registered, LIMITS, strict=True):
            work.fill([endpoint], limit * seconds)
        stage.receiver.wait_reached(seconds * 3 + 30)
    at: defaultdict[str, list[float]] = defaultdict(list)
    for path, _webhook_id, arrived_at in stage.receiver.arrivals():
        at[path].append(arrived_at)
    for endpoint, limit in zip(registered, LIMITS, strict=True):
        times = at[work.path(endpoint)]
        took = times[-1] - times[0]
        off = len(times) - 1 - limit * took
        allowed = max(0.01 * limit * took, 1.0)
        busiest = max(bisect.bisect_left(times, begin + 1.0) - place for place, begin in enumerate(times))
        per_s = (len(times) - 1) / max(took, 1e-9)
        result.rows.append({"limit": limit, "per_s": per_s, "off_sends": off, "allowed": allowed, "busiest_s": busiest})
        result.at_most(f"{limit}/s: off by", abs(off), round(allowed, 1), "sends")
        result.reported(f"{limit}/s: busiest second", busiest, "sends")


def _retry_after(stage: Stage, result: Result) -> None:
    progress("pace: Retry-After")
    stage.reset()
    registered = work.endpoints(stage, 5, prefix="later")
    told = {"status": 429, "header": f"retry-after: {RETRY_AFTER:.0f}", "times": EACH}
    stage.receiver.expect(5 * EACH * 2, {work.path(endpoint): told for endpoint in registered})
    with stage.workers("relay_worker", fastest(), 2, RETRY_SCHEDULE=[0.1] * 5, **SOON):
        work.fill(registered, 5 * EACH)
        stage.receiver.wait_reached(60)
    at: defaultdict[str, list[float]] = defaultdict(list)
    for _path, webhook_id, arrived_at in stage.receiver.arrivals():
        at[webhook_id].append(arrived_at)
    earliest = min(second - first for first, second, *_more in at.values())
    result.at_least("Retry-After: 2, earliest repeat after", earliest, RETRY_AFTER, "s")
