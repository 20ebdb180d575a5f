"""SIGSTOP of a worker for longer than its lease, then SIGCONT: it has lost its right, and must find out."""

import signal

import pytest

from django_relay.models import Attempt, Delivery, WorkerPresence
from tests.processes import LEASE_SECONDS, wait_until

pytestmark = pytest.mark.process

HELD = 5
STOPS_AFTER_ITS_CLAIM = """
import os, signal
from django_relay.pipeline import leases
from django_relay.runners import process
claim, stopped = leases.claim, []
def claim_and_stop(*args, **kwargs):
    found = claim(*args, **kwargs)
    if found.leases and not stopped:
        stopped.append(True)
        os.kill(os.getpid(), signal.SIGSTOP)
    return found
leases.claim = claim_and_stop
process.run(using="default")
"""


class TestStoppedWorker:
    @pytest.mark.parametrize("status", [200, 500])
    def test_it_changes_no_delivery_that_another_worker_took_over(self, stage, status):
        stage.endpoint("/hooks")
        stage.receiver.hold("/hooks")
        stage.emit(2 * HELD)
        stopped = stage.worker(MAX_IN_FLIGHT=HELD)
        stage.wait_for_held(HELD)
        stopped.send(signal.SIGSTOP)
        stage.receiver.answer("/hooks", status)  # those held stay open
        other = stage.worker(schedule="60,60")
        settled = Attempt.objects.filter(status_code=status)
        wait_until(lambda: settled.count() == 2 * HELD, LEASE_SECONDS + 10, "the other worker tried all of them")
        assert Attempt.objects.filter(error_kind="unknown").count() == HELD
        rows = list(Delivery.objects.order_by("pk").values())
        assert {row["state"] for row in rows} == {"delivered" if status == 200 else "pending"}
        before = set(Attempt.objects.values_list("pk", flat=True))
        assert len(stage.receiver.requests()) == len(before) == 3 * HELD

        stage.receiver.release("/hooks")
        stopped.send(signal.SIGCONT)
        late = Attempt.objects.exclude(pk__in=before)
        wait_until(lambda: late.count() == HELD, 10, "the late attempts are recorded")
        assert {attempt.number for attempt in late} == {1}
        assert list(Delivery.objects.order_by("pk").values()) == rows

        [event_id] = stage.emit(1)
        stage.wait_for_requests(3 * HELD + 1)
        for worker in (stopped, other):
            worker.send(signal.SIGTERM)
            assert worker.wait(10) == 0, worker.output
        assert [request.id for request in stage.receiver.requests()][3 * HELD :] == [event_id]

    def test_it_sends_nothing_that_it_had_leased_but_not_begun(self, stage):
        stage.endpoint("/hooks")
        events = stage.emit(HELD)
        stopped = stage.script(STOPS_AFTER_ITS_CLAIM)
        wait_until(lambda: Delivery.objects.leased().count() == HELD, 15, "the worker has its leases")
        other = stage.worker()
        stage.wait_until_drained(LEASE_SECONDS + 10)
        assert len(stage.receiver.requests()) == HELD

        own = WorkerPresence.objects.filter(pid=stopped.pid)
        seen_at = own.get().seen_at
        stopped.send(signal.SIGCONT)
        wait_until(lambda: own.get().seen_at > seen_at, 10, "the worker went on to its next turn")
        for worker in (stopped, other):
            worker.send(signal.SIGTERM)
            assert worker.wait(10) == 0, worker.output
        assert sorted(request.id for request in stage.receiver.requests()) == sorted(events)
