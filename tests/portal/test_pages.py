"""What the pages of events, deliveries, the DLQ, replays, tests and secrets show and do."""

import csv
import io
import json
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay.models import (
    AuditEntry,
    Delivery,
    DLQEntry,
    Endpoint,
    EndpointHour,
    Event,
    EventType,
    Replay,
    endpoint_hour,
    paging,
    statistics,
)
from django_relay.pipeline import endpoint_tests, replays
from django_relay.portal import events as portal_events
from django_relay.portal import exports
from tests.factories import make_attempt, make_delivery, make_dlq_entry, make_endpoint, make_event, make_event_type
from tests.people import ALICE, CHARLIE
from tests.portal.visitors import Visitor, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def visitor():
    return Visitor()


@pytest.fixture
def failed():
    delivery = make_delivery(state="failed", attempt_count=10)
    make_attempt(delivery, endpoint=delivery.endpoint, status_code=503, response_body="<b>come back</b>")
    make_dlq_entry(delivery)
    return delivery


def hidden(html):
    """Return the hidden fields of the first form in a piece of a page."""
    form = html.partition("</form>")[0]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))


class TestTheLog:
    def test_shows_where_each_event_went(self, visitor, failed):
        make_event()
        page = visitor.page("logs")
        assert "1 failed" in page
        assert "New" in page

    def test_counts_what_was_recovered_as_delivered(self, visitor, failed):
        make_delivery(event=failed.event, endpoint=failed.endpoint, state="delivered", replay_of=failed)
        page = visitor.page("logs")
        assert "1 delivered" in page
        assert "1 failed" not in page

    def test_leads_by_an_id_or_key_to_its_event(self, visitor, failed):
        keyed = make_event(idempotency_key="order 7")
        for text, event_id in ((failed.event_id, failed.event_id), (failed.pk, failed.event_id), ("order 7", keyed.pk)):
            assert visitor.get("logs", q=text)["Location"].endswith(f"/events/{event_id}/")
        assert "Nothing has this id" in visitor.page("logs", q="evt_nothing")
        assert "Nothing has this id" in visitor.page("logs", q="'; DROP TABLE")

    def test_is_narrowed_down_by_type_state_and_time(self, visitor, failed):
        now = timezone.now()
        tomorrow = (now + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
        assert failed.event_id in visitor.page("logs", event_type="invoice.paid", state="dispatched")
        for query in ({"event_type": "order.shipped"}, {"state": "no_match"}, {"since": tomorrow}):
            assert failed.event_id not in visitor.page("logs", **query)
        assert "cannot be read" in visitor.page("logs", since="yesterday")
        assert "after the beginning" in visitor.page("logs", since=tomorrow, until=tomorrow)

    def test_reads_times_in_the_readers_zone(self, visitor, failed):
        shown = (failed.event.created_at + timedelta(hours=2, minutes=-1)).strftime("%Y-%m-%dT%H:%M")
        assert failed.event_id in visitor.page("logs", since=shown, zone="120")
        assert failed.event_id not in visitor.page("logs", since=shown)

    def test_goes_on_by_cursor_and_takes_no_other(self, visitor):
        for _ in range(30):
            make_event()
        page = visitor.page("logs")
        cursor = page.split("?cursor=")[1].split('"')[0]
        assert "5 shown" in visitor.client.get(f"/webhooks/logs/?cursor={cursor}").content.decode()
        assert visitor.get("logs", cursor="x").status_code == 404
        assert visitor.client.get(f"/webhooks/dlq/?cursor={cursor}").status_code == 404

    def test_asks_no_query_for_a_row(self, visitor):
        def queries():
            with CaptureQueriesContext(connection) as found:
                visitor.page("logs")
            return len(found)

        endpoint = make_endpoint()
        make_delivery(endpoint=endpoint)
        visitor.page("logs")
        before = queries()
        for _ in range(15):
            make_delivery(endpoint=endpoint)
        assert queries() == before <= 8


class TestAnExport:
    def test_is_csv_that_starts_no_formula(self, visitor):
        make_event(idempotency_key="=cmd|' /C calc'!A0", subject='+1+1,"x"')
        response = visitor.get("export", "csv")
        assert "attachment" in response["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode(), newline="")))
        assert rows[0]["type"] == "invoice.paid"
        assert rows[0]["idempotency_key"] == "'=cmd|' /C calc'!A0"
        assert rows[0]["subject"] == '\'+1+1,"x"'

    def test_is_ndjson_as_it_is(self, visitor):
        events = [make_event(idempotency_key=f"={number}") for number in range(3)]
        lines = b"".join(visitor.get("export", "ndjson").streaming_content).decode().splitlines()
        assert [json.loads(line)["id"] for line in lines] == [event.pk for event in reversed(events)]
        assert json.loads(lines[-1])["idempotency_key"] == "=0"

    def test_holds_the_newest_as_many_as_its_page_says(self, visitor, monkeypatch):
        made = [make_event().pk for _ in range(6)]
        assert "At most 100,000 events, the newest." in visitor.page("logs")
        monkeypatch.setattr(portal_events, "MAX_EXPORTED", 5)
        assert "At most 5 events" in visitor.page("logs")
        monkeypatch.setattr(paging, "MAX_LIMIT", 2)
        lines = b"".join(visitor.get("export", "ndjson").streaming_content).decode().splitlines()
        assert [json.loads(line)["id"] for line in lines] == made[:0:-1]

    def test_that_takes_too_long_is_broken_off(self, visitor, monkeypatch):
        make_event()
        monkeypatch.setattr(exports, "MAX_SECONDS", 0)
        with pytest.raises(TimeoutError, match="broken off"):
            list(visitor.get("export", "csv").streaming_content)

    def test_is_narrowed_down_as_the_log_is(self, visitor):
        make_event()
        assert b"".join(visitor.get("export", "ndjson", event_type="order.shipped").streaming_content) == b""
        assert visitor.get("export", "xml").status_code == 404
        assert visitor.get("export", "csv", since="x").status_code == 404


class TestAnEvent:
    def test_shows_each_endpoint_and_why(self, visitor, failed):
        other = make_endpoint(url="https://alice.example/orders", event_types=["order.*"])
        Endpoint.objects.filter(pk=other.pk).update(created_at=failed.event.created_at - timedelta(days=1))
        page = visitor.page("event", failed.event_id)
        for said in (
            "does not subscribe",
            "HTTP 503",
            "&lt;b&gt;come back&lt;/b&gt;",
            "10 attempts of 10",
            "Send again",
            "2026-0042",
        ):
            assert said in page, said

    def test_that_is_gone_leaves_its_delivery_readable(self, visitor, failed):
        Event.objects.filter(pk=failed.event_id).delete()
        assert visitor.get("event", failed.event_id).status_code == 404
        for name in ("endpoint", "attempts"):
            assert failed.event_id in visitor.page(name, failed.endpoint_id)
        assert visitor.page("dlq")

    def test_is_sent_again(self, visitor, failed):
        other = make_endpoint(url="https://alice.example/other", event_types=["order.*"])
        assert visitor.post("send_again", failed.event_id).status_code == 303
        assert visitor.post("send_again", failed.event_id, endpoint=other.pk).status_code == 303
        assert Delivery.objects.filter(event_id=failed.event_id, endpoint=other).count() == 1
        again = visitor.post("send_again", failed.event_id, endpoint=other.pk)
        assert again.status_code == 409
        assert "on its way already" in text_of(again)
        assert AuditEntry.objects.filter(action="event.replayed").count() == 2

    def test_asks_no_query_for_an_attempt(self, visitor, failed):
        def queries():
            with CaptureQueriesContext(connection) as found:
                visitor.page("event", failed.event_id)
            return len(found)

        before = queries()
        for number in range(2, 12):
            make_attempt(failed, endpoint=failed.endpoint, number=number)
        assert queries() == before <= 16


class TestADelivery:
    def test_is_sent_now_or_not_at_all(self, visitor):
        delivery = make_delivery(next_attempt_at=timezone.now() + timedelta(hours=5))
        assert visitor.post("retry_delivery", delivery.pk).status_code == 303
        delivery.refresh_from_db()
        assert delivery.next_attempt_at <= timezone.now()
        visitor.post("cancel_delivery", delivery.pk)
        delivery.refresh_from_db()
        assert delivery.state == "cancelled"
        refused = visitor.post("cancel_delivery", delivery.pk)
        assert refused.status_code == 409
        assert "settled already" in text_of(refused)


class TestTheAttempts:
    def test_are_narrowed_down_by_answer(self, visitor, failed):
        assert "503" in visitor.page("attempts", failed.endpoint_id, status="5xx")
        assert "No attempts" in visitor.page("attempts", failed.endpoint_id, status="2xx")

    @pytest.mark.parametrize("kind", ["address_not_public", "connection", "connect_timeout", "tls", "unsafe_url"])
    def test_tell_nothing_of_a_network_behind(self, visitor, kind):
        """A test send is no port scanner: closed, filtered, blocked and refused targets look alike."""
        delivery = make_delivery(state="failed", attempt_count=1)
        make_attempt(
            delivery,
            endpoint=delivery.endpoint,
            status_code=None,
            error_kind=kind,
            error="10.1.2.3 refused port 22",
            remote_address="10.1.2.3",
            duration_ms=3_017,
        )
        page = visitor.page("event", delivery.event_id)
        assert "No connection could be made" in page
        for hidden in ("10.1.2.3", "3.0 s", "port 22"):
            assert hidden not in page


class TestTheDLQ:
    def test_says_when_there_is_nothing(self, visitor):
        assert "Nothing has failed for good" in visitor.page("dlq")

    def test_sends_chosen_entries_again(self, visitor, failed):
        entry = DLQEntry.objects.get()
        response = visitor.post("dlq_act", do="replay", entry=entry.pk)
        assert response.status_code == 303
        replays.advance(now=timezone.now(), using="default")
        assert "Sent again" in visitor.page("dlq", state="replayed")
        assert "Recovering what failed" in visitor.client.get(response["Location"]).content.decode()

    def test_asks_before_it_does_something_to_all(self, visitor, failed):
        asked = visitor.post("dlq_act", do="discard_all")
        assert "Discard 1 delivery?" in text_of(asked)
        assert not Replay.objects.exists()
        visitor.post("dlq_act", do="discard_all", confirmed="1")
        assert Replay.objects.get().kind == "discard"
        assert AuditEntry.objects.filter(action="replay.created").exists()

    def test_does_to_all_what_the_filters_let_through_and_no_more(self, visitor, failed):
        """As the page does it: the form of the list, then the form of the question, field by field."""
        other = make_delivery(
            endpoint=make_endpoint(url="https://alice.example/other"), state="failed", attempt_count=10
        )
        make_dlq_entry(other)
        assert "Send all 2 again" in visitor.page("dlq")
        page = visitor.page("dlq", endpoint=other.endpoint_id, event_type="invoice.paid")
        assert "Send all that fit again" in page
        asked = text_of(visitor.post("dlq_act", do="replay_all", **hidden(page.partition('id="chosen"')[2])))
        assert "Send 1 delivery again?" in asked
        assert "https://alice.example/other" in asked
        started = visitor.post("dlq_act", do="replay_all", **hidden(asked.partition("dlq/act/")[2]))
        assert started.status_code == 303
        replay = Replay.objects.get()
        assert (replay.total_count, replay.endpoint_id) == (1, other.endpoint_id)
        assert replay.filter["event_types"] == ["invoice.paid"]
        assert replay.filter["until"]

    def test_sends_nothing_again_where_nothing_fits(self, visitor, failed):
        asked = visitor.post("dlq_act", do="replay_all", since="2020-01-01T00:00", until="2020-01-02T00:00", zone="60")
        assert "No open delivery fits" in text_of(asked)
        assert "replay_all" not in text_of(asked)
        stranger = make_endpoint(CHARLIE)
        assert visitor.post("dlq_act", do="replay_all", endpoint=stranger.pk).status_code == 409

    def test_says_when_nothing_was_chosen(self, visitor, failed):
        for entry in ([], ["dlq_x"], ["\x00"]):
            assert visitor.post("dlq_act", do="replay", entry=entry).status_code == 409
        assert visitor.post("dlq_act", do="fly").status_code == 200


class TestAReplay:
    def test_shows_the_count_first_and_the_exact_beginning(self, visitor, failed):
        endpoint = failed.endpoint
        page = visitor.page("start_replay", endpoint.pk, kind="failed", preset="1d")
        assert "1 event would be sent again" in page
        since = page.split('name="since" value="')[-1].split('"')[0]
        until = page.split('name="until" value="')[-1].split('"')[0]
        response = visitor.post("start_replay", endpoint.pk, kind="failed", since=since, until=until, event_type="")
        assert response.status_code == 303
        replay = Replay.objects.get()
        assert (replay.filter["since"], replay.endpoint_id) == (since, endpoint.pk)
        assert "hx-trigger" in visitor.page("replay", replay.pk)
        assert visitor.post("cancel_replay", replay.pk).status_code == 303
        assert "Cancelled" in visitor.page("replay", replay.pk)
        assert visitor.post("cancel_replay", replay.pk).status_code == 303

    def test_of_what_is_missing_needs_a_beginning(self, visitor):
        endpoint = make_endpoint()
        assert "Say from when on" in visitor.page("start_replay", endpoint.pk, kind="missing", preset="custom")
        refused = visitor.post("start_replay", endpoint.pk, kind="missing", since="", until="")
        assert refused.status_code == 409
        for kind in ("discard", "event", "spoilt", "\x00"):
            assert visitor.post("start_replay", endpoint.pk, kind=kind, since="x").status_code == 409
        assert not Replay.objects.exists()

    def test_is_one_too_many(self, visitor, failed, relay_settings):
        relay_settings(MAX_REPLAYS_PER_TENANT=1)
        replays.start("failed", tenant_id=ALICE.tenant_id)
        answer = visitor.post("start_replay", failed.endpoint_id, kind="failed", since="", until="")
        assert "As many replays are in progress" in text_of(answer)


class TestATest:
    def test_is_sent_with_the_types_example(self, visitor):
        endpoint = make_endpoint()
        page = visitor.page("testing", endpoint.pk, event_type="invoice.paid")
        assert "2026-0042" in page
        response = visitor.post("testing", endpoint.pk, event_type="invoice.paid")
        event = Event.objects.get(only_endpoint=endpoint)
        assert response["Location"].endswith(f"/testing/{event.pk}/")
        assert "Sending" in visitor.page("test_result", endpoint.pk, event.pk)
        assert AuditEntry.objects.get(action="endpoint.tested").changes

    @pytest.mark.parametrize(
        ("data", "said"),
        [("{", "not JSON"), ('{"number": 1}', "does not fit"), ('{"a": "\\u0000"}', "JSON"), ("NaN", "JSON")],
    )
    def test_says_what_is_wrong_with_the_data(self, visitor, data, said):
        response = visitor.post("testing", make_endpoint().pk, event_type="invoice.paid", data=data)
        assert response.status_code == 422
        assert said in text_of(response)

    def test_of_a_disabled_endpoint_says_to_enable_it(self, visitor):
        endpoint = make_endpoint()
        endpoint.disable("tenant")
        assert "enable it first" in text_of(visitor.post("testing", endpoint.pk, event_type="invoice.paid"))

    def test_of_no_type_of_the_catalog_is_refused(self, visitor):
        for name in ("nothing.here", "relay.endpoint", "\x00", "x" * 500, ""):
            assert visitor.post("testing", make_endpoint().pk, event_type=name).status_code == 422

    def test_shows_what_came_back(self, visitor):
        endpoint = make_endpoint()
        event = endpoint_tests.send(endpoint, "invoice.paid")
        delivery = make_delivery(endpoint=endpoint, event=event, state="delivered", attempt_count=1)
        make_attempt(delivery, endpoint=endpoint, status_code=204, trigger="test")
        assert "It arrived" in visitor.page("test_result", endpoint.pk, event.pk)


class TestASecret:
    def test_is_shown_when_asked_for_and_put_on_record(self, visitor):
        endpoint = make_endpoint()
        assert endpoint.secrets[0] not in visitor.page("secret", endpoint.pk)
        assert endpoint.secrets[0] in text_of(visitor.post("reveal_secret", endpoint.pk))
        assert AuditEntry.objects.get(action="endpoint.secret_revealed").actor.startswith("portal:")
        assert "Signing secret shown" in visitor.page("secret", endpoint.pk)

    def test_is_rotated_with_an_overlap(self, visitor):
        endpoint = make_endpoint()
        (old,) = endpoint.secrets
        response = visitor.post("rotate_secret", endpoint.pk, overlap_seconds="3600")
        new, still = Endpoint.objects.get().secrets
        assert still == old
        assert new in text_of(response)
        assert old not in text_of(response)
        visitor.post("rotate_secret", endpoint.pk, overlap_seconds="0")
        assert len(Endpoint.objects.get().secrets) == 1

    def test_of_ones_own_is_checked(self, visitor):
        endpoint = make_endpoint()
        response = visitor.post("rotate_secret", endpoint.pk, overlap_seconds="0", secret="whsec_short")
        assert response.status_code == 422
        assert "24 to 64 bytes" in text_of(response)
        assert visitor.post("rotate_secret", endpoint.pk, overlap_seconds="9").status_code == 422


class TestTheCatalog:
    def test_shows_fields_in_words_and_an_example(self, visitor):
        make_event_type(
            "parcel.sent",
            schema={
                "type": "object",
                "required": ["to"],
                "properties": {
                    "to": {"$ref": "#/$defs/place"},
                    "grams": {"type": ["integer", "null"], "minimum": 1},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 80}}}},
            },
            example={"to": {"city": "<Bonn>"}},
        )
        page = visitor.page("event_type", "parcel.sent")
        for said in (
            "required",
            "city",
            "at most 80 characters",
            "whole number or null",
            "list of text",
            "&lt;Bonn&gt;",
        ):
            assert said in page, said

    def test_works_before_there_is_an_endpoint(self, visitor):
        assert "invoice.paid" in visitor.page("catalog")
        assert visitor.get("event_type", "nothing.here").status_code == 404

    def test_says_what_is_deprecated_and_what_instead(self, visitor):
        make_event_type("parcel.lost").deprecate(replaced_by="invoice.paid")
        page = visitor.page("event_type", "parcel.lost")
        assert "no longer sent" in page
        assert "/catalog/invoice.paid/" in page

    def test_survives_schemas_of_any_shape(self, visitor):
        shapes = [True, False, {}, {"$ref": "#"}, {"properties": []}, {"properties": {"a": True, "b": {"items": 1}}}]
        loop = {"properties": {"a": {"$ref": "#/properties/a"}}}
        deep = {"properties": {"a": {}}}
        for _ in range(50):
            deep = {"properties": {"a": deep}}
        for number, schema in enumerate([*shapes, loop, deep, {"properties": {"x": {"enum": [1, None], "type": 5}}}]):
            make_event_type(f"shape.n{number}", schema=schema)
            assert visitor.page("event_type", f"shape.n{number}")

    def test_without_types_says_so(self, visitor):
        EventType.objects.all().delete()
        assert "The catalog is empty so far" in visitor.page("catalog")
        assert "The catalog is empty so far" in visitor.page("add_endpoint")


class TestActivity:
    def test_says_when_there_was_none(self, visitor):
        assert "Quiet so far" in visitor.page("activity")

    def test_counts_the_events_of_the_time_shown_by_type(self, visitor, monkeypatch):
        now = timezone.now()
        EndpointHour.objects.create(endpoint=make_endpoint(), hour=endpoint_hour.hour_of(now), delivered=1)
        for event_type, age in (("invoice.paid", 1), ("invoice.paid", 2), ("order.shipped", 3), ("order.lost", 100)):
            Event.objects.filter(pk=make_event().pk).update(
                event_type=event_type, created_at=now - timedelta(hours=age)
            )
        page = visitor.page("activity")
        assert "67%" in page
        assert "order.lost" not in page
        assert "newest" not in page
        assert "order.lost" in visitor.page("activity", span="7d")
        monkeypatch.setattr(statistics, "COUNTED", 2)
        page = visitor.page("activity")
        assert "Of the newest 2 events, which are those since" in page
        assert "order.shipped" not in page
