import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cloudevents.core.bindings import http
from hypothesis import given
from hypothesis import strategies as st

from django_relay.rules import envelopes

FACTS = envelopes.Facts(
    event_id="evt_01m80y1c0000000000000000a0",
    event_type="invoice.paid",
    occurred_at=datetime(2026, 11, 22, 10, 30, tzinfo=UTC),
    payload='{"amount":1.50,"b":9007199254740993,"a":"é"}',
    schema_version="",
    subject="shop.Invoice:42",
    source="/django-relay/default",
)

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)


class TestEncode:
    def test_standard_has_the_members_of_standard_webhooks(self):
        body, content_type = envelopes.encode(FACTS, "standard")
        assert content_type == "application/json"
        assert body.decode() == (
            '{"type":"invoice.paid","id":"evt_01m80y1c0000000000000000a0",'
            '"timestamp":"2026-11-22T10:30:00.000000Z",'
            '"data":{"amount":1.50,"b":9007199254740993,"a":"é"}}'
        )

    def test_standard_shows_the_schema_version_where_there_is_one(self):
        body, _ = envelopes.encode(replace(FACTS, schema_version="2"), "standard")
        assert list(json.loads(body)) == ["type", "id", "timestamp", "schema_version", "data"]
        assert json.loads(body)["schema_version"] == "2"

    def test_raw_is_the_payload_alone(self):
        assert envelopes.encode(FACTS, "raw") == (FACTS.payload.encode(), "application/json")

    def test_cloudevents_has_the_attributes_of_the_specification(self):
        body, content_type = envelopes.encode(FACTS, "cloudevents")
        assert content_type == "application/cloudevents+json; charset=utf-8"
        assert json.loads(body) == {
            "specversion": "1.0",
            "id": FACTS.event_id,
            "source": "/django-relay/default",
            "type": "invoice.paid",
            "time": "2026-11-22T10:30:00.000000Z",
            "datacontenttype": "application/json",
            "subject": "shop.Invoice:42",
            "data": json.loads(FACTS.payload),
        }

    def test_text_beyond_ascii_is_utf_8(self):
        body, _ = envelopes.encode(replace(FACTS, subject="größe"), "cloudevents")
        assert '"subject":"größe"'.encode() in body

    def test_cloudevents_leaves_out_an_empty_subject(self):
        body, _ = envelopes.encode(replace(FACTS, subject=""), "cloudevents")
        assert "subject" not in json.loads(body)

    @given(JSON, TEXT)
    def test_the_cloudevents_library_reads_it(self, data, subject):
        facts = replace(FACTS, payload=json.dumps(data), subject=subject and "s" + subject)
        body, content_type = envelopes.encode(facts, "cloudevents")
        event = http.from_http_event(http.HTTPMessage({"content-type": content_type}, body))
        assert event.get_data() == data
        assert event.get_id() == facts.event_id
        assert event.get_type() == "invoice.paid"
        assert event.get_source() == "/django-relay/default"
        assert event.get_time() == facts.occurred_at
        assert event.get_subject() == (facts.subject or None)

    @given(JSON, st.sampled_from(envelopes.FORMATS), st.booleans(), TEXT)
    def test_the_payload_stands_in_the_body_as_it_is(self, data, form, ascii_only, text):
        payload = json.dumps(data, ensure_ascii=ascii_only, indent=len(text) % 3 or None)
        facts = replace(FACTS, payload=payload, subject=text, schema_version=text)
        body, _ = envelopes.encode(facts, form)
        assert payload.encode() in body
        parsed = json.loads(body)
        assert (parsed if form == "raw" else parsed["data"]) == json.loads(payload)
        assert envelopes.encode(facts, form)[0] == body

    @pytest.mark.parametrize("payload", ["null", "1e400", "-0.0", '{"a":1,"a":2}', "1.10", '"\\u00e9"', "[ ]"])
    @pytest.mark.parametrize("form", envelopes.FORMATS)
    def test_spellings_that_a_parser_would_lose_are_kept(self, payload, form):
        body, _ = envelopes.encode(replace(FACTS, payload=payload), form)
        assert payload.encode() in body

    @pytest.mark.parametrize(
        ("moment", "expected"),
        [
            (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00.000000Z"),
            (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006Z"),
            (
                datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))),
                "2026-01-01T22:00:00.000000Z",
            ),
            (datetime(900, 1, 2, tzinfo=UTC), "0900-01-02T00:00:00.000000Z"),
        ],
    )
    def test_times_are_rfc_3339_in_utc_with_microseconds(self, moment, expected):
        body, _ = envelopes.encode(replace(FACTS, occurred_at=moment), "standard")
        assert json.loads(body)["timestamp"] == expected

    def test_a_naive_time_is_refused(self):
        with pytest.raises(ValueError, match="aware"):
            envelopes.encode(replace(FACTS, occurred_at=datetime(2026, 1, 1)), "standard")  # noqa: DTZ001

    def test_an_unknown_format_is_refused(self):
        with pytest.raises(ValueError, match="standard, raw, cloudevents"):
            envelopes.encode(FACTS, "xml")


class TestFacts:
    def test_its_repr_never_shows_the_payload(self):
        assert "amount" not in repr(FACTS)
