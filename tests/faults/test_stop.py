"""Signals that ask for an end: nothing new begins, what is in hand is finished, nothing is left or sent twice."""

import signal
import time

import pytest

from django_relay.models import Attempt, Delivery, WorkerPresence
from tests.faults.audit import audit
from tests.processes import ATTEMPT_SECONDS, PASS_SECONDS

pytestmark = pytest.mark.process

IN_FLIGHT = 8
GRACE_SECONDS = ATTEMPT_SECONDS + 5


def begun_after(stage, moment):
    return [request.id for request in stage.receiver.requests() if request.at > moment]


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_worker_finishes_what_is_in_hand_and_begins_nothing(self, stage, number):
        stage.endpoint("/slow")
        stage.receiver.answer("/slow", 200, delay=1.2)
        events = stage.emit(3 * IN_FLIGHT)
        worker = stage.worker(MAX_IN_FLIGHT=IN_FLIGHT)
        stage.wait_for_held(IN_FLIGHT)
        worker.send(number)
        signalled_at = time.monotonic()
        assert worker.wait(GRACE_SECONDS) == 0, worker.output
        print(f"\n{number.name}: exit after {time.monotonic() - signalled_at:.2f} s")
        assert begun_after(stage, signalled_at + 0.1) == []
        assert Delivery.objects.leased().count() == 0
        assert not WorkerPresence.objects.exclude(state="queued").exists()
        assert Attempt.objects.count() == len(stage.receiver.requests()) == IN_FLIGHT

        stage.worker()
        stage.wait_until_drained()
        found = audit(stage, {(event_id, "/slow") for event_id in events})
        found.assert_clean()
        assert found.repeated == found.unknown == 0

    def test_a_worker_waits_for_a_receiver_no_longer_than_the_deadline(self, stage):
        stage.endpoint("/hooks")
        stage.receiver.hold("/hooks")
        events = stage.emit(3 * IN_FLIGHT)
        worker = stage.worker(MAX_IN_FLIGHT=IN_FLIGHT, schedule="1,1,1")
        stage.wait_for_held(IN_FLIGHT)
        worker.send(signal.SIGTERM)
        signalled_at = time.monotonic()
        assert worker.wait(GRACE_SECONDS) == 0, worker.output
        print(f"\nSIGTERM while all hang: exit after {time.monotonic() - signalled_at:.2f} s")
        assert begun_after(stage, signalled_at + 0.1) == []
        assert Delivery.objects.leased().count() == 0
        assert {attempt.error_kind for attempt in Attempt.objects.all()} == {"timeout"}

        stage.worker()
        stage.receiver.release("/hooks")
        stage.wait_until_drained()
        found = audit(stage, {(event_id, "/hooks") for event_id in events})
        found.assert_clean()
        assert (found.repeated, found.unknown) == (IN_FLIGHT, 0)

    def test_a_worker_survives_a_storm_of_signals(self, postgres_stage):
        stage = postgres_stage
        stage.endpoint("/slow")
        stage.receiver.answer("/slow", 200, delay=1)
        stage.emit(IN_FLIGHT)
        worker = stage.worker(MAX_IN_FLIGHT=IN_FLIGHT)
        stage.wait_for_held(IN_FLIGHT)
        ends_at = time.monotonic() + 0.5
        while time.monotonic() < ends_at:
            worker.send(signal.SIGTERM)
            worker.send(signal.SIGINT)
        assert worker.wait(GRACE_SECONDS) == 0, worker.output
        assert Delivery.objects.filter(state="delivered").count() == IN_FLIGHT
        assert Delivery.objects.leased().count() == 0

    def test_a_cluster_stops_when_its_pass_ends(self, stage):
        stage.endpoint("/slow")
        stage.receiver.answer("/slow", 200, delay=0.5)
        events = stage.emit(20 * IN_FLIGHT)
        cluster = stage.cluster(MAX_IN_FLIGHT=IN_FLIGHT)
        stage.wait_for_held(IN_FLIGHT)
        cluster.send(signal.SIGTERM)
        signalled_at = time.monotonic()
        assert cluster.wait(PASS_SECONDS + GRACE_SECONDS) == 0, cluster.output
        print(f"\nSIGTERM to qcluster: exit after {time.monotonic() - signalled_at:.2f} s")
        assert cluster.members() == []
        assert Delivery.objects.leased().count() == 0
        assert not WorkerPresence.objects.exclude(state="queued").exists()
        assert Attempt.objects.count() == len(stage.receiver.requests()) < len(events)

        stage.receiver.answer("/slow", 200)
        stage.worker()
        stage.wait_until_drained()
        found = audit(stage, {(event_id, "/slow") for event_id in events})
        found.assert_clean()
        assert found.repeated == found.unknown == 0
