import random
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay import ids
from django_relay.models import Delivery, Endpoint, Event
from django_relay.pipeline import fan_out
from tests.factories import USING, make_application, make_delivery, make_endpoint, make_event, make_event_type
from tests.people import ALICE, BOB, CHARLIE
from tests.threads import together

pytestmark = pytest.mark.django_db


def expand(limit=500, now=None):
    return fan_out.expand(limit, now=now or timezone.now(), using=USING).events


def receivers(event):
    return set(Delivery.objects.filter(event=event).values_list("endpoint_id", flat=True))


class TestExpand:
    def test_makes_a_delivery_that_is_due_at_once(self):
        endpoint, event, now = make_endpoint(), make_event(), timezone.now()
        assert expand(now=now) == 1
        delivery = Delivery.objects.get()
        assert (delivery.event, delivery.endpoint, delivery.tenant_id) == (event, endpoint, "acme")
        assert (delivery.state, delivery.attempt_count, delivery.next_attempt_at) == ("pending", 0, now)
        assert (delivery.max_attempts, delivery.lease_token, delivery.replay_of_id) == (10, None, None)
        event.refresh_from_db()
        assert (event.status, event.matched_count, event.dispatched_at) == ("dispatched", 1, now)

    def test_an_event_nobody_wants_is_kept_as_no_match(self):
        make_endpoint(event_types=["invoice.created"])
        event = make_event()
        assert expand() == 1
        event.refresh_from_db()
        assert (event.status, event.matched_count) == ("no_match", 0)
        assert event.dispatched_at is not None
        assert Delivery.objects.count() == 0

    def test_nothing_to_do(self):
        assert expand() == 0

    def test_takes_no_more_than_its_limit_and_the_oldest_first(self):
        make_endpoint()
        events = [make_event() for _ in range(5)]
        done = [fan_out.expand(2, now=timezone.now(), using=USING) for _ in range(4)]
        assert [(one.events, one.is_partial) for one in done] == [(2, True), (2, True), (1, False), (0, False)]
        assert [delivery.event for delivery in Delivery.objects.order_by("pk")] == events

    def test_one_event_reaches_all_its_endpoints_once(self):
        endpoints = {make_endpoint().pk for _ in range(3)}
        event = make_event()
        expand()
        assert receivers(event) == endpoints
        event.refresh_from_db()
        assert event.matched_count == 3

    def test_an_endpoints_own_schedule_gives_its_attempts(self):
        make_endpoint(retry_schedule=[1, 2])
        make_event()
        expand()
        assert Delivery.objects.get().max_attempts == 3

    def test_an_endpoint_whose_headers_cannot_be_read_delays_nobody(self):
        broken, sound = make_endpoint(headers={"X-Key": "1"}), make_endpoint()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_relay_endpoint SET headers = 'r1.gone.AAAA' WHERE url = %s", [broken.url])
        event = make_event()
        assert expand() == 1
        assert receivers(event) == {broken.pk, sound.pk}

    def test_queries_do_not_grow_with_the_batch(self, django_assert_max_num_queries):
        for person in (ALICE, CHARLIE):
            make_endpoint(person)
            for _ in range(20):
                make_event(person=person)
        with django_assert_max_num_queries(8):
            assert expand() == 40
        assert Delivery.objects.count() == 40


class TestWhoGetsIt:
    @pytest.mark.parametrize(
        ("patterns", "wanted"),
        [
            (["invoice.paid"], True),
            (["invoice.*"], True),
            (["invoice.**"], True),
            (["*"], True),
            (["invoice.created", "invoice.paid"], True),
            (["invoice.*", "*", "invoice.paid"], True),
            (["invoice.created"], False),
            (["invoice"], False),
            (["invoice.paid.*"], False),
            (["*.created"], False),
        ],
    )
    def test_patterns(self, patterns, wanted):
        endpoint, event = make_endpoint(event_types=patterns), make_event()
        expand()
        assert receivers(event) == ({endpoint.pk} if wanted else set())

    @pytest.mark.parametrize(
        ("filters", "wanted"),
        [
            ({}, True),
            ({"region": "eu"}, True),
            ({"region": ["us", "eu"]}, True),
            ({"region": "eu", "size": 3}, True),
            ({"region": "us"}, False),
            ({"region": "eu", "size": 4}, False),
            ({"plan": "pro"}, False),
            ({"size": "3"}, False),
        ],
    )
    def test_filters(self, filters, wanted):
        endpoint, event = make_endpoint(filters=filters), make_event(attributes={"region": "eu", "size": 3})
        expand()
        assert receivers(event) == ({endpoint.pk} if wanted else set())

    def test_a_test_send_reaches_its_endpoint_alone_whatever_it_subscribes_to(self):
        chosen, _other = make_endpoint(event_types=["invoice.created"]), make_endpoint()
        event = make_event()
        Event.objects.filter(pk=event.pk).update(only_endpoint=chosen)
        expand()
        assert receivers(event) == {chosen.pk}
        assert Delivery.objects.get().trigger == "test"

    def test_a_test_send_never_reaches_another_tenants_endpoint(self):
        theirs = make_endpoint(CHARLIE)
        event = make_event(person=ALICE)
        Event.objects.filter(pk=event.pk).update(only_endpoint=theirs)
        expand()
        assert receivers(event) == set()

    def test_disabled_and_deleted_endpoints_get_nothing(self):
        disabled, deleted = make_endpoint(), make_endpoint()
        disabled.disable()
        deleted.delete()
        event = make_event()
        expand()
        event.refresh_from_db()
        assert (receivers(event), event.status) == (set(), "no_match")

    def test_a_colleagues_endpoint_gets_it_and_a_strangers_does_not(self):
        bobs, _strangers = make_endpoint(BOB), make_endpoint(CHARLIE)
        event = make_event(person=ALICE)
        expand()
        assert receivers(event) == {bobs.pk}

    def test_the_global_tenant_is_a_tenant_like_any_other(self):
        make_endpoint(ALICE)
        own = make_endpoint(tenant_id="")
        event = make_event(tenant_id="")
        expand()
        assert receivers(event) == {own.pk}

    @pytest.mark.parametrize("seed", range(3))
    def test_no_mixture_of_tenants_and_applications_ever_crosses(self, seed):
        """Compare many random endpoints and events with an oracle that knows nothing of the code."""
        chance = random.Random(seed)
        tenants = ["", "a", "A", "a ", "b", "acme"]
        names = ["a.x", "a.y", "b.x", "a.x.z"]
        patterns = {"*": set(names), "a.*": {"a.x", "a.y"}, "a.**": {"a.x", "a.y", "a.x.z"}, "b.x": {"b.x"}}
        make_application("second")
        for application in ("default", "second"):
            for name in names:
                make_event_type(name, application=application)
        endpoints = [
            make_endpoint(
                tenant_id=chance.choice(tenants),
                application=chance.choice(["default", "second"]),
                event_types=chance.sample(sorted(patterns), chance.randint(1, 2)),
                filters=chance.choice([{}, {"n": [1, 2]}, {"n": 3}]),
            )
            for _ in range(25)
        ]
        for endpoint in chance.sample(endpoints, 5):
            endpoint.disable()
        events = [
            make_event(
                chance.choice(names),
                {},
                tenant_id=chance.choice(tenants),
                application=chance.choice(["default", "second"]),
                attributes=chance.choice([{}, {"n": 1}, {"n": 3}]),
            )
            for _ in range(40)
        ]
        while expand(7):
            pass
        total = 0
        for event in events:
            expected = {
                endpoint.pk
                for endpoint in endpoints
                if endpoint.enabled
                and (endpoint.tenant_id, endpoint.application_id) == (event.tenant_id, event.application_id)
                and any(event.event_type in patterns[pattern] for pattern in endpoint.event_types)
                and (not endpoint.filters or set(event.attributes.get("n", [])) & set(endpoint.filters["n"]))
            }
            assert receivers(event) == expected
            total += len(expected)
        assert total > 10
        assert Delivery.objects.count() == total
        for delivery in Delivery.objects.select_related("event", "endpoint"):
            assert delivery.tenant_id == delivery.event.tenant_id == delivery.endpoint.tenant_id


class TestExactlyOnce:
    def test_expanding_again_makes_no_second_delivery(self):
        make_endpoint()
        event = make_event()
        expand()
        Event.objects.update(status="pending")
        assert expand() == 1
        assert Delivery.objects.count() == 1
        event.refresh_from_db()
        assert (event.status, event.matched_count) == ("dispatched", 1)

    def test_expanding_again_leaves_a_settled_delivery_settled(self):
        delivery = make_delivery(state="delivered")
        Event.objects.update(status="pending")
        expand()
        delivery.refresh_from_db()
        assert (Delivery.objects.count(), delivery.state) == (1, "delivered")

    def test_an_older_event_that_commits_late_is_found(self):
        make_endpoint()
        older = ids.new("evt_")
        newer = make_event()
        assert newer.pk > older
        assert expand() == 1
        late = make_event(event_id=older, occurred_at=timezone.now() - timedelta(days=3))
        assert expand() == 1
        assert len(receivers(late)) == 1

    def test_a_new_endpoint_gets_no_event_of_the_past(self):
        event = make_event()
        expand()
        make_endpoint()
        assert expand() == 0
        assert receivers(event) == set()

    @pytest.mark.django_db(transaction=True)
    def test_concurrent_expanders_never_double_and_lose_none(self):
        for _ in range(3):
            make_endpoint()
        events = [make_event() for _ in range(40)]

        def work(number):
            taken = []
            while count := expand(3):
                taken.append(count)
            return sum(taken)

        counts = together(work, 4)
        # One that finds every row locked stops early; what it left was another's.
        left = expand()
        assert sum(counts) + left == 40
        assert Delivery.objects.count() == 120
        assert set(Event.objects.values_list("status", "matched_count")) == {("dispatched", 3)}
        assert all(len(receivers(event)) == 3 for event in events)

    @pytest.mark.django_db(transaction=True)
    def test_expanders_of_the_same_events_never_double(self):
        """The constraint holds even when two workers take the same event, one after the other."""
        make_endpoint()
        make_event()

        def work(number):
            Event.objects.update(status="pending")
            return expand()

        assert not [result for result in together(work, 4) if isinstance(result, Exception)]
        assert Delivery.objects.count() == 1


class TestBounds:
    def test_a_batch_ends_at_about_so_many_deliveries(self, monkeypatch):
        monkeypatch.setattr(fan_out, "_PAGE", 4)
        for _ in range(3):
            make_endpoint()
        for _ in range(5):
            make_event()
        done = [fan_out.expand(100, now=timezone.now(), using=USING) for _ in range(4)]
        assert [(one.events, one.is_partial) for one in done] == [(2, True), (2, True), (1, False), (0, False)]
        assert Delivery.objects.count() == 15

    @pytest.mark.parametrize("events", [1, 3])
    def test_more_endpoints_than_a_page_holds(self, monkeypatch, events):
        monkeypatch.setattr(fan_out, "_PAGE", 4)
        wanted = {make_endpoint().pk for _ in range(11)}
        make_endpoint(event_types=["order.*"])
        for _ in range(events):
            make_event()
        other = make_event(person=CHARLIE)
        for left in range(events, -1, -1):
            done = fan_out.expand(100, now=timezone.now(), using=USING)
            assert (done.events, done.is_partial) == (1, left > 0)
            assert Event.objects.filter(status="pending").count() == left
        assert {event.matched_count for event in Event.objects.exclude(pk=other.pk)} == {11}
        assert Delivery.objects.count() == 11 * events
        assert set(Delivery.objects.values_list("endpoint_id", flat=True)) == wanted

    def test_a_page_is_read_again_once_an_endpoint_changes(self):
        """The worker keeps what it has read, and sees each change in the next batch, whoever made it."""
        subscriptions, endpoint = fan_out.Subscriptions(), make_endpoint(event_types=["invoice.*"])
        changes = [{}, {"event_types": ["order.*"]}, {"event_types": ["invoice.**"]}, {"filters": {"a": ["b"]}}]
        for change in changes:
            Endpoint.objects.filter(pk=endpoint.pk).update(**change)
            make_event()
            fan_out.expand(100, now=timezone.now(), using=USING, subscriptions=subscriptions)
        assert [event.matched_count for event in Event.objects.order_by("pk")] == [1, 0, 1, 0]

    def test_what_is_known_is_not_read_again(self, backend):
        subscriptions = fan_out.Subscriptions()
        make_endpoint()
        seen = []
        for _ in range(2):
            make_event()
            with CaptureQueriesContext(connection) as queries:
                fan_out.expand(100, now=timezone.now(), using=USING, subscriptions=subscriptions)
            seen.append(sum("event_types" in query["sql"] for query in queries))
        assert seen == ([1, 0] if backend == "postgres" else [1, 1])

    def test_a_spoilt_event_holds_up_no_other(self):
        make_endpoint(filters={"a": ["b"]})
        spoilt, good = make_event(), make_event(attributes={"a": "b"})
        Event.objects.filter(pk=spoilt.pk).update(attributes="abc")
        assert fan_out.expand(100, now=timezone.now(), using=USING).events == 2
        assert [delivery.event for delivery in Delivery.objects.all()] == [good]

    def test_a_spoilt_endpoint_holds_up_no_other(self, caplog):
        good, spoilt = make_endpoint(), make_endpoint()
        Endpoint.objects.filter(pk=spoilt.pk).update(event_types=5)
        make_event()
        assert fan_out.expand(100, now=timezone.now(), using=USING).events == 1
        assert [delivery.endpoint for delivery in Delivery.objects.all()] == [good]
        assert [record.event for record in caplog.records] == ["endpoint.unreadable"]
