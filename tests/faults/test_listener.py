"""A worker that PostgreSQL tells of work: it delivers at once, also after its listening session was cut."""

import signal
import time

import pytest
from django.db import connection

from tests.faults.audit import audit
from tests.processes import wait_until

pytestmark = pytest.mark.process

LISTENERS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'django_relay listener'"


def listeners(columns="pid, query"):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} {LISTENERS}")
        return cursor.fetchall()


def wait_until_listening():
    wait_until(lambda: [query for _pid, query in listeners()] == ["LISTEN django_relay"], 10, "the worker listens")
    time.sleep(0.5)  # until it has proved it, looked for what it may have missed, and is idle again


def seconds_to_arrive(stage, path):
    """Emit, and return how long it took until the receiver had it."""
    began_at = time.monotonic()
    before = len(stage.receiver.requests(path))
    stage.emit(1)
    wait_until(lambda: len(stage.receiver.requests(path)) > before, 20, "it came", every=0.002)
    return time.monotonic() - began_at


class TestListener:
    def test_an_idle_worker_delivers_long_before_it_would_look(self, postgres_stage):
        stage = postgres_stage
        stage.endpoint("/hooks")
        stage.worker(POLL_SECONDS=8)
        wait_until_listening()
        time.sleep(3)  # its pauses grow
        took = [seconds_to_arrive(stage, "/hooks") for _ in range(3)]
        print(f"\n{', '.join(f'{1_000 * seconds:.0f} ms' for seconds in took)}")
        assert max(took) < 1

    def test_after_its_listening_session_was_cut_it_hears_again(self, postgres_stage):
        stage = postgres_stage
        stage.endpoint("/hooks")
        worker = stage.worker(POLL_SECONDS=8)
        wait_until_listening()
        [(first, _)] = listeners()
        listeners("pg_terminate_backend(pid)")
        wait_until(lambda: [pid for pid, _ in listeners() if pid != first], 10, "it is back")
        wait_until_listening()
        time.sleep(3)
        events = stage.emit(1)
        stage.wait_for_requests(1, seconds=1)
        stage.wait_until_drained()
        audit(stage, {(event_id, "/hooks") for event_id in events}).assert_clean()
        assert worker.output.count("Notifications do not arrive") == 1

    def test_one_that_may_not_listen_polls(self, postgres_stage):
        stage = postgres_stage
        stage.endpoint("/hooks")
        stage.worker(POLL_SECONDS=0.2, NOTIFY=False)
        assert listeners() == []
        assert seconds_to_arrive(stage, "/hooks") < 2

    def test_a_worker_that_stops_leaves_no_session(self, postgres_stage):
        stage = postgres_stage
        worker = stage.worker()
        wait_until_listening()
        worker.send(signal.SIGTERM)
        assert worker.wait(5) == 0, worker.output
        wait_until(lambda: listeners() == [], 2, "no session is left")
