"""What the lists find, and how many queries they cost."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay import emit, ids
from django_relay.admin.lists import PER_PAGE
from django_relay.models import Delivery, DLQEntry, Endpoint, PublishFailure
from tests.factories import INVOICE, make_attempt, make_delivery, make_dlq_entry, make_endpoint, make_event
from tests.people import CHARLIE

pytestmark = pytest.mark.django_db

BASE = "/admin/django_relay/"
LISTS = [
    "apikey", "application", "attempt", "auditentry", "delivery", "dlqentry", "endpoint", "endpointhour", "endpointpace",
    "erasure", "event", "eventtype", "portalsession", "publishfailure", "replay", "signingsecret", "tenantlock",
    "workerpresence",
]  # fmt: skip


def found(client, path):
    response = client.get(BASE + path)
    assert response.status_code == 200, (path, response.status_code, response.headers.get("Location"))
    return [row.pk for row in response.context["cl"].result_list]


class TestSearch:
    def test_finds_deliveries_by_whatever_they_are_of(self, boss, client):
        entry = make_dlq_entry()
        delivery = entry.delivery
        make_delivery(endpoint=make_endpoint(CHARLIE))
        for term in (delivery.pk, delivery.event_id, delivery.endpoint_id, "acme"):
            assert found(client, f"delivery/?q={term}") == [delivery.pk], term
            assert found(client, f"delivery/?q={term}&state=failed") == [delivery.pk], term
            assert found(client, f"delivery/?q={term}&state=pending") == [], term
        for term in ("acm", delivery.pk[:-1], "evt_nothing"):
            assert found(client, f"delivery/?q={term}") == [], term

    def test_finds_attempts_and_dlq_entries_likewise(self, boss, client):
        entry = make_dlq_entry()
        attempt = make_attempt(entry.delivery)
        for term in (attempt.pk, entry.delivery_id, entry.event_id, entry.endpoint_id, "acme"):
            assert found(client, f"attempt/?q={term}") == [attempt.pk], term
        for term in (entry.pk, entry.delivery_id, entry.event_id, entry.endpoint_id, "acme"):
            assert found(client, f"dlqentry/?q={term}") == [entry.pk], term
            assert found(client, f"dlqentry/?q={term}&state=open") == [entry.pk], term

    def test_finds_events_by_id_tenant_and_idempotency_key(self, boss, client):
        event = emit("invoice.paid", INVOICE, tenant_id="acme", idempotency_key="order-7")
        make_event(person=CHARLIE)
        for term in (event.pk, "acme", "order-7"):
            assert found(client, f"event/?q={term}") == [event.pk], term
        assert found(client, "event/?q=order") == []

    def test_finds_endpoints_by_id_and_tenant_and_what_is_wrong(self, boss, client):
        failing, disabled, other = make_endpoint(), make_endpoint(), make_endpoint(CHARLIE)
        Endpoint.objects.filter(pk=failing.pk).update(failing_since=timezone.now())
        disabled.disable()
        assert found(client, "endpoint/?state=failing") == [failing.pk]
        assert found(client, "endpoint/?state=disabled") == [disabled.pk]
        assert found(client, f"endpoint/?q={other.pk}") == [other.pk]
        assert found(client, "endpoint/?q=acme&state=disabled") == [disabled.pk]

    def test_time_narrows_a_list_down(self, boss, client):
        old, new = make_event(), make_event()
        type(old).objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=3))
        assert set(found(client, "event/")) == {old.pk, new.pk}
        assert found(client, "event/?span=24h") == [new.pk]


class TestPages:
    def test_lead_from_the_newest_to_the_oldest(self, boss, client):
        endpoint = make_endpoint()
        made = [make_delivery(endpoint=endpoint).pk for _ in range(PER_PAGE + 5)]
        response = client.get(f"{BASE}delivery/")
        first = [row.pk for row in response.context["cl"].result_list]
        older = response.context["cl"].older
        second = found(client, f"delivery/{older}")
        assert first + second == sorted(made, reverse=True)
        assert "Older" in response.content.decode()

    def test_a_rare_state_is_reached_page_by_page(self, boss, client):
        endpoint = make_endpoint()
        rare = make_dlq_entry(make_delivery(endpoint=endpoint, state="failed")).delivery_id
        now = timezone.now()
        event = make_event()
        Delivery.objects.bulk_create(
            [Delivery.of(event.pk, endpoint, now=now, replay_of_id=ids.new("del_")) for _ in range(5 * PER_PAGE)]
        )
        query, seen = "?state=failed", []
        for _page in range(3):
            response = client.get(f"{BASE}delivery/{query}")
            seen += [row.pk for row in response.context["cl"].result_list]
            query = response.context["cl"].older
            if not query:
                break
        assert seen == [rare]

    def test_a_cursor_of_another_list_leads_to_the_beginning(self, boss, client):
        response = client.get(f"{BASE}delivery/?after=nonsense")
        assert response.status_code == 302

    @pytest.mark.parametrize("query", ["?o=3.-1", "?all=", "?p=7", "?_facets=True"])
    def test_nothing_sorts_counts_or_skips(self, boss, client, query):
        make_delivery()
        with CaptureQueriesContext(connection) as captured:
            assert client.get(f"{BASE}delivery/{query}").status_code == 200
        made = " ".join(query["sql"] for query in captured.captured_queries)
        assert "COUNT(" not in made
        assert "OFFSET" not in made


class TestQueries:
    @pytest.mark.parametrize("name", LISTS)
    def test_are_as_many_for_one_row_as_for_many(self, boss, client, name):
        def count(path):
            with CaptureQueriesContext(connection) as captured:
                assert client.get(BASE + path).status_code == 200
            return len(captured.captured_queries)

        def fill():
            entry = make_dlq_entry()
            make_attempt(entry.delivery)
            PublishFailure.objects.create(arguments={}, error="gone")

        fill()
        count(f"{name}/")
        few = count(f"{name}/")
        for _ in range(3):
            fill()
        assert count(f"{name}/") == few
        assert few <= 10

    def test_of_the_dashboard_and_the_tenants_are_fixed(self, boss, client):
        def count(path):
            with CaptureQueriesContext(connection) as captured:
                assert client.get(BASE + path).status_code == 200
            return len(captured.captured_queries)

        for path, most in (("", 15), ("endpoint/tenants/", 10)):
            make_dlq_entry()
            count(path)
            few = count(path)
            for tenant_id in "abc":
                make_dlq_entry(make_delivery(endpoint=make_endpoint(tenant_id=tenant_id), state="failed"))
            assert count(path) == few <= most

    def test_an_event_that_is_gone_costs_none(self, boss, client):
        entry = make_dlq_entry()
        entry.delivery.event.delete()
        assert found(client, "delivery/") == [entry.delivery_id]
        assert DLQEntry.objects.count() == 1
