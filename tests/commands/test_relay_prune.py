import io
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from django_relay.models import Delivery, Event
from django_relay.pipeline import upkeep
from tests.factories import make_delivery

pytestmark = pytest.mark.django_db


def prune():
    out, err = io.StringIO(), io.StringIO()
    call_command("relay_prune", stdout=out, stderr=err)
    assert err.getvalue() == ""  # a counter is for terminals
    return {name: int(count) for count, name in (line.split(maxsplit=1) for line in out.getvalue().splitlines())}


class TestRelayPrune:
    def test_says_what_it_deleted_of_each_kind(self):
        long_ago = timezone.now() - timedelta(days=400)
        for _ in range(3):
            make_delivery(state="delivered")
        Event.objects.update(created_at=long_ago)
        Delivery.objects.update(created_at=long_ago, completed_at=long_ago)
        kept = make_delivery()
        assert prune() == {**dict.fromkeys(upkeep.CHORES, 0), "deliveries": 3, "events": 3}
        assert list(Delivery.objects.all()) == [kept]

    def test_twice_is_a_no_op(self):
        make_delivery()
        assert prune() == prune() == dict.fromkeys(upkeep.CHORES, 0)
