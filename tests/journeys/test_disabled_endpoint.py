"""Deliveries of an endpoint that is disabled wait for it; they are neither tried nor given up."""

import pytest

from django_relay.models import Attempt, Delivery, DLQEntry, Endpoint
from tests.processes import wait_until

pytestmark = pytest.mark.process


class TestDisabledEndpoint:
    def test_what_was_due_is_held_and_goes_out_when_it_is_enabled(self, stage):
        endpoint = stage.endpoint("/hooks")
        stage.endpoint("/witness")
        stage.receiver.answer("/hooks", 500)
        stage.worker(schedule="0.3,0.3,0.3")
        events = stage.emit(5)
        stage.wait_for_requests(5, "/hooks")
        wait_until(lambda: Attempt.objects.filter(status_code=500).count() >= 5, 10, "the first attempts are recorded")
        endpoint.disable("tenant")
        wait_until(lambda: not Delivery.objects.leased().exists(), 10, "what was in flight came back")
        received = len(stage.receiver.requests("/hooks"))

        stage.emit(5)  # while disabled: it does not match, and its witness shows that time passes
        stage.wait_for_requests(10, "/witness")
        wait_until(lambda: Delivery.objects.pending().count() == 5, 10, "the witness has its events")
        assert len(stage.receiver.requests("/hooks")) == received

        stage.receiver.answer("/hooks", 200)
        endpoint.enable()
        stage.wait_until_drained()
        delivered = [request.id for request in stage.receiver.requests("/hooks")[received:]]
        assert sorted(delivered) == sorted(events)
        assert not DLQEntry.objects.exists()

    def test_410_disables_it_and_holds_the_rest(self, stage):
        endpoint = stage.endpoint("/hooks")
        stage.receiver.answer("/hooks", 410)
        events = stage.emit(10)
        stage.worker(MAX_IN_FLIGHT=2)
        wait_until(
            lambda: not Endpoint.objects.open().exists() and not Delivery.objects.leased().exists(), 15, "it is gone"
        )
        endpoint.refresh_from_db()
        assert (endpoint.enabled, endpoint.disabled_reason) == (False, "gone")
        given_up = set(DLQEntry.objects.values_list("event_id", flat=True))
        assert 1 <= len(given_up) <= 2
        assert {request.id for request in stage.receiver.requests()} == given_up
        assert Delivery.objects.pending().count() == 10 - len(given_up)

        stage.receiver.answer("/hooks", 200)
        endpoint.enable()
        stage.wait_until_drained()
        answered = [request.id for request in stage.receiver.requests() if request.answer == 200]
        assert sorted(answered) == sorted(set(events) - given_up)
