"""What a worker asks before it does anything: its answer is that of the querysets which say what each state means."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from django_relay.models import Application, Delivery, Erasure, Event, Replay, due
from tests.factories import USING, make_delivery, make_event, make_replay

pytestmark = pytest.mark.django_db


def work():
    return due.work(now=timezone.now(), using=USING)


class TestWork:
    def test_nothing(self):
        assert work() == due.Work(events=False, deliveries=False, in_bulk=False)

    @pytest.mark.parametrize("status", Event.Status.values)
    def test_events(self, status):
        event = make_event()
        Event.objects.filter(pk=event.pk).update(status=status)
        assert work() == due.Work(events=Event.objects.pending().exists(), deliveries=False, in_bulk=False)
        assert work().events == (status == "pending")

    @pytest.mark.parametrize("state", Delivery.State.values)
    def test_deliveries(self, state):
        make_delivery(state=state)
        assert work() == due.Work(events=False, deliveries=state == "pending", in_bulk=False)

    @pytest.mark.parametrize(("minutes", "is_due"), [(-1, True), (1, False)])
    def test_deliveries_under_a_lease(self, minutes, is_due):
        now = timezone.now()
        lease = {"lease_token": uuid.uuid4(), "leased_at": now, "leased_until": now + timedelta(minutes=minutes)}
        make_delivery(**lease)
        assert work().deliveries == Delivery.objects.due(timezone.now()).exists() == is_due

    def test_deliveries_whose_time_has_not_come(self):
        make_delivery(next_attempt_at=timezone.now() + timedelta(minutes=1))
        assert not work().deliveries

    @pytest.mark.parametrize("state", Replay.State.values)
    def test_replays(self, state):
        replay = make_replay()
        ended = None if state in {"pending", "running"} else timezone.now()
        Replay.objects.filter(pk=replay.pk).update(state=state, completed_at=ended)
        in_progress = Replay.objects.in_progress().exists()
        assert work() == due.Work(events=False, deliveries=False, in_bulk=in_progress)

    @pytest.mark.parametrize("state", Erasure.State.values)
    def test_erasures(self, state):
        Erasure.objects.create(application=Application.objects.get(slug="default"), tenant_id="acme", state=state)
        in_progress = Erasure.objects.in_progress().exists()
        assert work() == due.Work(events=False, deliveries=False, in_bulk=in_progress)
