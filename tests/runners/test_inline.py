import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings

from django_relay import emit, signals
from django_relay.models import Delivery, Event
from django_relay.runners import inline
from tests.factories import INVOICE, make_endpoint, make_event
from tests.runners import transports

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _inline():
    transports.Recording.reset()
    values = {"RUNNER": "django_relay.runners.inline.InlineRunner", "TRANSPORT": "tests.runners.transports.Recording"}
    with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values}):
        yield


class TestWake:
    def test_delivers_right_after_the_commit_and_not_before(self):
        make_endpoint()
        with transaction.atomic():
            make_event()
            assert transports.Recording.sent == []
        assert len(transports.Recording.sent) == 1
        assert Delivery.objects.get().state == "delivered"

    def test_what_was_rolled_back_is_not_sent(self):
        make_endpoint()
        with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - the block is what is rolled back
            make_event()
            raise ZeroDivisionError
        assert transports.Recording.sent == []

    def test_a_failure_waits_for_the_next_emit(self):
        make_endpoint()
        transports.Recording.status_code = 500
        make_event()
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.attempt_count) == ("pending", 1)
        transports.Recording.status_code = 200
        Delivery.objects.update(next_attempt_at=delivery.created_at)
        make_event()
        assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}

    def test_an_emit_from_a_signal_of_the_delivery_is_delivered_by_the_same_run(self):
        def again(sender, instance, **kwargs):
            if instance.event.event_type == "invoice.created":
                emit("invoice.paid", INVOICE, tenant_id="acme")

        make_endpoint()
        signals.delivery_succeeded.connect(again)
        try:
            make_event("invoice.created")
        finally:
            signals.delivery_succeeded.disconnect(again)
        assert Event.objects.count() == 2
        assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
        assert len(transports.Recording.sent) == 2

    def test_closes_its_transport_and_can_run_again_after_it_broke(self):
        make_endpoint()
        transports.Recording.broken = True
        make_event()
        assert (transports.Recording.sent, transports.Recording.closed) == ([], 1)
        transports.Recording.broken = False
        make_event()
        assert (len(transports.Recording.sent), transports.Recording.closed) == (2, 2)

    def test_a_transport_that_breaks_does_not_reach_the_emitter(self):
        make_endpoint()
        transports.Recording.broken = True
        assert make_event() == Event.objects.get()

    def test_has_nothing_to_check(self):
        assert inline.InlineRunner().check() == []
