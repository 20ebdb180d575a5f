"""SIGKILL of a whole django-q2 cluster with requests in flight."""

import time

import pytest

from django_relay.models import Attempt, Delivery
from tests.faults.audit import audit
from tests.processes import ATTEMPT_SECONDS, LEASE_SECONDS

pytestmark = pytest.mark.process

HELD = 20


class TestKilledCluster:
    def test_all_is_delivered_after_a_restart_and_repeats_are_explained(self, stage):
        stage.endpoint("/hooks")
        stage.receiver.hold("/hooks")
        events = stage.emit(HELD + 10)
        cluster = stage.cluster(MAX_IN_FLIGHT=HELD)
        stage.wait_for_held(HELD)
        cluster.kill()
        assert not cluster.members()
        in_flight = {request.id for request in stage.receiver.requests()}
        assert len(in_flight) == HELD
        assert Delivery.objects.leased().count() == HELD

        restarted_at = time.monotonic()
        stage.cluster(MAX_IN_FLIGHT=HELD)
        stage.receiver.release("/hooks")
        stage.wait_until_drained(LEASE_SECONDS + ATTEMPT_SECONDS + 15)

        requests = stage.receiver.requests()
        took = max(request.at for request in requests) - restarted_at
        found = audit(stage, {(event_id, "/hooks") for event_id in events})
        print(f"\nkilled cluster: last delivery {took:.2f} s after the restart; {found}")
        found.assert_clean()
        assert found.repeated == found.unknown == HELD
        unknown = Attempt.objects.filter(error_kind="unknown")
        assert {attempt.delivery.event_id for attempt in unknown.select_related("delivery")} == in_flight
        assert [request.attempt for request in requests[HELD:] if request.id in in_flight] == [2] * HELD
        assert took < LEASE_SECONDS + 10
