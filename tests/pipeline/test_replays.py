from datetime import timedelta

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay import exceptions
from django_relay.models import Delivery, DLQEntry, Endpoint, Event, Replay
from django_relay.pipeline import dlq, fan_out, matching, replays
from django_relay.rules import event_names
from django_relay.testing import FakeTransport, deliver_pending
from tests.factories import (
    USING,
    make_application,
    make_delivery,
    make_dlq_entry,
    make_endpoint,
    make_event,
    make_event_type,
    unknown_id,
)
from tests.people import ALICE, CHARLIE
from tests.pipeline.runners import RecordingRunner
from tests.threads import together

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


def make_failed(endpoint, count=1, **values):
    return [make_dlq_entry(make_delivery(endpoint=endpoint, state="failed"), **values) for _ in range(count)]


def make_fanned_out(count=1, *, ago=timedelta(), **values):
    """Emit events that are fanned out to who is there."""
    events = [make_event(**values) for _ in range(count)]
    fan_out.expand(1_000, now=timezone.now(), using=USING)
    Event.objects.filter(pk__in=[event.pk for event in events]).update(created_at=timezone.now() - ago)
    return events


def start(kind="failed", person=ALICE, **wanted):
    return replays.start(kind, tenant_id=person.tenant_id, **wanted)


def count(kind="failed", person=ALICE, **wanted):
    return replays.count(kind, tenant_id=person.tenant_id, **wanted)


def advance(now=None):
    return replays.advance(now=now or timezone.now(), using=USING)


def run(replay):
    """Advance while anything can go on."""
    while advance():
        pass
    replay.refresh_from_db()
    return replay


def sent(replay):
    """Return what the replay made: (event, endpoint), in order."""
    return list(replay.deliveries.order_by("pk").values_list("event_id", "endpoint_id"))


def refused(call, *arguments, **keywords):
    with pytest.raises(exceptions.RelayError) as caught:
        call(*arguments, **keywords)
    return caught.value.code


class TestFailed:
    def test_sends_each_open_entry_of_the_window_once(self):
        endpoint, now = make_endpoint(retry_schedule=[1, 2]), timezone.now()
        entries = make_failed(endpoint, 3, failed_at=now - HOUR)
        make_failed(endpoint, failed_at=now - 3 * HOUR)
        make_failed(endpoint, failed_at=now - timedelta(minutes=1))
        dlq.discard(make_failed(endpoint, failed_at=now - HOUR)[0])
        window = {"since": now - 2 * HOUR, "until": now - timedelta(minutes=5)}
        assert count(**window) == 3
        replay = run(start(**window, actor="Bob"))
        assert (replay.state, replay.total_count, replay.done_count, replay.skipped) == ("completed", 3, 3, {})
        assert (replay.requested_by, replay.cursor) == ("Bob", [])
        assert replay.started_at is not None
        assert replay.completed_at is not None
        made = list(replay.deliveries.all())
        assert {delivery.replay_of_id for delivery in made} == {entry.delivery_id for entry in entries}
        assert {(d.state, d.attempt_count, d.max_attempts, d.trigger) for d in made} == {("pending", 0, 3, "replay")}
        for entry in entries:
            entry.refresh_from_db()
            assert (entry.replayed_at is not None, entry.replay_count) == (True, 1)
        assert DLQEntry.objects.open().count() == 2

    def test_goes_through_the_real_path_with_the_same_id(self):
        transport = FakeTransport([500, 200])
        make_delivery(max_attempts=1)
        deliver_pending(transport=transport)
        replay = start()
        (attempt,) = deliver_pending(transport=transport)
        first, second = transport.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert attempt.trigger == "replay"
        replay.refresh_from_db()
        assert (replay.state, replay.done_count) == ("completed", 1)

    def test_what_fails_again_is_an_entry_of_its_own_and_not_matched_by_the_same_replay(self):
        endpoint = make_endpoint(retry_schedule=[])
        make_failed(endpoint, 3)
        replay = start()
        deliver_pending(transport=FakeTransport(500))
        replay.refresh_from_db()
        assert (replay.state, replay.done_count) == ("completed", 3)
        assert DLQEntry.objects.open().count() == 3
        assert run(start()).done_count == 3

    def test_what_was_replayed_by_hand_is_left_alone(self):
        endpoint = make_endpoint()
        by_hand, *_others = make_failed(endpoint, 3)
        dlq.replay(by_hand)
        assert run(start()).done_count == 2

    def test_two_at_once_send_nothing_twice(self):
        make_failed(make_endpoint(), 4)
        first, second = start(), start()
        run(first)
        second.refresh_from_db()
        assert first.done_count + second.done_count == 4
        assert Delivery.objects.filter(replay__isnull=False).count() == 4

    def test_patterns_choose(self):
        endpoint = make_endpoint()
        make_failed(endpoint, event_type="invoice.paid")
        make_failed(endpoint, event_type="invoice.line.added")
        make_failed(endpoint, event_type="order.placed")
        assert count(event_types=["invoice.*"]) == 1
        assert count(event_types=["invoice.**"]) == 2
        assert count(event_types=["*"]) == 3
        assert run(start(event_types=["invoice.**"])).done_count == 2

    def test_patterns_mean_to_the_database_what_they_mean_to_fan_out(self):
        names = ["a", "a.b", "a.b.c", "ab.c", "a-b.c_d", "c.a", "z.b.c"]
        patterns = ["*", "**", "a", "a.*", "*.b", "**.c", "a.**", "*.b.*", "a-b.*", "z.**.c", "*.*"]
        endpoint = make_endpoint()
        for name in names:
            make_failed(endpoint, event_type=name)
        for pattern in patterns:
            expected = sum(event_names.matches(pattern, name) for name in names)
            assert count(event_types=[pattern]) == expected, pattern
        assert count(event_types=["a", "*.b", "c.*"]) == 3

    def test_ids_choose(self):
        entries = make_failed(make_endpoint(), 4)
        chosen = [entry.pk for entry in entries[:2]]
        assert count(entry_ids=chosen) == 2
        replay = run(start(entry_ids=[*chosen, unknown_id("dlq_")]))
        assert {d.replay_of_id for d in replay.deliveries.all()} == {entry.delivery_id for entry in entries[:2]}

    def test_endpoints_choose(self):
        one, two, three = make_endpoint(), make_endpoint(), make_endpoint()
        for endpoint in (one, two, three):
            make_failed(endpoint, 2)
        replay = start(endpoint_ids=[one.pk])
        assert replay.endpoint == one
        assert {endpoint for _event, endpoint in sent(run(replay))} == {one.pk}
        replay = start(endpoint_ids=[one.pk, two.pk])
        assert replay.endpoint is None
        assert {endpoint for _event, endpoint in sent(run(replay))} == {two.pk}
        assert run(start()).done_count == 2

    def test_a_disabled_endpoints_are_held(self):
        endpoint = make_endpoint()
        make_failed(endpoint, 2)
        endpoint.disable()
        replay = start()
        assert deliver_pending() == []
        replay.refresh_from_db()
        assert (replay.state, replay.done_count) == ("completed", 2)
        endpoint.enable()
        assert len(deliver_pending()) == 2

    def test_a_deleted_endpoints_are_not_matched(self):
        endpoint = make_endpoint()
        make_failed(endpoint, 2)
        endpoint.delete()
        assert count() == 0
        assert run(start()).state == "completed"

    def test_an_endpoint_that_is_deleted_meanwhile_is_skipped_and_counted(self):
        endpoint, other = make_endpoint(), make_endpoint()
        make_failed(endpoint, 2)
        make_failed(other, 1)
        replay = start()
        endpoint.delete()
        run(replay)
        assert (replay.state, replay.total_count, replay.done_count) == ("completed", 3, 1)
        assert (replay.skipped, replay.skipped_count) == ({"endpoint_deleted": 2}, 2)

    def test_an_endpoint_whose_row_is_gone_holds_up_nothing(self):
        endpoint, other = make_endpoint(), make_endpoint()
        make_failed(endpoint, 2)
        make_failed(other, 1)
        replay = start()
        super(type(Endpoint.objects.all()), Endpoint.objects.filter(pk=endpoint.pk)).delete()
        assert run(replay).done_count == 1

    def test_an_event_that_is_gone_is_skipped_and_counted(self):
        gone, _kept = make_failed(make_endpoint(), 2)
        Event.objects.filter(pk=gone.event_id).delete()
        replay = run(start())
        assert (replay.done_count, replay.skipped) == (1, {"event_gone": 1})


class TestMissing:
    def test_sends_what_an_endpoint_wants_now_and_never_got(self):
        old = make_fanned_out(ago=3 * HOUR)
        wanted = make_fanned_out(3)
        pending = make_event()
        late = make_endpoint()
        window = {"since": timezone.now() - HOUR}
        assert count("missing", **window) == 3
        replay = run(start("missing", **window))
        assert {event for event, _endpoint in sent(replay)} == {event.pk for event in wanted}
        assert {d.trigger for d in replay.deliveries.all()} == {"replay"}
        deliver_pending()
        assert Delivery.objects.filter(event=pending, endpoint=late, replay__isnull=True).count() == 1
        assert count("missing", **window) == 0
        assert count("missing", since=timezone.now() - 4 * HOUR) == len(old)

    def test_patterns_and_filters_of_the_endpoint_count(self):
        make_event_type("order.placed")
        eu, us = (make_fanned_out(attributes={"region": region})[0] for region in ("eu", "us"))
        order = make_fanned_out(event_type="order.placed", attributes={"region": "eu"})[0]
        make_endpoint(event_types=["invoice.*"], filters={"region": ["eu"]})
        since = timezone.now() - HOUR
        assert count("missing", since=since) == 1
        assert [event for event, _endpoint in sent(run(start("missing", since=since)))] == [eu.pk]
        everything = make_endpoint()
        assert count("missing", since=since, event_types=["order.**"]) == 1
        replay = run(start("missing", since=since, endpoint_ids=[everything.pk]))
        assert {event for event, _endpoint in sent(replay)} == {eu.pk, us.pk, order.pk}

    def test_what_an_endpoint_got_by_any_way_is_not_missing(self):
        first = make_endpoint()
        sent_again, *_others = make_fanned_out(3)
        late = make_endpoint()
        since = timezone.now() - HOUR
        replays.again(sent_again, endpoint_ids=[late.pk])
        assert count("missing", since=since, endpoint_ids=[first.pk]) == 0
        assert count("missing", since=since, endpoint_ids=[late.pk]) == 2

    @pytest.mark.django_db(transaction=True)
    def test_two_at_once_send_nothing_twice(self):
        make_fanned_out(5)
        make_endpoint()
        since = timezone.now() - HOUR
        for _ in range(2):
            start("missing", since=since)
        together(lambda number: [advance() for _ in range(4)], 4)
        run(Replay.objects.first())
        assert Delivery.objects.count() == 5
        assert not Replay.objects.in_progress().exists()


class TestAll:
    def test_sends_what_an_endpoint_wants_whether_it_got_it_or_not(self):
        make_endpoint()
        events = make_fanned_out(2)
        deliver_pending()
        late = make_endpoint()
        since = timezone.now() - HOUR
        assert count("all", since=since) == 4
        replay = run(start("all", since=since))
        assert len(sent(replay)) == 4
        assert {event for event, _endpoint in sent(replay)} == {event.pk for event in events}
        firsts = {d.endpoint_id: d.replay_of_id for d in replay.deliveries.all()}
        assert firsts[late.pk] is None

    def test_what_is_on_its_way_is_left_alone(self):
        endpoint = make_endpoint(retry_schedule=[])
        first, second, third = make_fanned_out(3)
        since = timezone.now() - HOUR
        assert count("all", since=since) == 0
        deliver_pending(transport=FakeTransport([200, 500, 500]))
        dlq.replay(DLQEntry.objects.order_by("pk").first())
        assert count("all", since=since) == 2
        replay = run(start("all", since=since))
        assert replay.done_count == 2
        assert count("all", since=since) == 0
        assert not DLQEntry.objects.open().exists()  # what was sent again is not to be recovered again
        assert {first.pk, second.pk, third.pk} >= {event for event, _endpoint in sent(replay)}
        assert endpoint.deliveries.pending().count() == 3

    def test_what_a_bulk_replay_sent_and_is_on_its_way_once_more_is_left_alone(self):
        make_endpoint(retry_schedule=[])
        make_fanned_out(1)
        since = timezone.now() - HOUR
        deliver_pending(transport=FakeTransport([500]))
        run(start("failed", since=since))
        deliver_pending(transport=FakeTransport([500]))
        dlq.replay(DLQEntry.objects.open().get())
        assert count("all", since=since) == 0


class TestDiscard:
    def test_discards_what_matches_and_sends_nothing(self):
        endpoint = make_endpoint()
        make_failed(endpoint, 3)
        make_failed(endpoint, event_type="order.placed")
        assert count("discard", event_types=["invoice.*"]) == 3
        replay = run(start("discard", event_types=["invoice.*"]))
        assert (replay.state, replay.done_count) == ("completed", 3)
        assert DLQEntry.objects.filter(discarded_at__isnull=False).count() == 3
        assert not Delivery.objects.filter(replay__isnull=False).exists()

    def test_goes_on_although_much_is_due(self):
        make_failed(make_endpoint(), 5)
        with relay(MAX_REPLAY_DUE_PER_ENDPOINT=1):
            assert run(start("discard")).done_count == 5


class TestWhoseItIs:
    def test_nobody_elses_is_touched(self):
        make_application("second")
        make_event_type("invoice.paid", application="second")
        mine = make_failed(make_endpoint(), 2)
        make_failed(make_endpoint(CHARLIE), 2)
        make_failed(make_endpoint(application="second"), 2)
        make_fanned_out(person=CHARLIE)
        make_fanned_out(application="second")
        since = timezone.now() - HOUR
        assert count() == count("discard") == 2
        assert count("all", since=since) == 2
        assert sent(run(start())) == [(entry.event_id, entry.endpoint_id) for entry in mine]

    def test_a_foreign_endpoint_is_unknown(self):
        make_application("second")
        deleted = make_endpoint()
        deleted.delete()
        for endpoint in (make_endpoint(CHARLIE), make_endpoint(application="second"), deleted):
            assert refused(start, endpoint_ids=[endpoint.pk]) == "unknown_endpoint"
            assert refused(count, endpoint_ids=[endpoint.pk]) == "unknown_endpoint"

    def test_foreign_entries_are_not_matched(self):
        (entry,) = make_failed(make_endpoint(CHARLIE))
        make_endpoint()
        assert count(entry_ids=[entry.pk]) == 0
        assert run(start(entry_ids=[entry.pk])).done_count == 0


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("wanted", "code"),
        [
            ({"kind": "event"}, "bad_kind"),
            ({"kind": "everything"}, "bad_kind"),
            ({"application": "nope"}, "unknown_application"),
            ({"tenant_id": "a\x00"}, "bad_tenant_id"),
            ({"kind": "missing"}, "since_required"),
            ({"kind": "all"}, "since_required"),
            ({"since": timezone.now() + HOUR}, "bad_window"),
            ({"since": timezone.now() - HOUR, "until": timezone.now() - 2 * HOUR}, "bad_window"),
            ({"since": (timezone.now() - HOUR).replace(tzinfo=None)}, "bad_window"),
            ({"event_types": []}, "wrong_type"),
            ({"event_types": ["Invoice"]}, "bad_pattern"),
            ({"entry_ids": []}, "bad_ids"),
            ({"entry_ids": "dlq_"}, "bad_ids"),
            ({"entry_ids": ["evt_01"]}, "bad_ids"),
            ({"entry_ids": [None]}, "bad_ids"),
            ({"entry_ids": ["dlq_"] * 1_001}, "bad_ids"),
            ({"kind": "all", "since": timezone.now() - HOUR, "entry_ids": ["dlq_"]}, "bad_ids"),
            ({"endpoint_ids": []}, "bad_ids"),
            ({"endpoint_ids": ["dlq_01"]}, "bad_ids"),
        ],
        ids=lambda value: value if isinstance(value, str) else "-".join(value),
    )
    def test_with_a_code(self, wanted, code):
        wanted = {"kind": "failed", "tenant_id": "acme", **wanted}
        assert refused(replays.start, **wanted) == code
        assert refused(replays.count, **wanted) == code
        assert not Replay.objects.exists()

    def test_a_window_never_ends_later_than_now(self):
        replay = start(until=timezone.now() + HOUR)
        assert replay.filter["until"] <= timezone.now().isoformat()

    def test_so_many_in_progress(self):
        running = [start() for _ in range(3)]
        assert refused(start) == "too_many_replays"
        start(person=CHARLIE)
        replays.cancel(running[0])
        start()
        with relay(MAX_REPLAYS_PER_TENANT=4):
            start()
        run(running[1])
        start()

    @pytest.mark.django_db(transaction=True)
    def test_so_many_in_progress_whoever_starts_at_once(self):
        results = together(lambda number: start(), 8)
        assert sum(isinstance(result, Replay) for result in results) == 3
        assert [r.code for r in results if isinstance(r, Exception)] == ["too_many_replays"] * 5
        assert Replay.objects.count() == 3


class TestChunks:
    def test_the_cursor_leaves_nothing_out_and_repeats_nothing(self, monkeypatch):
        monkeypatch.setattr(replays, "CHUNK", 3)
        one, two = make_endpoint(), make_endpoint()
        make_failed(one, 7)
        make_failed(two, 4)
        replay = start()
        looked_at = []
        while number := advance():
            looked_at.append(number - 1)
        assert looked_at == [3, 3, 3, 1, 1]  # one, two, one, two, one
        replay.refresh_from_db()
        assert (replay.state, replay.done_count) == ("completed", 11)
        assert len(set(sent(replay))) == 11

    @pytest.mark.parametrize("kind", ["missing", "all"])
    def test_of_events_that_were_emitted_at_the_same_moment(self, monkeypatch, kind):
        monkeypatch.setattr(replays, "CHUNK", 2)
        make_fanned_out(7)
        Event.objects.update(created_at=timezone.now())
        make_endpoint()
        assert run(start(kind, since=timezone.now() - HOUR)).done_count == 7

    def test_a_chunk_of_what_no_filter_lets_pass_goes_on(self, monkeypatch):
        monkeypatch.setattr(replays, "CHUNK", 2)
        make_fanned_out(5, attributes={"region": "us"})
        make_fanned_out(1, attributes={"region": "eu"})
        make_endpoint(filters={"region": ["eu"]})
        assert run(start("missing", since=timezone.now() - HOUR)).done_count == 1

    def test_costs_the_same_whatever_its_size(self):
        endpoint = make_endpoint()
        costs = []
        for size in (3, 40):
            make_failed(endpoint, size)
            start()
            with CaptureQueriesContext(connection) as queries:
                assert advance() == size + 1
            costs.append(len(queries))
        assert costs[0] == costs[1] <= 14

    def test_no_more_than_so_many_are_due_at_once_for_an_endpoint(self):
        one, two = make_endpoint(), make_endpoint()
        make_failed(one, 10)
        make_failed(two, 2)
        with relay(MAX_REPLAY_DUE_PER_ENDPOINT=4):
            replay = run(start())
            assert (replay.state, replay.done_count) == ("running", 6)  # the slow one holds up no other
            assert one.deliveries.pending().count() == 4
            now = timezone.now()
            settled = list(one.deliveries.pending().values_list("pk", flat=True)[:2])
            Delivery.objects.filter(pk__in=settled).update(state="delivered", completed_at=now)
            assert run(replay).done_count == 8
            one.deliveries.pending().update(next_attempt_at=now + HOUR)  # they failed, and wait
            assert run(replay).done_count == 12
            assert replay.state == "completed"

    def test_what_is_held_counts_not(self):
        endpoint = make_endpoint()
        make_failed(endpoint, 10)
        endpoint.disable()
        with relay(MAX_REPLAY_DUE_PER_ENDPOINT=4):
            assert run(start()).done_count == 10

    def test_nothing_to_do_costs_one_query(self, django_assert_num_queries):
        with django_assert_num_queries(1):
            assert advance() == 0

    def test_one_that_breaks_holds_up_no_other(self, monkeypatch, caplog):
        make_failed(make_endpoint(), 2)
        good, bad = start(), start()
        Replay.objects.filter(pk=bad.pk).update(cursor=[["nonsense"]])
        run(good)
        bad.refresh_from_db()
        assert (good.state, good.done_count, bad.state) == ("completed", 2, "cancelled")
        assert [r.event for r in caplog.records if r.levelname == "ERROR"] == ["replay.failed"]

    def test_a_database_that_fails_undoes_the_chunk_and_is_the_workers_to_wait_for(self, monkeypatch):
        make_failed(make_endpoint(), 3)
        replay = start()

        def fail(*arguments, **keywords):
            raise OperationalError("the server closed the connection")

        with monkeypatch.context() as patch:
            patch.setattr(replays, "_skip", fail)  # after the deliveries were inserted
            with pytest.raises(OperationalError):
                advance()
        assert sent(replay) == []
        assert DLQEntry.objects.open().count() == 3
        assert run(replay).done_count == 3

    @pytest.mark.django_db(transaction=True)
    def test_workers_at_once_send_each_once(self):
        make_failed(make_endpoint(), 30)
        replay = start()
        with relay(MAX_REPLAY_DUE_PER_ENDPOINT=5):
            together(lambda number: [advance() for _ in range(5)], 4)
        run(replay)
        assert (replay.done_count, len(set(sent(replay))), Delivery.objects.count()) == (30, 30, 60)

    @pytest.mark.django_db(transaction=True)
    def test_wakes_a_worker_after_the_commit(self):
        RecordingRunner.woken.clear()
        with relay(RUNNER="tests.pipeline.runners.RecordingRunner"):
            start()
        assert RecordingRunner.woken == ["default"]


class TestCancel:
    def test_in_the_middle(self, monkeypatch, caplog, django_capture_on_commit_callbacks):
        monkeypatch.setattr(replays, "CHUNK", 2)
        make_failed(make_endpoint(), 5)
        replay = start()
        advance()
        with django_capture_on_commit_callbacks(execute=True):
            replays.cancel(replay, actor="Bob")
        assert (replay.state, replay.done_count) == ("cancelled", 2)
        assert advance() == 0
        assert len(sent(replay)) == 2
        assert DLQEntry.objects.open().count() == 3
        assert [(r.event, r.actor, r.done) for r in caplog.records if r.event == "replay.cancelled"] == [
            ("replay.cancelled", "Bob", 2)
        ]
        assert len(deliver_pending()) == 2  # what was made is sent
        assert run(start()).done_count == 3

    def test_what_has_ended_is_refused(self):
        replay = run(start())
        assert refused(replays.cancel, replay) == "not_in_progress"
        assert replay.state == "completed"
        other = start()
        replays.cancel(other)
        assert refused(replays.cancel, other) == "not_in_progress"

    @pytest.mark.django_db(transaction=True)
    def test_beside_a_worker_the_count_is_what_was_sent(self, monkeypatch):
        monkeypatch.setattr(replays, "CHUNK", 2)
        make_failed(make_endpoint(), 20)
        replay = start()

        def act(number):
            if number:
                while advance():
                    pass
            else:
                replays.cancel(Replay.objects.get(pk=replay.pk))

        together(act, 3)
        replay.refresh_from_db()
        assert replay.state in ("cancelled", "completed")
        assert replay.done_count == len(sent(replay)) == 20 - DLQEntry.objects.open().count()
        assert advance() == 0


class TestAgain:
    def test_goes_to_those_who_want_it_now(self):
        event = make_fanned_out()[0]
        event.refresh_from_db()
        assert event.status == "no_match"
        late, _other = make_endpoint(), make_endpoint(event_types=["order.*"])
        make_endpoint().disable()
        replay = replays.again(event, actor="Bob")
        assert sent(replay) == [(event.pk, late.pk)]
        assert (replay.kind, replay.state, replay.total_count, replay.done_count) == ("event", "completed", 1, 1)
        assert (replay.endpoint, replay.requested_by, replay.filter) == (late, "Bob", {"ids": [event.pk]})
        transport = FakeTransport()
        (attempt,) = deliver_pending(transport=transport)
        assert transport.requests[0].headers["webhook-id"] == event.pk
        assert attempt.trigger == "replay"

    def test_goes_to_those_that_are_named_whether_they_want_it_or_not(self):
        event = make_fanned_out()[0]
        other, disabled = make_endpoint(event_types=["order.*"]), make_endpoint()
        disabled.disable()
        make_endpoint()
        replay = replays.again(event, endpoint_ids=[other.pk, disabled.pk, other.pk])
        assert {endpoint for _event, endpoint in sent(replay)} == {other.pk, disabled.pk}
        assert replay.endpoint is None

    def test_again_and_again(self):
        endpoint = make_endpoint()
        event = make_fanned_out()[0]
        deliver_pending()
        for _ in range(2):
            replay = replays.again(event)
            assert replay.deliveries.get().replay_of == endpoint.deliveries.order_by("pk").first()
            deliver_pending()
        assert endpoint.deliveries.count() == 3

    def test_its_dlq_entry_is_replayed_by_it(self):
        (entry,) = make_failed(make_endpoint())
        replays.again(entry.event)
        entry.refresh_from_db()
        assert entry.replay_count == 1
        assert count() == 0

    def test_where_it_is_under_way_none_is_made(self):
        make_endpoint()
        event = make_fanned_out()[0]
        assert refused(replays.again, event) == "already_pending"
        assert not Replay.objects.exists()
        late = make_endpoint()
        replay = replays.again(event)
        assert (sent(replay), replay.skipped) == ([(event.pk, late.pk)], {"pending": 1})
        assert refused(replays.again, event, endpoint_ids=[late.pk]) == "already_pending"

    def test_what_cannot_be_sent_again_says_why(self):
        event = make_event()
        assert refused(replays.again, event) == "not_fanned_out"
        fan_out.expand(10, now=timezone.now(), using=USING)
        assert refused(replays.again, event) == "no_endpoint"
        foreign = make_endpoint(CHARLIE)
        assert refused(replays.again, event, endpoint_ids=[foreign.pk]) == "unknown_endpoint"
        assert refused(replays.again, event, endpoint_ids=[]) == "bad_ids"
        Event.objects.all().delete()
        assert refused(replays.again, event) == "event_gone"

    @pytest.mark.django_db(transaction=True)
    def test_of_several_at_once_one_wins(self):
        event = make_fanned_out()[0]
        make_endpoint()
        results = together(lambda number: replays.again(event), 4)
        assert sum(isinstance(result, Replay) for result in results) == 1, results
        assert [r.code for r in results if isinstance(r, Exception)] == ["already_pending"] * 3
        assert Delivery.objects.count() == 1


class TestCountIsWhatIsSent:
    """Whatever is asked for, and in whatever state everything is."""

    def make_world(self):
        make_event_type("order.placed")
        first = make_endpoint(retry_schedule=[])
        eu = make_endpoint(event_types=["invoice.*"], filters={"region": ["eu"]}, retry_schedule=[])
        for region in ("eu", "us"):
            make_fanned_out(3, attributes={"region": region})
            make_fanned_out(2, event_type="order.placed", attributes={"region": region})
        deliver_pending(transport=FakeTransport([200, 500, 500]))
        make_fanned_out(2, attributes={"region": "eu"})
        entries = list(DLQEntry.objects.order_by("pk"))
        dlq.replay(entries[0])
        dlq.discard(entries[1])
        eu.disable()
        make_fanned_out(1, attributes={"region": "eu"})
        make_endpoint(event_types=["order.**", "invoice.paid"])
        make_endpoint().delete()
        return first, eu

    @pytest.mark.parametrize("kind", ["failed", "missing", "all", "discard"])
    @pytest.mark.parametrize("event_types", [None, ["*"], ["order.*"], ["invoice.**", "order.placed"]], ids=str)
    @pytest.mark.parametrize("which", [None, 0, 1], ids=str)
    def test_exactly(self, kind, event_types, which):
        endpoints = self.make_world()
        wanted = {
            "since": timezone.now() - HOUR,
            "event_types": event_types,
            "endpoint_ids": None if which is None else [endpoints[which].pk],
        }
        expected = count(kind, **wanted)
        replay = run(start(kind, **wanted))
        assert (replay.state, replay.total_count, replay.done_count) == ("completed", expected, expected)
        assert replay.skipped == {}
        assert len(sent(replay)) == (0 if kind == "discard" else expected)


class TestWants:
    def test_says_what_fan_out_does(self):
        make_event_type("order.placed")
        event = make_event(attributes={"region": "eu"})
        wanting = [
            make_endpoint(event_types=["invoice.paid"]),
            make_endpoint(event_types=["order.*", "*.paid"], filters={"region": ["eu", "us"]}),
        ]
        make_endpoint(event_types=["order.*"])
        make_endpoint(filters={"region": ["us"]})
        fan_out.expand(10, now=timezone.now(), using=USING)
        got = {delivery.endpoint_id for delivery in Delivery.objects.filter(event=event)}
        assert got == {endpoint.pk for endpoint in wanting}
        assert got == {endpoint.pk for endpoint in Endpoint.objects.all() if matching.wants(endpoint, event)}
