import contextlib
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from django_relay import exceptions
from django_relay.models import Delivery, DLQEntry, Event
from django_relay.pipeline import deliveries, dlq, leases
from django_relay.testing import FakeTransport, deliver_pending
from tests.factories import USING, make_delivery, make_dlq_entry, make_endpoint
from tests.threads import together

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def refused(call, *arguments, **keywords):
    with pytest.raises(exceptions.RelayError) as caught:
        call(*arguments, **keywords)
    return caught.value.code


def lease(delivery, *, ends_in):
    now = timezone.now()
    Delivery.objects.filter(pk=delivery.pk).update(
        lease_token=uuid.uuid4(), leased_at=now - HOUR, leased_until=now + ends_in
    )


class TestRetry:
    def test_a_pending_one_becomes_due_and_keeps_its_attempts(self):
        delivery = make_delivery(attempt_count=3, next_attempt_at=timezone.now() + HOUR)
        assert deliver_pending() == []
        assert deliveries.retry(delivery) == delivery
        assert (delivery.attempt_count, delivery.max_attempts) == (3, 10)
        (attempt,) = deliver_pending(transport=FakeTransport(500))
        assert (attempt.number, attempt.trigger) == (4, "automatic")

    def test_one_in_flight_is_refused_until_its_lease_ends(self):
        delivery = make_delivery()
        lease(delivery, ends_in=HOUR)
        assert refused(deliveries.retry, delivery) == "in_flight"
        lease(delivery, ends_in=-HOUR)
        assert deliveries.retry(delivery).state == "pending"

    def test_a_failed_one_goes_by_its_dlq_entry(self):
        entry = make_dlq_entry()
        made = deliveries.retry(entry.delivery, actor="Bob")
        assert (made.replay_of, made.attempt_count, made.state) == (entry.delivery, 0, "pending")
        entry.refresh_from_db()
        assert entry.replay_count == 1
        assert refused(deliveries.retry, entry.delivery) == "already_replaying"
        deliver_pending()
        dlq.discard(entry)
        assert refused(deliveries.retry, entry.delivery) == "discarded"

    @pytest.mark.parametrize("state", ["delivered", "cancelled", "failed"])
    def test_a_settled_one_without_an_entry_is_sent_as_a_new_delivery(self, state):
        delivery = make_delivery(state=state, attempt_count=2)
        made = deliveries.retry(delivery)
        assert (made.replay_of_id, made.attempt_count, made.trigger) == (delivery.pk, 0, "replay")
        assert delivery.state == state
        assert refused(deliveries.retry, delivery) == "already_replaying"
        assert len(deliver_pending()) == 1
        assert deliveries.retry(delivery) != made

    def test_what_is_gone_says_so(self):
        delivery = make_delivery(state="delivered")
        delivery.endpoint.delete()
        assert refused(deliveries.retry, delivery) == "endpoint_deleted"
        delivery = make_delivery(state="delivered")
        Event.objects.all().delete()
        assert refused(deliveries.retry, delivery) == "event_gone"
        Delivery.objects.all().delete()
        assert refused(deliveries.retry, delivery) == "delivery_gone"

    def test_while_its_endpoint_is_disabled_it_is_held(self):
        delivery = make_delivery(next_attempt_at=timezone.now() + HOUR)
        delivery.endpoint.disable()
        deliveries.retry(delivery)
        assert deliver_pending() == []
        delivery.endpoint.enable()
        assert len(deliver_pending()) == 1

    @pytest.mark.django_db(transaction=True)
    def test_of_several_at_once_one_wins(self):
        delivery = make_delivery(state="delivered")
        results = together(lambda number: deliveries.retry(Delivery.objects.get(pk=delivery.pk)), 4)
        assert [r.code for r in results if isinstance(r, Exception)] == ["already_replaying"] * 3

    def test_who_asked_is_logged(self, caplog, django_capture_on_commit_callbacks):
        delivery = make_delivery(state="delivered")
        with django_capture_on_commit_callbacks(execute=True):
            made = deliveries.retry(delivery, actor="Bob")
        (record,) = [record for record in caplog.records if record.event == "delivery.retried"]
        assert (record.delivery_id, record.sent_id, record.actor) == (delivery.pk, made.pk, "Bob")


class TestCancel:
    def test_a_pending_one_is_attempted_no_more(self, caplog, django_capture_on_commit_callbacks):
        delivery, now = make_delivery(attempt_count=2), timezone.now()
        with django_capture_on_commit_callbacks(execute=True):
            deliveries.cancel(delivery, actor="Bob", now=now)
        assert (delivery.state, delivery.completed_at, delivery.attempt_count) == ("cancelled", now, 2)
        assert deliver_pending() == []
        assert not DLQEntry.objects.exists()
        (record,) = [record for record in caplog.records if record.event == "delivery.cancelled"]
        assert (record.delivery_id, record.actor) == (delivery.pk, "Bob")

    def test_one_in_flight_is_refused_until_its_lease_ends(self):
        delivery = make_delivery()
        lease(delivery, ends_in=HOUR)
        assert refused(deliveries.cancel, delivery) == "in_flight"
        lease(delivery, ends_in=-HOUR)
        deliveries.cancel(delivery)
        assert (delivery.state, delivery.lease_token) == ("cancelled", None)

    @pytest.mark.parametrize("state", ["delivered", "failed", "cancelled"])
    def test_a_settled_one_is_refused(self, state):
        delivery = make_delivery(state=state)
        assert refused(deliveries.cancel, delivery) == "not_pending"
        assert delivery.state == state

    def test_one_that_is_gone_is_refused(self):
        delivery = make_delivery()
        Delivery.objects.all().delete()
        assert refused(deliveries.cancel, delivery) == "delivery_gone"

    @pytest.mark.django_db(transaction=True)
    def test_beside_a_claim_either_wins(self):
        found = [make_delivery(endpoint=make_endpoint()) for _ in range(10)]

        def act(number):
            if number:
                return [item.delivery_id for item in leases.claim(50, now=timezone.now(), using=USING).leases]
            cancelled = []
            for delivery in found:
                with contextlib.suppress(exceptions.WrongState):
                    cancelled.append(deliveries.cancel(Delivery.objects.get(pk=delivery.pk)).pk)
            return cancelled

        cancelled, leased, more = together(act, 3)
        assert not set(cancelled) & {*leased, *more}
        assert {*cancelled, *leased, *more} == {delivery.pk for delivery in found}
