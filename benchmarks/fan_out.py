"""Fan-out: one event to 1, 100 and 10,000 endpoints of its tenant, in a process of its own for each.

Timed is the step alone, called until no event is pending. Memory is the growth of the process's peak; that it does not
grow with the endpoints is shown by twice as many (``--full``: ten times).
"""

import json
import resource
import time

from benchmarks import engine, work
from benchmarks.report import Result, progress, ratio
from benchmarks.stage import Stage
from benchmarks.webhooks import DATA, EVENT_TYPE
from django_relay import emit
from django_relay.models import Delivery, Event

MANY = 10_000


def run(stage: Stage, scale: str) -> Result:
    result = Result("fan_out")
    more = 10 * MANY if scale == "full" else 2 * MANY
    for count in (1, 100, MANY, more):
        progress(f"fan_out: {count:,} endpoints")
        stage.reset()
        result.rows.append(json.loads(stage.child("fan_out", str(count)).output(300)))
    many, most = result.rows[-2:]
    result.at_most(f"1 → {MANY:,}", many["seconds"], 1, "s")
    result.at_most(f"peak memory at {more:,} over that at {MANY:,}", most["peak_mib"] - many["peak_mib"], 8, "MiB")
    result.reported("µs per delivery", (ratio(many["seconds"], MANY) or 0) * 1e6)
    return result


def main(endpoints: str) -> None:
    """Fan out once, in a process of its own, and print a row."""
    count = int(endpoints)
    for tenant, number in (("warm", 1), ("acme", count)):
        work.copies_of_one_endpoint(tenant, number)
        emit(EVENT_TYPE, DATA, tenant_id=tenant)
        peak, burnt, began = _peak_mib(), time.process_time(), time.monotonic()
        engine.fan_out_all()
        seconds, cpu = time.monotonic() - began, time.process_time() - burnt
    assert Event.objects.get(tenant_id="acme").matched_count == count
    assert Delivery.objects.count() == count + 1
    print(json.dumps({"endpoints": count, "seconds": seconds, "cpu_s": cpu, "peak_mib": _peak_mib() - peak}))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
