"""SIGKILL at random moments, audited. Rerun one by its seed; ``RELAY_FAULT_ROUNDS=200`` makes a night of it."""

import os
import random
import time

import pytest

from tests.faults.audit import audit
from tests.processes import wait_until

pytestmark = pytest.mark.process

ROUNDS = int(os.environ.get("RELAY_FAULT_ROUNDS", "3"))
EVENTS = int(os.environ.get("RELAY_FAULT_EVENTS", "60"))
PATHS = ["/one", "/two", "/three"]
SHORT = {"LEASE_SECONDS": 3, "TIMEOUT_SECONDS": 1.5, "MAX_IN_FLIGHT": 8}


class TestRandomKills:
    def test_nothing_is_lost_and_every_repeat_is_explained(self, stage, backend):
        seed = os.environ.get("RELAY_FAULT_SEED") or f"{time.time_ns():x}"
        chance = random.Random(seed)
        for path in PATHS:
            stage.endpoint(path)
            stage.receiver.answer(path, 200, delay=0.05)
        workers = [stage.worker(**SHORT) for _ in range(2)]
        expected = set()
        for number in range(1, ROUNDS + 1):
            emitted_at = time.monotonic()
            for _ in range(3):
                expected |= {(event_id, path) for event_id in stage.emit(EVENTS // 3) for path in PATHS}
            wait_until(lambda: len(stage.receiver.requests()) > 0, 10)
            time.sleep(chance.uniform(0, 0.8))
            victim = workers.pop(chance.randrange(2))
            victim.kill()
            killed_at = time.monotonic()
            workers.append(stage.worker(**SHORT))
            stage.wait_until_drained(30)
            last = max(request.at for request in stage.receiver.requests())
            found = audit(stage, expected)
            print(
                f"\nseed={seed} {backend} round={number} killed_after={killed_at - emitted_at:.2f}s "
                f"recovered={max(last - killed_at, 0):.2f}s {found}"
            )
            found.assert_clean()
            assert found.ok == found.expected
            assert found.repeated <= found.unknown <= number * SHORT["MAX_IN_FLIGHT"]
