import pytest

from django_relay.models import Attempt, Delivery

pytestmark = pytest.mark.process


class TestFirstDelivery:
    def test_an_event_reaches_the_receiver_signed_and_once(self, stage):
        stage.endpoint("/hooks")
        stage.worker()
        [event_id] = stage.emit(1)
        stage.wait_until_drained()
        [request] = stage.receiver.requests()
        assert (request.id, request.attempt, request.verified, request.answer) == (event_id, 1, (0,), 200)
        delivery = Delivery.objects.get()
        attempt = Attempt.objects.get()
        assert (delivery.state, delivery.attempt_count, attempt.status_code) == ("delivered", 1, 200)
