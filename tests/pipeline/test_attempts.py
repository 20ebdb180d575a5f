import json
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import models
from django.test import override_settings
from django.utils import timezone

from django_relay import exceptions, verify
from django_relay.models import Delivery, Event
from django_relay.pipeline import attempts, leases
from tests.factories import INVOICE, USING, make_delivery, make_endpoint, make_event

pytestmark = pytest.mark.django_db


def prepare(delivery=None, now=None, **endpoint):
    """Return the request of a leased delivery, as the worker makes it."""
    delivery = delivery or make_delivery(endpoint=make_endpoint(**endpoint))
    now = now or timezone.now()
    (lease,) = leases.claim(1, now=max(now, timezone.now()), using=USING).leases
    return attempts.prepare(lease, now=now)


class TestPrepare:
    def test_the_request_is_what_the_standard_wants(self):
        endpoint = make_endpoint()
        moment = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
        delivery = make_delivery(endpoint=endpoint, event=make_event(occurred_at=moment), attempt_count=2)
        now = timezone.now()
        request = prepare(delivery, now)
        assert json.loads(request.body) == {
            "type": "invoice.paid",
            "id": delivery.event_id,
            "timestamp": "2026-01-02T03:04:05.600000Z",
            "data": INVOICE,
        }
        assert request.headers["webhook-id"] == delivery.event_id
        assert request.headers["webhook-timestamp"] == str(int(now.timestamp()))
        assert request.headers["webhook-attempt"] == "3"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["user-agent"].startswith("django_relay/")
        assert (request.url, request.tenant_id) == (endpoint.url, "acme")
        assert request.id.startswith("att_")
        assert verify(request.body, request.headers, endpoint.secrets) == json.loads(request.body)

    def test_the_body_is_the_same_on_every_attempt_and_the_signature_is_new(self):
        delivery, now = make_delivery(), timezone.now()
        first = prepare(delivery, now)
        Delivery.objects.update(lease_token=None, leased_at=None, leased_until=None)
        second = prepare(delivery, now + timedelta(minutes=5))
        assert first.body == second.body
        assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
        assert first.id != second.id

    def test_the_stored_text_is_sent_unparsed(self):
        delivery = make_delivery()
        Event.objects.update(payload='{"b":1.10,"a":1e2}')
        assert prepare(delivery).body.endswith(b'"data":{"b":1.10,"a":1e2}}')

    def test_custom_headers_are_sent_and_never_replace_ours(self):
        delivery = make_delivery(endpoint=make_endpoint(headers={"X-Key": "k"}))
        endpoint = delivery.endpoint
        endpoint.headers = {"X-Key": "k", "Webhook-Id": "forged", "User-Agent": "forged"}
        models.Model.save(endpoint)  # past our own checks
        headers = prepare(delivery).headers
        assert headers["X-Key"] == "k"
        assert "forged" not in headers.values()
        assert len({name.lower() for name in headers}) == len(headers)

    def test_the_formats(self):
        raw = prepare(format="raw")
        assert json.loads(raw.body) == INVOICE
        cloud = prepare(format="cloudevents")
        body = json.loads(cloud.body)
        assert cloud.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
        assert (body["specversion"], body["source"], body["data"]) == ("1.0", "/django_relay/default", INVOICE)

    def test_the_deadline_is_the_endpoints_or_the_projects(self):
        assert prepare(timeout_seconds=3).timeout_seconds == 3
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "TIMEOUT_SECONDS": 7}):
            assert prepare().timeout_seconds == 7

    def test_the_trace_goes_on(self):
        delivery = make_delivery()
        Event.objects.update(traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
        assert prepare(delivery).headers["traceparent"].startswith("00-aaaa")

    def test_nothing_is_sent_unsigned(self):
        delivery = make_delivery()
        delivery.endpoint.signing_secrets.all().delete()
        with pytest.raises(exceptions.DecryptionError):
            prepare(delivery)

    def test_neither_headers_nor_body_show_in_a_repr(self):
        request = prepare(headers={"X-Key": "canary"})
        assert "canary" not in repr(request)
        assert "2026-0042" not in repr(request)

    def test_asks_the_database_nothing(self, django_assert_num_queries):
        make_delivery()
        (lease,) = leases.claim(1, now=timezone.now(), using=USING).leases
        with django_assert_num_queries(0):
            attempts.prepare(lease, now=timezone.now())
