"""A receiver that fails for a while, and one that fails for too long."""

import itertools

import pytest

from django_relay.models import Attempt, Delivery, DLQEntry
from django_relay.pipeline import dlq
from tests.processes import wait_until

pytestmark = pytest.mark.process


class TestOutage:
    def test_a_short_one_is_survived_by_retries(self, stage):
        stage.endpoint("/hooks")
        stage.receiver.answer("/hooks", 500, 503, 200)
        stage.worker(schedule="0.3,0.3")
        [event_id] = stage.emit(1)
        stage.wait_for_requests(3)
        stage.wait_until_drained()
        requests = stage.receiver.requests()
        assert [(request.id, request.attempt, request.answer) for request in requests] == [
            (event_id, 1, 500),
            (event_id, 2, 503),
            (event_id, 3, 200),
        ]
        assert len({request.sha256 for request in requests}) == 1
        assert all(later.at - sooner.answered_at >= 0.3 for sooner, later in itertools.pairwise(requests))
        assert Delivery.objects.get().state == "delivered"
        assert not DLQEntry.objects.exists()

    def test_a_long_one_ends_in_the_dlq_from_which_it_is_replayed_once_healed(self, stage):
        endpoint = stage.endpoint("/hooks")
        stage.receiver.answer("/hooks", 500)
        stage.worker(schedule="0.2,0.2")
        events = stage.emit(3)
        wait_until(lambda: DLQEntry.objects.count() == 3, 15, "all are in the DLQ")
        assert len(stage.receiver.requests()) == 9
        assert stage.is_drained()
        for entry in DLQEntry.objects.all():
            assert (entry.error, entry.attempt_count, entry.last_status_code) == ("HTTP 500", 3, 500)
            assert (entry.endpoint_id, entry.url) == (endpoint.pk, endpoint.url)

        stage.receiver.answer("/hooks", 200)
        for entry in DLQEntry.objects.all():
            dlq.replay(entry)
        stage.wait_for_requests(12)
        stage.wait_until_drained()
        replayed = stage.receiver.requests()[9:]
        assert sorted(request.id for request in replayed) == sorted(events)
        assert {request.attempt for request in replayed} == {1}
        assert all(request.verified for request in replayed)
        first = {request.id: request.sha256 for request in stage.receiver.requests()[:9]}
        assert {request.id: request.sha256 for request in replayed} == first
        assert Delivery.objects.filter(state="delivered", replay_of__isnull=False).count() == 3
        assert Attempt.objects.filter(trigger="replay", status_code=200).count() == 3
        assert all(entry.replayed_at for entry in DLQEntry.objects.all())
