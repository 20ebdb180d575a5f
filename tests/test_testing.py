"""The helpers for projects' own tests, used as a project would: in Django's TestCase, which never commits."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.test import TestCase
from django.utils import timezone

from django_relay import emit
from django_relay.models import Delivery, Event
from django_relay.testing import FakeTransport, capture_events, deliver_pending
from example_project.shop.models import Invoice
from tests.factories import make_endpoint, make_event
from tests.people import ALICE, CHARLIE

DATA = {"number": "1", "amount": "9.00", "currency": "EUR"}


class TestOnePlainTestCase(TestCase):
    def test_the_docstrings_example(self):
        make_endpoint(ALICE)
        invoice = Invoice.objects.create(customer=ALICE.tenant_id, number="42", amount="9.00")
        with capture_events() as events:
            invoice.pay()
        assert [event.event_type for event in events] == ["invoice.paid"]
        transport = FakeTransport()
        deliver_pending(transport=transport)
        assert transport.requests[0].headers["webhook-id"] == events[0].id


pytest_only = pytest.mark.django_db


@pytest_only
class TestCaptureEvents:
    def test_only_what_was_emitted_in_the_block_in_order(self):
        make_event()
        with capture_events() as events:
            made = [make_event("invoice.created"), make_event(), make_event(person=CHARLIE)]
            assert events == []
        make_event()
        assert events == made

    def test_not_what_was_rolled_back(self):
        with capture_events() as events:
            kept = make_event()
            with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - the block is what is rolled back
                make_event()
                raise ZeroDivisionError
        assert events == [kept]

    def test_a_repeat_is_no_new_event(self):
        make_event(idempotency_key="k")
        with capture_events() as events:
            make_event(idempotency_key="k")
        assert events == []


@pytest_only
class TestDeliverPending:
    def test_answers_200_by_itself_and_returns_the_attempts(self):
        make_endpoint(), make_endpoint()
        make_event()
        attempts = deliver_pending()
        assert [attempt.status_code for attempt in attempts] == [200, 200]
        assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
        assert deliver_pending() == []

    def test_nothing_emitted_nothing_delivered(self):
        assert deliver_pending() == []

    def test_a_retry_is_due_later(self):
        make_endpoint()
        make_event()
        transport = FakeTransport([500, 200])
        assert len(deliver_pending(transport=transport)) == 1
        assert deliver_pending(transport=transport) == []
        (attempt,) = deliver_pending(transport=transport, now=timezone.now() + timedelta(minutes=1))
        assert (attempt.number, attempt.status_code) == (2, 200)

    def test_more_than_one_batch(self):
        make_endpoint()
        for _ in range(70):
            emit("invoice.paid", DATA, tenant_id="acme")
        assert len(deliver_pending()) == 70
        assert Event.objects.filter(status="dispatched").count() == 70


@pytest_only
class TestFakeTransport:
    def deliver(self, transport, times=1):
        make_endpoint()
        for _ in range(times):
            make_event()
        return deliver_pending(transport=transport)

    def test_one_answer_for_all(self):
        assert [a.status_code for a in self.deliver(FakeTransport(503), times=3)] == [503] * 3

    def test_a_list_is_used_up_and_its_last_answer_repeats(self):
        transport = FakeTransport([500, 404, 200])
        self.deliver(transport, times=4)
        assert sorted(Delivery.objects.values_list("last_status_code", flat=True)) == [200, 200, 404, 500]
        assert len(transport.requests) == 4

    def test_an_exception_is_a_connection_that_failed(self):
        (attempt,) = self.deliver(FakeTransport(OSError("refused")))
        assert (attempt.status_code, attempt.error_kind, attempt.error) == (None, "connection", "refused")

    def test_a_callable_sees_the_request(self):
        seen = []

        def answer(request):
            seen.append(request)
            return 202

        transport = FakeTransport(answer)
        (attempt,) = self.deliver(transport)
        assert attempt.status_code == 202
        assert seen == transport.requests
        assert seen[0].url == ALICE.url
