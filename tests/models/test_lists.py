from datetime import timedelta

import pytest
from django.utils import timezone

from django_relay import exceptions
from django_relay.models import Application, Event, lists
from django_relay.models.lists import Filters, Owner
from django_relay.models.paging import Wanted
from tests.factories import (
    USING,
    make_application,
    make_attempt,
    make_delivery,
    make_dlq_entry,
    make_endpoint,
    make_event,
)  # fmt: skip
from tests.people import ALICE, CHARLIE

pytestmark = pytest.mark.django_db

FIRST = Wanted()


def owner(person=ALICE, application="default"):
    return Owner(Application.objects.get(slug=application).pk, person and person.tenant_id)


def page(list_of, wanted=FIRST, *, of=None, **filters):
    return list_of(of or owner(), Filters(**filters), wanted=wanted, using=USING)


def walk(list_of, limit, **arguments):
    """Return all rows of a list, read in pages, and the sizes of these."""
    rows, sizes, cursor = [], [], None
    while True:
        found = page(list_of, Wanted(limit, cursor), **arguments)
        rows += found.data
        sizes.append(len(found.data))
        if not found.has_more:
            return rows, sizes
        cursor = found.next_cursor


def newest_first(rows):
    return sorted(rows, key=lambda row: row.pk, reverse=True)


class TestDeliveries:
    def test_are_read_in_pages_newest_first(self):
        endpoints = [make_endpoint() for _ in range(3)]
        made = [
            make_delivery(endpoint=endpoints[n % 3], state=["pending", "delivered", "failed", "cancelled"][n % 4])
            for n in range(11)
        ]
        make_delivery(endpoint=make_endpoint(CHARLIE))
        rows, sizes = walk(lists.deliveries, 4)
        assert rows == newest_first(made)
        assert sizes == [4, 4, 3]

    def test_of_every_tenant_of_an_application(self):
        made = [make_delivery(), make_delivery(endpoint=make_endpoint(CHARLIE))]
        make_application("second")
        make_delivery(endpoint=make_endpoint(application="second"), event=make_event())
        assert walk(lists.deliveries, 1, of=owner(None))[0] == newest_first(made)

    def test_of_a_tenant_that_had_more_endpoints_than_are_merged(self, monkeypatch):
        monkeypatch.setattr(lists, "ENDPOINTS", 2)
        made = [make_delivery() for _ in range(4)]
        make_delivery(endpoint=make_endpoint(CHARLIE))
        assert walk(lists.deliveries, 2)[0] == newest_first(made)

    def test_deleted_endpoints_keep_their_history(self):
        delivery = make_delivery(state="delivered")
        delivery.endpoint.delete()
        assert page(lists.deliveries).data == [delivery]

    def test_outlive_their_events(self):
        delivery = make_delivery(state="delivered")
        Event.objects.all().delete()
        (found,) = page(lists.deliveries).data
        assert (found, found.event_type) == (delivery, "")

    def test_of_an_event_are_the_first_ones_and_the_replays(self):
        first = make_delivery(state="failed")
        again = make_delivery(event=first.event, endpoint=first.endpoint, replay_of=first)
        make_delivery()
        assert page(lists.deliveries, event_id=first.event_id).data == [again, first]

    def test_are_narrowed_down(self):
        one, other = make_endpoint(), make_endpoint()
        failed = make_delivery(endpoint=one, state="failed", last_status_code=503)
        refused = make_delivery(endpoint=other, last_error_kind="connection")
        expired = make_delivery(endpoint=one, event=make_event("invoice.created"), state="delivered")
        assert page(lists.deliveries, endpoint_id=one.pk).data == [expired, failed]
        assert page(lists.deliveries, state="failed").data == [failed]
        assert page(lists.deliveries, status_class="5xx").data == [failed]
        assert page(lists.deliveries, status_class="none").data == [expired, refused]
        assert page(lists.deliveries, error_kinds=("connection",)).data == [refused]
        assert page(lists.deliveries, event_type="invoice.created").data == [expired]
        assert page(lists.deliveries, since=timezone.now() + timedelta(seconds=1)).data == []
        assert page(lists.deliveries, until=timezone.now() - timedelta(minutes=1)).data == []
        assert len(page(lists.deliveries, since=timezone.now() - timedelta(minutes=1)).data) == 3

    def test_a_rare_kind_may_take_several_pages_and_none_is_passed_over(self):
        endpoint = make_endpoint()
        rare = [make_delivery(endpoint=endpoint, last_status_code=500 if n % 13 == 0 else 200) for n in range(40)]
        rows, sizes = walk(lists.deliveries, 2, status_class="5xx")
        assert rows == newest_first(rare[::13])
        assert sizes == [1, 1, 1, 1, 0]  # of 40 rows, ten a page

    def test_of_another_tenants_endpoint_or_event_are_none(self):
        theirs = make_delivery(endpoint=make_endpoint(CHARLIE))
        for filters in ({"endpoint_id": theirs.endpoint_id}, {"event_id": theirs.event_id}):
            found = page(lists.deliveries, Wanted(1), **filters)
            assert (found.data, found.has_more) == ([], False)


class TestAttempts:
    def test_of_an_endpoint_a_tenant_an_event_and_a_delivery(self):
        delivery = make_delivery()
        other = make_delivery(event=delivery.event)
        made = [make_attempt(delivery), make_attempt(other), make_attempt(delivery, number=2)]
        make_attempt(make_delivery(endpoint=make_endpoint(CHARLIE)))
        assert walk(lists.attempts, 2)[0] == newest_first(made)
        assert page(lists.attempts, event_id=delivery.event_id).data == newest_first(made)
        for filters in ({"endpoint_id": delivery.endpoint_id}, {"delivery_id": delivery.pk}):
            assert page(lists.attempts, **filters).data == [made[2], made[0]]

    def test_are_narrowed_down(self):
        delivery = make_delivery()
        bad, good = make_attempt(delivery, error_kind="tls", status_code=None), make_attempt(delivery, status_code=200)
        assert page(lists.attempts, status_class="2xx").data == [good]
        assert page(lists.attempts, error_kinds=("tls",)).data == [bad]
        assert page(lists.attempts, event_type="invoice.paid").data == [good, bad]


class TestEvents:
    def test_are_in_the_order_they_were_emitted_whatever_their_ids(self):
        from django_relay import deterministic_event_id

        made = [make_event(event_id=deterministic_event_id(n)) for n in range(7)]
        make_event(person=CHARLIE)
        rows, sizes = walk(lists.events, 3)
        assert rows == made[::-1]
        assert sizes == [3, 3, 1]

    def test_of_one_moment_are_each_there_once(self):
        made = [make_event() for _ in range(5)]
        Event.objects.update(created_at=timezone.now())
        assert walk(lists.events, 2)[0] == newest_first(made)

    def test_are_narrowed_down(self):
        first = make_event()
        between = timezone.now()
        second = make_event("invoice.created")
        Event.objects.filter(pk=first.pk).update(status="no_match")
        assert page(lists.events, state="no_match").data == [first]
        assert page(lists.events, event_type="invoice.created").data == [second]
        assert page(lists.events, since=between).data == [second]
        assert walk(lists.events, 1, until=between)[0] == [first]
        assert walk(lists.events, 1, until=timezone.now())[0] == [second, first]

    def test_of_every_tenant_of_an_application(self):
        made = [make_event(), make_event(person=CHARLIE)]
        assert walk(lists.events, 1, of=owner(None))[0] == made[::-1]


class TestDLQEntries:
    def test_by_what_was_done_about_them(self):
        now = timezone.now()
        is_open, replayed = make_dlq_entry(), make_dlq_entry(replayed_at=now)
        discarded = make_dlq_entry(discarded_at=now, replayed_at=now)
        make_dlq_entry(make_delivery(endpoint=make_endpoint(CHARLIE), state="failed"))
        assert walk(lists.dlq_entries, 1)[0] == [discarded, replayed, is_open]
        for state, entry in (("open", is_open), ("replayed", replayed), ("discarded", discarded)):
            assert walk(lists.dlq_entries, 1, state=state)[0] == [entry]

    def test_are_narrowed_down(self):
        entry, other = make_dlq_entry(), make_dlq_entry(event_type="invoice.created", last_status_code=404)
        assert page(lists.dlq_entries, endpoint_id=entry.endpoint_id, state="open").data == [entry]
        assert page(lists.dlq_entries, event_type="invoice.created").data == [other]
        assert page(lists.dlq_entries, status_class="4xx").data == [other]


class TestCursors:
    @pytest.mark.parametrize("cursor", ["", "x", "x" * 2_000, "a:b:c", "é", "\x00", "\ud800"], ids=ascii)
    def test_that_nobody_made_are_refused(self, cursor):
        with pytest.raises(exceptions.InvalidCursor) as caught:
            page(lists.events, Wanted(1, cursor))
        assert caught.value.code == "bad_cursor"

    def test_belong_to_one_list_owner_and_choice(self):
        [make_event() for _ in range(3)]
        cursor = page(lists.events, Wanted(1)).next_cursor
        assert page(lists.events, Wanted(2, cursor)).data
        for wrong in (
            lambda: page(lists.events, Wanted(1, cursor), of=owner(CHARLIE)),
            lambda: page(lists.events, Wanted(1, cursor), of=owner(None)),
            lambda: page(lists.events, Wanted(1, cursor), event_type="invoice.paid"),
            lambda: page(lists.deliveries, Wanted(1, cursor)),
            lambda: page(lists.events, Wanted(1, cursor[:-1] + ("a" if cursor[-1] != "a" else "b"))),
        ):
            with pytest.raises(exceptions.InvalidCursor):
                wrong()

    @pytest.mark.parametrize("limit", [0, -1, 251, True, "10", 1.5, None], ids=ascii)
    def test_a_page_has_1_to_250_rows(self, limit):
        with pytest.raises(exceptions.InvalidCursor) as caught:
            page(lists.events, Wanted(limit))
        assert caught.value.code == "bad_limit"
