"""PostgreSQL sessions of a worker: never left in a transaction, and not missed when they are cut."""

import random
import signal
import time

import pytest
from django.db import connection

from django_relay.models import Delivery
from tests.faults.audit import audit
from tests.processes import ATTEMPT_SECONDS, LEASE_SECONDS, wait_until

pytestmark = pytest.mark.process

PATHS = ["/one", "/two"]


def others(columns):
    """Return these columns of the sessions of this database that are not the test's."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        return cursor.fetchall()


class TestConnections:
    def test_no_transaction_is_open_while_requests_are(self, postgres_stage):
        stage = postgres_stage
        stage.endpoint("/hooks")
        stage.receiver.hold("/hooks")
        stage.emit(30)
        stage.worker(MAX_IN_FLIGHT=30)
        stage.wait_for_held(30)
        ends_at = time.monotonic() + 1.2
        seen = []
        while time.monotonic() < ends_at:
            seen += others("state, clock_timestamp() - coalesce(xact_start, clock_timestamp())")
        assert stage.receiver.held() == 30
        idle = [age.total_seconds() for state, age in seen if state.startswith("idle in transaction")]
        longest = max(age.total_seconds() for _state, age in seen)
        print(f"\n{len(seen)} looks, {len(idle)} into a transaction; the oldest of them {1_000 * longest:.1f} ms")
        assert longest < 0.5, "the requests have been open for longer"

    def test_a_worker_whose_sessions_are_cut_goes_on_and_loses_nothing(self, postgres_stage):
        stage = postgres_stage
        for path in PATHS:
            stage.endpoint(path)
            stage.receiver.answer(path, 200, delay=0.02)
        worker = stage.worker()
        events, cut = [], 0
        for _ in range(5):
            events += stage.emit(100)
            time.sleep(random.uniform(0, 0.3))
            cut += len(wait_until(lambda: others("pg_terminate_backend(pid)"), 10, "the worker has a session"))
        stage.wait_until_drained(LEASE_SECONDS + ATTEMPT_SECONDS + 20)
        assert worker.is_running()
        found = audit(stage, {(event_id, path) for event_id in events for path in PATHS})
        print(f"\n{cut} sessions cut: {found}")
        found.assert_clean()
        assert cut >= 5
        assert found.repeated <= found.unknown

    def test_a_worker_whose_session_is_cut_while_it_stops_settles_all_the_same(self, postgres_stage):
        stage = postgres_stage
        stage.endpoint("/slow")
        stage.receiver.answer("/slow", 200, delay=1)
        events = stage.emit(8)
        worker = stage.worker(POLL_SECONDS=5)
        stage.wait_for_held(8)
        wait_until(lambda: all(state == "idle" for (state,) in others("state")), 5, "the worker waits")
        others("pg_terminate_backend(pid)")
        worker.send(signal.SIGTERM)
        assert worker.wait(ATTEMPT_SECONDS + 5) == 0, worker.output
        assert Delivery.objects.filter(state="delivered").count() == 8
        found = audit(stage, {(event_id, "/slow") for event_id in events})
        found.assert_clean()
        assert found.repeated == found.unknown == 0
