"""A process that emits at steady rates, one after the other: ``RATExSECONDS,… TENANT…``.

Prints a JSON list for each rate, of ``[event id, monotonic time]``: when the COMMIT that stored the event had
returned, before anybody was woken. With ``BENCH_NOTIFY=1`` nobody else is woken, but a bare ``NOTIFY bench, '<event
id>'`` sent.
"""

import json
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import cycle

from django.db import connection, transaction

from benchmarks import engine
from benchmarks.webhooks import DATA, EVENT_TYPE
from django_relay import emit


def main(phases: str, *tenants: str) -> None:
    """Emit in each of the phases."""
    bare = os.environ.get("BENCH_NOTIFY") == "1"
    with engine.asleep() if bare else nullcontext():
        for rate, seconds in (map(float, phase.split("x")) for phase in phases.split(",")):
            print(json.dumps(steadily(rate, seconds, tenants, bare=bare)), flush=True)


def steadily(rate: float, seconds: float, tenants: Sequence[str], *, bare: bool) -> list[tuple[str, float]]:
    """Emit to the tenants in turn; an emit that is late does not delay those after it."""
    committed: list[tuple[str, float]] = []
    begins_at = time.monotonic() + 0.2
    for number, tenant in zip(range(int(rate * seconds)), cycle(tenants), strict=False):
        time.sleep(max(begins_at + number / rate - time.monotonic(), 0))
        at: list[float] = []
        with transaction.atomic():
            transaction.on_commit(lambda at=at: at.append(time.monotonic()))
            event = emit(EVENT_TYPE, DATA, tenant_id=tenant)
        committed.append((event.pk, at[0]))
        if bare:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_notify('bench', %s)", [event.pk])
    return committed
