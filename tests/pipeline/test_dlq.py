from datetime import timedelta

import pytest
from django.test import override_settings
from django.utils import timezone

from django_relay import exceptions
from django_relay.models import Delivery, DLQEntry, Event
from django_relay.pipeline import dlq
from django_relay.testing import FakeTransport, deliver_pending
from tests.factories import make_delivery, make_dlq_entry, make_endpoint
from tests.pipeline.runners import RecordingRunner
from tests.threads import together

pytestmark = pytest.mark.django_db


def refused(entry):
    with pytest.raises(exceptions.NotReplayable) as caught:
        dlq.replay(entry)
    return caught.value.code


class TestReplay:
    def test_makes_a_new_delivery_with_a_fresh_budget_and_keeps_the_entry(self):
        endpoint = make_endpoint(retry_schedule=[1, 2])
        given_up = make_delivery(endpoint=endpoint, state="failed", attempt_count=3)
        entry, now = make_dlq_entry(given_up), timezone.now()
        delivery = dlq.replay(entry, actor="Bob", now=now)
        delivery.refresh_from_db()
        assert (delivery.event, delivery.endpoint, delivery.tenant_id) == (given_up.event, endpoint, "acme")
        assert (delivery.state, delivery.attempt_count, delivery.max_attempts) == ("pending", 0, 3)
        assert (delivery.next_attempt_at, delivery.replay_of, delivery.trigger) == (now, given_up, "replay")
        assert (entry.replayed_at, entry.replay_count, entry.discarded_at) == (now, 1, None)
        given_up.refresh_from_db()
        assert given_up.state == "failed"
        assert list(DLQEntry.objects.open()) == []

    def test_sends_the_same_message_under_the_same_id(self):
        transport = FakeTransport([500, 200])
        delivery = make_delivery(max_attempts=1)
        deliver_pending(transport=transport)
        dlq.replay(DLQEntry.objects.get())
        (attempt,) = deliver_pending(transport=transport)
        first, second = transport.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivery.event_id
        assert first.body == second.body
        assert (second.headers["webhook-attempt"], attempt.trigger, attempt.number) == ("1", "replay", 1)

    def test_a_replay_that_fails_makes_an_entry_of_its_own(self):
        endpoint = make_endpoint(retry_schedule=[])
        first = make_dlq_entry(make_delivery(endpoint=endpoint, state="failed"))
        delivery = dlq.replay(first)
        deliver_pending(transport=FakeTransport(500))
        second = DLQEntry.objects.get(delivery=delivery)
        assert list(DLQEntry.objects.open()) == [second]
        assert dlq.replay(second).replay_of == delivery

    def test_the_endpoints_new_url_and_schedule_are_used(self):
        entry = make_dlq_entry()
        entry.endpoint.url, entry.endpoint.retry_schedule = "https://new.example/", [1]
        entry.endpoint.save()
        assert dlq.replay(entry).max_attempts == 2
        transport = FakeTransport()
        deliver_pending(transport=transport)
        assert transport.requests[0].url == "https://new.example/"

    def test_one_at_a_time(self):
        entry = make_dlq_entry()
        dlq.replay(entry)
        assert refused(entry) == "already_replaying"
        entry.refresh_from_db()
        assert entry.replay_count == 1
        deliver_pending()
        assert dlq.replay(entry).state == "pending"
        assert entry.replay_count == 2

    def test_what_was_discarded_is_refused(self):
        entry = make_dlq_entry()
        dlq.discard(entry)
        assert refused(entry) == "discarded"
        assert Delivery.objects.count() == 1

    def test_a_deleted_endpoint_is_refused(self):
        entry = make_dlq_entry()
        entry.endpoint.delete()
        assert refused(entry) == "endpoint_deleted"

    def test_an_event_that_is_gone_is_refused(self):
        entry = make_dlq_entry()
        Event.objects.all().delete()
        assert refused(entry) == "event_gone"
        entry.refresh_from_db()
        assert (entry.replay_count, entry.replayed_at) == (0, None)

    def test_an_entry_that_is_gone_is_refused(self):
        entry = make_dlq_entry()
        DLQEntry.objects.all().delete()
        with pytest.raises(exceptions.NotReplayable) as caught:
            dlq.replay(entry)
        assert caught.value.code == "entry_gone"

    def test_a_stale_entry_does_not_get_around_the_rules(self):
        entry = make_dlq_entry()
        stale = DLQEntry.objects.get()
        dlq.discard(entry)
        assert refused(stale) == "discarded"

    def test_while_its_endpoint_is_disabled_it_is_held(self):
        entry = make_dlq_entry()
        entry.endpoint.disable()
        delivery = dlq.replay(entry)
        assert deliver_pending(now=timezone.now() + timedelta(days=3)) == []
        entry.endpoint.enable()
        deliver_pending()
        delivery.refresh_from_db()
        assert delivery.state == "delivered"

    def test_who_asked_is_logged(self, caplog, django_capture_on_commit_callbacks):
        entry = make_dlq_entry()
        with django_capture_on_commit_callbacks(execute=True):
            delivery = dlq.replay(entry, actor="Bob")
        (record,) = caplog.records
        assert (record.event, record.actor) == ("dlq.replayed", "Bob")
        assert (record.dlq_entry_id, record.delivery_id) == (entry.pk, delivery.pk)

    @pytest.mark.django_db(transaction=True)
    def test_wakes_a_worker_after_the_commit(self):
        from django.conf import settings

        entry = make_dlq_entry()
        RecordingRunner.woken.clear()
        runner = "tests.pipeline.runners.RecordingRunner"
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "RUNNER": runner}):
            dlq.replay(entry)
        assert RecordingRunner.woken == ["default"]

    @pytest.mark.django_db(transaction=True)
    def test_of_several_at_once_one_wins(self):
        entry = make_dlq_entry()
        results = together(lambda number: dlq.replay(DLQEntry.objects.get(pk=entry.pk)), 4)
        assert sum(isinstance(result, Delivery) for result in results) == 1
        assert [r.code for r in results if isinstance(r, Exception)] == ["already_replaying"] * 3
        entry.refresh_from_db()
        assert entry.replay_count == 1
        assert Delivery.objects.filter(state="pending").count() == 1


class TestDiscard:
    def test_keeps_the_entry_and_its_event(self):
        entry, now = make_dlq_entry(), timezone.now()
        assert dlq.discard(entry, now=now) is True
        assert entry.discarded_at == now
        assert list(DLQEntry.objects.open()) == []
        assert Event.objects.count() == 1

    def test_again_changes_nothing(self):
        entry, now = make_dlq_entry(), timezone.now()
        dlq.discard(entry, now=now)
        assert dlq.discard(entry, now=now + timedelta(days=1)) is False
        assert entry.discarded_at == now

    def test_leaves_a_replay_under_way_alone(self):
        entry = make_dlq_entry()
        delivery = dlq.replay(entry)
        assert dlq.discard(entry) is True
        deliver_pending()
        delivery.refresh_from_db()
        assert delivery.state == "delivered"
