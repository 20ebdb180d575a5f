"""What a worker has in its hands."""

from types import SimpleNamespace

from django_relay.pipeline import in_hand
from django_relay.rules import pacing


def lease(*, lost_at=None):
    return SimpleNamespace(endpoint_id="ep_1", lost_at=lost_at)


class TestMayBegin:
    def test_an_endpoint_that_has_all_it_may_have_gets_no_more(self):
        it = in_hand.InHand(pacing.Shares(places=8, most=1))
        assert it.may_begin(lease())
        it.begin("att_1", lease())
        assert not it.may_begin(lease())

    def test_a_lease_that_was_lost_waits_for_no_place(self):
        it = in_hand.InHand(pacing.Shares(places=8, most=1))
        it.begin("att_1", lease())
        assert it.may_begin(lease(lost_at="2026-11-22"))
