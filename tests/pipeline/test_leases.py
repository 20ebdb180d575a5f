import uuid
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from django_relay.models import Attempt, Delivery
from django_relay.models.delivery import Lease
from django_relay.pipeline import leases
from tests.factories import USING, make_delivery, make_endpoint
from tests.threads import together

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def claim(limit=100, now=None):
    return leases.claim(limit, now=now or timezone.now(), using=USING)


def claimed(found):
    return [lease.delivery for lease in found]


class TestClaim:
    def test_takes_what_is_due_for_a_time(self):
        delivery, now = make_delivery(), timezone.now()
        (lease,) = claim(now=now)
        delivery.refresh_from_db()
        assert lease.delivery == delivery
        assert (delivery.lease_token, delivery.leased_at) == (lease.token, now)
        assert delivery.leased_until == now + 45 * SECOND
        assert (delivery.state, delivery.attempt_count, lease.lost_at) == ("pending", 0, None)

    def test_the_time_is_a_setting(self):
        delivery, now = make_delivery(), timezone.now()
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "LEASE_SECONDS": 60}):
            claim(now=now)
        delivery.refresh_from_db()
        assert delivery.leased_until == now + 60 * SECOND

    def test_due_is_decided_to_the_moment(self):
        now = timezone.now()
        make_delivery(next_attempt_at=now)
        assert claim(now=now - timedelta(microseconds=1)) == []
        assert len(claim(now=now)) == 1

    def test_the_longest_due_first_and_no_more_than_asked(self):
        now, endpoint = timezone.now(), make_endpoint()
        order = [make_delivery(endpoint=endpoint, next_attempt_at=now - n * SECOND) for n in (1, 3, 2)]
        assert claimed(claim(2, now=now)) == [order[1], order[2]]
        assert claimed(claim(2, now=now)) == [order[0]]

    @pytest.mark.parametrize("limit", [0, -3])
    def test_without_room_takes_nothing(self, limit):
        make_delivery()
        assert claim(limit) == []
        assert not Delivery.objects.leased().exists()

    @pytest.mark.parametrize("state", ["delivered", "failed", "cancelled"])
    def test_settled_deliveries_are_never_taken(self, state):
        make_delivery(state=state)
        assert claim(now=timezone.now() + timedelta(days=9)) == []

    def test_a_disabled_endpoint_holds_its_deliveries_until_enabled(self):
        delivery, other = make_delivery(), make_delivery()
        delivery.endpoint.disable()
        assert claimed(claim()) == [other]
        delivery.refresh_from_db()
        assert (delivery.state, delivery.lease_token) == ("pending", None)
        delivery.endpoint.enable()
        assert claimed(claim()) == [delivery]

    def test_a_deleted_endpoint_gets_nothing(self):
        make_delivery().endpoint.delete()
        assert claim() == []

    def test_what_is_leased_is_not_taken_again(self):
        make_delivery()
        assert len(claim()) == 1
        assert claim() == []

    def test_a_lease_that_ran_out_is_taken_up_and_says_when_it_was_lost(self):
        delivery, now = make_delivery(), timezone.now()
        (first,) = claim(now=now)
        assert claim(now=now + 44 * SECOND) == []
        (second,) = claim(now=now + 45 * SECOND)
        assert (second.delivery, second.lost_at) == (delivery, now)
        assert second.token != first.token
        delivery.refresh_from_db()
        assert (delivery.lease_token, delivery.leased_at) == (second.token, now + 45 * SECOND)

    def test_what_an_attempt_needs_is_read_in_the_same_step(self, django_assert_num_queries):
        make_delivery()
        (lease,) = claim()
        with django_assert_num_queries(0):
            assert lease.delivery.event.application.slug == "default"
            assert len(lease.delivery.endpoint.secrets) == 1
            assert lease.delivery.endpoint.headers == {}

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("batch", [1, 7])
    def test_concurrent_claimers_never_share(self, batch):
        endpoint = make_endpoint()
        made = {make_delivery(endpoint=endpoint).pk for _ in range(40)}
        now = timezone.now()

        def work(number):
            mine = []
            while found := claim(batch, now=now):
                mine += found
            return mine

        results = together(work, 4)
        results.append(claim(100, now=now))  # a claimer that finds every row locked stops early
        taken = [lease for result in results for lease in result]
        assert len(taken) == 40
        assert {lease.delivery.pk for lease in taken} == made
        for lease in taken:
            assert Delivery.objects.get(pk=lease.delivery.pk).lease_token == lease.token

    @pytest.mark.django_db(transaction=True)
    def test_concurrent_claimers_of_expired_leases_never_share(self):
        now = timezone.now()
        for _ in range(10):
            make_delivery()
        for round_number in range(8):
            moment = now + timedelta(minutes=1 + round_number)
            found = [lease for result in together(lambda number, at=moment: claim(3, now=at), 3) for lease in result]
            assert len({lease.delivery.pk for lease in found}) == len(found)
            for lease in found:
                assert Delivery.objects.get(pk=lease.delivery.pk).lease_token == lease.token


class TestGiveBack:
    def test_another_worker_can_take_it_at_once_and_nothing_is_counted(self):
        delivery = make_delivery()
        assert leases.give_back(claim(), using=USING) == 1
        delivery.refresh_from_db()
        assert (delivery.lease_token, delivery.leased_at, delivery.leased_until) == (None, None, None)
        assert delivery.attempt_count == 0
        (again,) = claim()
        assert (again.delivery, again.lost_at) == (delivery, None)
        assert Attempt.objects.count() == 0

    def test_only_ours(self):
        delivery, now = make_delivery(), timezone.now()
        (ours,) = claim(now=now)
        (theirs,) = claim(now=now + 60 * SECOND)
        assert leases.give_back([ours], using=USING) == 0
        delivery.refresh_from_db()
        assert delivery.lease_token == theirs.token

    def test_a_made_up_token_gives_nothing_back(self):
        delivery = make_delivery()
        claim()
        assert leases.give_back([Lease(delivery, uuid.uuid4())], using=USING) == 0
        delivery.refresh_from_db()
        assert delivery.lease_token is not None

    def test_leases_of_several_claims(self):
        for _ in range(4):
            make_delivery()
        found = claim(2) + claim(1)
        assert leases.give_back(found, using=USING) == 3
        assert len(claim()) == 4

    def test_none(self):
        assert leases.give_back([], using=USING) == 0


class TestShares:
    def test_an_endpoint_with_a_backlog_leaves_room_for_the_others(self):
        """The oldest due are all of one endpoint, as when it hangs."""
        slow, other = make_endpoint(), make_endpoint()
        now = timezone.now()
        for _ in range(20):
            make_delivery(endpoint=slow, next_attempt_at=now - timedelta(hours=1))
        waiting = make_delivery(endpoint=other, next_attempt_at=now - timedelta(seconds=1))
        with relay(MAX_IN_FLIGHT_PER_ENDPOINT=4):
            claimed = [lease.delivery for lease in claim(10, now)]
            assert claimed[-1] == waiting
            assert [delivery.endpoint for delivery in claimed] == [slow] * 4 + [other]
            assert leases.claim(10, now=now, using=USING, busy={slow.pk: 4}) == []
            assert len(leases.claim(10, now=now, using=USING, busy={slow.pk: 3})) == 1

    def test_many_with_a_backlog_fill_the_places_together(self):
        now = timezone.now()
        for endpoint in [make_endpoint() for _ in range(5)]:
            for _ in range(6):
                make_delivery(endpoint=endpoint, next_attempt_at=now)
        with relay(MAX_IN_FLIGHT_PER_ENDPOINT=2):
            assert len(claim(10, now)) == 10


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})
