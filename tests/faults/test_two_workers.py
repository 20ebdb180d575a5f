"""Two workers on one database: everything once."""

import time

import pytest

from tests import processes
from tests.faults.audit import audit

pytestmark = pytest.mark.process

PATHS = ["/one", "/two", "/three"]
EVENTS = {"postgres": 2_000, "sqlite": 300}


class TestTwoWorkers:
    def test_each_endpoint_receives_each_event_exactly_once(self, stage, backend):
        for path in PATHS:
            stage.endpoint(path)
        workers = [stage.worker(LEASE_SECONDS=60) for _ in range(2)]
        began_at = time.monotonic()
        events = []
        for _ in range(10):
            events += stage.emit(EVENTS[backend] // 10)
        stage.wait_until_drained(150)
        took = time.monotonic() - began_at
        found = audit(stage, {(event_id, path) for event_id in events for path in PATHS})
        print(f"\ntwo workers on {backend}: {found.received / took:.0f} deliveries/s in {took:.1f} s; {found}")
        found.assert_clean()
        assert found.received == found.ok == len(PATHS) * EVENTS[backend]
        assert found.unknown == 0
        assert [worker.output for worker in workers] == [processes.WORKER_STARTED] * 2
