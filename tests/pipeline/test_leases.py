import re
import uuid
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay import ids
from django_relay.models import Application, Attempt, Delivery, Endpoint, EndpointPace, Event, SigningSecret, due
from django_relay.pipeline import leases
from django_relay.rules import pacing, signing
from tests.factories import USING, make_delivery, make_endpoint
from tests.people import ALICE, BOB, CHARLIE
from tests.threads import together

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def claim(limit=100, now=None):
    return leases.claim(limit, now=now or timezone.now(), using=USING).leases


def claimed(found):
    """Return the deliveries of leases, in their order."""
    rows = Delivery.objects.in_bulk([lease.delivery_id for lease in found])
    return [rows[lease.delivery_id] for lease in found]


def signatures(ready, at):
    """Return what the live secrets of an endpoint make of nothing."""
    return [signer.sign(b"") for signer in ready.signers_at(at)]


class TestClaim:
    def test_takes_what_is_due_for_a_time(self):
        delivery, now = make_delivery(), timezone.now()
        (lease,) = claim(now=now)
        delivery.refresh_from_db()
        assert lease.delivery_id == delivery.pk
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
        assert (second.delivery_id, second.lost_at) == (delivery.pk, now)
        assert second.token != first.token
        delivery.refresh_from_db()
        assert (delivery.lease_token, delivery.leased_at) == (second.token, now + 45 * SECOND)

    def test_what_an_attempt_needs_is_read_in_the_same_step(self, django_assert_num_queries):
        make_delivery()
        (lease,) = claim()
        with django_assert_num_queries(0):
            assert lease.event.payload
            assert lease.ready.source == "/django_relay/default"
            assert len(lease.ready.signers_at(timezone.now())) == 1
            assert lease.ready.headers == {}

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
        assert {lease.delivery_id for lease in taken} == made
        for lease in taken:
            assert Delivery.objects.get(pk=lease.delivery_id).lease_token == lease.token

    @pytest.mark.django_db(transaction=True)
    def test_concurrent_claimers_of_expired_leases_never_share(self):
        now = timezone.now()
        for _ in range(10):
            make_delivery()
        for round_number in range(8):
            moment = now + timedelta(minutes=1 + round_number)
            found = [lease for result in together(lambda number, at=moment: claim(3, now=at), 3) for lease in result]
            assert len({lease.delivery_id for lease in found}) == len(found)
            for lease in found:
                assert Delivery.objects.get(pk=lease.delivery_id).lease_token == lease.token


class TestGiveBack:
    def test_another_worker_can_take_it_at_once_and_nothing_is_counted(self):
        delivery = make_delivery()
        assert leases.give_back(claim(), using=USING) == 1
        delivery.refresh_from_db()
        assert (delivery.lease_token, delivery.leased_at, delivery.leased_until) == (None, None, None)
        assert delivery.attempt_count == 0
        (again,) = claim()
        assert (again.delivery_id, again.lost_at) == (delivery.pk, None)
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
        (lease,) = claim()
        assert leases.give_back([replace(lease, token=uuid.uuid4())], using=USING) == 0
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


def gates(*, places=100, most=32, first=32):
    return leases.Gates(pacing.Shares(places=places, most=most, first=first))


def take(limit, its, now=None):
    return leases.claim(limit, now=now or timezone.now(), using=USING, gates=its)


class TestFairness:
    def test_an_endpoint_with_a_backlog_leaves_room_for_the_others(self):
        """The oldest due are all of one endpoint, as when it hangs."""
        slow, other = make_endpoint(), make_endpoint()
        now = timezone.now()
        for _ in range(20):
            make_delivery(endpoint=slow, next_attempt_at=now - timedelta(hours=1))
        waiting = make_delivery(endpoint=other, next_attempt_at=now - timedelta(seconds=1))
        its = gates(most=4, first=4)
        found = claimed(take(10, its, now).leases)
        assert sorted(delivery.endpoint_id for delivery in found) == sorted([slow.pk] * 4 + [other.pk])
        assert waiting in found
        for _ in range(4):
            its.shares.began(slow.pk)
        assert take(10, its, now).leases == []
        its.shares.ended(slow.pk)
        assert [lease.endpoint_id for lease in take(10, its, now).leases] == [slow.pk]

    @pytest.mark.parametrize("limit", [2, 5, 18])
    def test_another_tenants_first_is_in_the_next_claim(self, limit):
        """However many endpoints and deliveries a tenant has waiting."""
        now = timezone.now()
        for endpoint in [make_endpoint(ALICE) for _ in range(4)]:
            for _ in range(5):
                make_delivery(endpoint=endpoint, next_attempt_at=now - timedelta(hours=1))
        others = make_delivery(endpoint=make_endpoint(CHARLIE), next_attempt_at=now)
        found = claimed(take(limit, gates(), now).leases)
        assert max(limit - 3, 2) <= len(found) <= limit  # what a tenant does not use of its turn comes next time
        assert others in found

    def test_says_whether_there_may_have_been_no_room_for_more(self):
        endpoint, now = make_endpoint(), timezone.now()
        for _ in range(6):
            make_delivery(endpoint=endpoint, next_attempt_at=now)
        of_its_share = take(50, gates(most=2, first=2), now)
        of_the_places = take(2, gates(), now)
        all_there_was = take(50, gates(), now)
        for found in (of_its_share, of_the_places, all_there_was):
            assert (len(found.leases), found.again_in) == (2, None)
        assert [found.is_partial for found in (of_its_share, of_the_places, all_there_was)] == [True, True, False]
        assert take(0, gates(), now).is_partial

    def test_endpoints_take_turns(self):
        now, endpoints = timezone.now(), [make_endpoint() for _ in range(3)]
        for number, endpoint in enumerate(endpoints):
            for _ in range(10):
                make_delivery(endpoint=endpoint, next_attempt_at=now - timedelta(minutes=number))
        found = Counter(lease.endpoint_id for lease in take(6, gates(), now).leases)
        assert set(found.values()) == {2}

    def test_disabled_and_full_endpoints_hide_nobody(self):
        now, held, full = timezone.now(), make_endpoint(), make_endpoint()
        for number in range(30):
            endpoint = (held, full)[number % 2]
            make_delivery(endpoint=endpoint, next_attempt_at=now - timedelta(hours=1))
        held.disable()
        other = make_delivery(next_attempt_at=now)
        its = gates(most=1, first=1)
        its.shares.began(full.pk)
        assert claimed(take(5, its, now).leases) == [other]

    def test_more_endpoints_than_one_claim_goes_through(self, monkeypatch):
        """The next claim goes on where the last one ended, so that each has its turn."""
        monkeypatch.setattr(due, "SCANNED", 3)
        now, its = timezone.now(), gates(most=1, first=1)
        made = {make_delivery(next_attempt_at=now).pk for _ in range(8)}
        for endpoint in Endpoint.objects.all():
            make_delivery(endpoint=endpoint, next_attempt_at=now)
        found = [claimed(take(2, its, now).leases) for _ in range(20)]
        assert all(len(some) <= 2 for some in found)
        assert len({delivery.endpoint_id for some in found for delivery in some}) == len(made)

    def test_only_disabled_endpoints_in_what_one_claim_goes_through(self, monkeypatch):
        monkeypatch.setattr(due, "SCANNED", 3)
        now, its = timezone.now(), gates()
        for _ in range(6):
            make_delivery(next_attempt_at=now - timedelta(hours=1)).endpoint.disable()
        other = make_delivery(next_attempt_at=now)
        assert other in [delivery for _ in range(4) for delivery in claimed(take(2, its, now).leases)]

    def test_a_delivery_whose_event_is_gone_is_cancelled_and_holds_up_no_other(self, caplog):
        stranded, other = make_delivery(), make_delivery()
        Event.objects.filter(pk=stranded.event_id).delete()
        assert claimed(claim()) == [other]
        stranded.refresh_from_db()
        assert (stranded.state, stranded.lease_token) == ("cancelled", None)
        assert "delivery.cancelled" in [getattr(record, "event", "") for record in caplog.records]


class TestVanished:
    def test_an_endpoint_that_is_deleted_during_the_claim_holds_up_no_other(self, monkeypatch):
        vanishing, other = make_delivery(), make_delivery()
        look = due.of(USING).look

        def look_and_delete(self, *args, **kwargs):
            seen = look(*args, **kwargs)
            SigningSecret.objects.filter(endpoint=vanishing.endpoint).delete()
            Endpoint.objects.filter(pk=vanishing.endpoint_id)._raw_delete(USING)
            return seen

        monkeypatch.setattr(type(due.of(USING)), "look", look_and_delete)
        assert claimed(claim()) == [other]
        vanishing.refresh_from_db()
        assert vanishing.lease_token is None


class TestForms:
    """What PostgreSQL is asked in its own words, and what any database is asked, against what must come out."""

    @pytest.fixture
    def now(self):
        now = timezone.now()
        people = [ALICE, BOB, CHARLIE]
        for number in range(12):
            endpoint = make_endpoint(people[number // 4], rate_limit=number % 4)
            for more in range(number):
                at = now + timedelta(seconds=(more - 8) * 10 + number)
                leased = {"lease_token": uuid.uuid4(), "leased_at": now, "leased_until": now + (more - 3) * SECOND}
                make_delivery(endpoint=endpoint, next_attempt_at=at, **(leased if more % 3 == 0 else {}))
            if number % 5 == 4:
                endpoint.disable()
            if number % 4 == 3:
                EndpointPace.objects.create(endpoint=endpoint, next_free_at=now + (9 - number) * SECOND)
        return now

    @staticmethod
    def due(now):
        """Return what is due by endpoint, the longest due first."""
        found = defaultdict(list)
        for row in Delivery.objects.filter(state="pending").order_by("next_attempt_at"):
            if row.next_attempt_at <= now and (row.leased_until is None or row.leased_until <= now):
                found[row.endpoint_id].append(row)
        return found

    @pytest.mark.parametrize("limit", [1, 4, 9, 15, 100])
    @pytest.mark.parametrize("full", [0, 3])
    def test_who_has_something_due(self, now, limit, full):
        found = self.due(now)
        passed_over = sorted(found)[2 : 2 + full]
        rows = Endpoint.objects.filter(pk__in=found, enabled=True).exclude(pk__in=passed_over).select_related("pace")
        turns, expected = Counter(), []
        for endpoint in sorted(rows, key=lambda row: found[row.pk][0].next_attempt_at):
            pace = getattr(endpoint, "pace", None)
            if not (endpoint.rate_limit and pace and pace.next_free_at > now):
                turns[endpoint.tenant_id] += 1
                expected.append((turns[endpoint.tenant_id], endpoint))
        expected = [endpoint.pk for _turn, endpoint in sorted(expected, key=lambda pair: pair[0])]
        assert len(expected) > 3
        fits = sum(map(len, found.values())) < limit
        for form in [due.Anywhere(USING), due.of(USING)]:
            seen, after = form.look(limit, passed_over, None, now=now)
            free = [item for item in seen if item.next_free_at is None or item.next_free_at <= now]
            assert [item.endpoint_id for item in free][:limit] == expected[:limit]
            assert [item.count for item in free] == [len(found[item.endpoint_id]) if fits else limit for item in free]
            assert seen[: len(free)] == free
            assert len(seen) > len(free) or limit < 100
            assert after is None

    def test_what_is_taken(self, now):
        found = self.due(now)
        allotted = {endpoint_id: number % 4 for number, endpoint_id in enumerate(sorted(found))}
        expected = [row for endpoint_id, count in allotted.items() for row in found[endpoint_id][:count]]
        for form in [due.Anywhere(USING), due.of(USING)]:
            with transaction.atomic():
                assert [row.id for row in form.take(allotted, now=now)] == [row.pk for row in expected] != []


class TestReadyEndpoints:
    def test_a_change_counts_for_the_next_lease(self):
        endpoint, its = make_endpoint(headers={"X-Key": "old"}), gates()
        changes = [
            lambda: None,
            lambda: Endpoint.objects.filter(pk=endpoint.pk).update(url="https://new.example/hook"),
            lambda: endpoint.rotate_secret(timedelta(0)),
            lambda: SigningSecret.objects.all().delete(),
            lambda: Application.objects.update(slug="renamed"),
        ]
        seen = []
        for change in changes:
            change()
            make_delivery(endpoint=endpoint)
            (lease,) = take(1, its).leases
            ready = lease.ready
            seen.append((ready.endpoint.url, signatures(ready, timezone.now()), ready.source))
        urls, secrets, sources = zip(*seen, strict=True)
        assert urls == (ALICE.url, *["https://new.example/hook"] * 4)
        assert secrets[0] == secrets[1] != secrets[2]
        assert (len(secrets[2]), secrets[3]) == (1, [])
        assert sources[-1] == "/django_relay/renamed"

    def test_what_did_not_change_is_not_read_again(self, backend):
        endpoint, its = make_endpoint(), gates()
        found = []
        for _ in range(2):
            make_delivery(endpoint=endpoint)
            with CaptureQueriesContext(connection) as queries:
                (lease,) = take(1, its).leases
            found.append(lease.ready)
            reads = sum("event_types" in query["sql"] for query in queries)
        assert (found[0] is found[1], reads) == ((True, 0) if backend == "postgres" else (False, 1))

    def test_a_secret_that_ran_out_signs_no_more(self):
        endpoint, its, now = make_endpoint(), gates(), timezone.now()
        old = endpoint.secrets[0]
        new = endpoint.rotate_secret(timedelta(seconds=60))
        make_delivery(endpoint=endpoint)
        (lease,) = take(1, its).leases
        assert signatures(lease.ready, now) == [signing.Signer(secret).sign(b"") for secret in (new, old)]
        assert signatures(lease.ready, now + 61 * SECOND) == [signing.Signer(new).sign(b"")]

    def test_nothing_of_it_shows_in_a_repr(self):
        endpoint = make_endpoint(headers={"X-Key": "canary"})
        make_delivery(endpoint=endpoint)
        (lease,) = claim()
        lease.ready.signers_at(timezone.now())
        assert "canary" not in repr(lease) + repr(lease.ready)
        assert endpoint.secrets[0] not in repr(lease) + repr(lease.ready)


class TestPace:
    def run(self, its, *, seconds, every=0.02, now):
        """Claim again and again; return when each delivery was taken, in seconds from the start."""
        taken = []
        for number in range(int(seconds / every)):
            at = number * every
            for each in its:
                taken += [at] * len(take(50, each, now + timedelta(seconds=at)).leases)
        return taken

    def test_holds_over_all_workers_and_reaches_the_limit(self):
        now, endpoint = timezone.now(), make_endpoint(rate_limit=20)
        for _ in range(80):
            make_delivery(endpoint=endpoint, next_attempt_at=now)
        taken = self.run([gates(), gates()], seconds=3, now=now)
        assert 60 <= len(taken) <= 62
        for start in taken:
            assert sum(start <= at < start + 1 for at in taken) <= 21

    def test_what_must_wait_stays_due_and_untouched(self):
        now, endpoint = timezone.now(), make_endpoint(rate_limit=1)
        for _ in range(3):
            make_delivery(endpoint=endpoint, next_attempt_at=now)
        found = take(50, gates(), now)
        assert (len(found.leases), found.again_in) == (1, 1.0)
        waiting = Delivery.objects.filter(lease_token=None)
        assert list(waiting.values_list("attempt_count", "next_attempt_at")) == [(0, now)] * 2
        assert take(50, gates(), now + 0.999 * SECOND).leases == []
        assert take(50, gates(), now + 0.75 * SECOND).again_in == 0.25
        assert len(take(50, gates(), now + SECOND).leases) == 1

    def test_a_rest_earns_no_burst(self):
        now, endpoint = timezone.now(), make_endpoint(rate_limit=8)
        make_delivery(endpoint=endpoint, next_attempt_at=now)
        take(50, gates(), now)
        for _ in range(30):
            make_delivery(endpoint=endpoint, next_attempt_at=now)
        assert len(take(50, gates(), now + timedelta(hours=1)).leases) == 3

    def test_a_paced_backlog_hides_nobody_and_the_limit_can_be_lifted(self):
        now, endpoint = timezone.now(), make_endpoint(rate_limit=1)
        for _ in range(30):
            make_delivery(endpoint=endpoint, next_attempt_at=now - timedelta(hours=1))
        other, its = make_delivery(next_attempt_at=now), gates()
        take(5, its, now)
        assert claimed(take(5, its, now).leases) in ([other], [])
        assert Delivery.objects.get(pk=other.pk).lease_token
        Endpoint.objects.filter(pk=endpoint.pk).update(rate_limit=0)
        assert len(take(5, its, now).leases) == 5

    @pytest.mark.django_db(transaction=True)
    def test_a_host_that_holds_the_endpoint_holds_up_no_claim(self, backend):
        if backend != "postgres":
            pytest.skip("SQLite has one writer")
        delivery = make_delivery(endpoint=make_endpoint(rate_limit=5))
        other = connections.create_connection("default")
        try:
            with other.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("SELECT 1 FROM django_relay_endpoint FOR UPDATE")
                with connection.cursor() as ours:
                    ours.execute("SET lock_timeout = '2s'")
                assert claimed(claim()) == [delivery]
        finally:
            other.close()

    def test_a_pace_that_another_clock_wrote_is_not_waited_for(self):
        now, endpoint = timezone.now(), make_endpoint(rate_limit=5)
        EndpointPace.objects.create(endpoint=endpoint, next_free_at=now + timedelta(hours=5))
        for _ in range(3):
            make_delivery(endpoint=endpoint, next_attempt_at=now)
        assert len(take(2, gates(), now).leases) == 1
        assert EndpointPace.objects.get().next_free_at == now + timedelta(seconds=0.2)

    def test_without_a_limit_nothing_is_reserved(self):
        make_delivery()
        claim()
        assert EndpointPace.objects.count() == 0

    @pytest.mark.django_db(transaction=True)
    def test_workers_at_the_same_moment(self):
        now, endpoint = timezone.now(), make_endpoint(rate_limit=10)
        for _ in range(40):
            make_delivery(endpoint=endpoint, next_attempt_at=now)
        results = together(lambda number: len(take(20, gates(), now).leases), 6)
        assert sum(results) == 1, results


class TestPlans:
    @pytest.mark.parametrize("held", [False, True])
    def test_a_claim_reads_no_more_than_it_must(self, backend, held, django_assert_max_num_queries):
        """However many endpoints and deliveries there are, the number of statements is the same."""
        now = timezone.now()
        for _ in range(6):
            endpoint = make_endpoint()
            for _ in range(4):
                make_delivery(endpoint=endpoint, next_attempt_at=now)
        if held:
            endpoint.disable()
        most = 10 if backend == "postgres" else 20
        with django_assert_max_num_queries(most):
            assert len(take(12, gates(), now).leases) == 12

    @pytest.fixture
    def plan(self, backend):
        """Explain a statement as it is planned before the table's first ANALYZE."""

        def explain(sql):
            found = Endpoint.objects.values_list("pk", flat=True)
            keys = [ids.to_uuid(endpoint_id, prefix="ep_") for endpoint_id in found]
            values = {"now": timezone.now(), "limit": 9, "scanned": 9, "after": uuid.UUID(int=0), "full": []}
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", {**values, "endpoints": keys, "counts": [1] * len(keys)})
                return "\n".join(line for (line,) in cursor.fetchall())

        if backend != "postgres":
            pytest.skip("SQLite's planner has no choice between the two")
        make_delivery()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        return explain

    def test_one_endpoints_deliveries_are_not_looked_for_in_the_index_of_all(self, plan):
        for sql in (due._EACH, due._TAKE):
            assert not re.search(r"relay_delivery_due\b", plan(sql))
        assert re.search(r"relay_delivery_due\b", plan(due._OLDEST))
        assert "relay_delivery_due_endpoint" in plan(due._EACH)
