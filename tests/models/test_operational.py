import json
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from django_relay import WebhookDefinition, emit, exceptions, register_event_type
from django_relay.catalog import registry
from django_relay.models import Application, Delivery, Endpoint, Event, EventType, facts, operational
from django_relay.testing import FakeTransport, deliver_pending
from tests.factories import INVOICE, USING, make_delivery, make_endpoint, make_event, make_settled
from tests.people import ALICE, CHARLIE

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 12, 0, 0, 123, tzinfo=UTC)


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


@pytest.fixture
def operations():
    """Set the operational tenant and give its name."""
    with relay(OPERATIONAL_TENANT="operations"):
        yield "operations"


def told():
    """The operational events, as (name, data) in order."""
    rows = Event.objects.filter(event_type__startswith="relay.").order_by("created_at", "pk")
    return [(row.event_type, json.loads(row.payload)) for row in rows]


def names():
    return [name for name, _data in told()]


def of_deliveries(*settled):
    operational.of_deliveries(settled, now=NOW, using=USING)


class TestOfDeliveries:
    @pytest.mark.parametrize(
        ("came_back", "name"),
        [
            ({"status_code": 204}, "relay.delivery_succeeded"),
            ({"status_code": 500}, "relay.delivery_failed"),
            ({"error_kind": "timeout"}, "relay.delivery_failed"),
            ({"error_kind": "local_error"}, "relay.delivery_failed"),
            ({"status_code": 500, "number": 10}, "relay.delivery_dead_lettered"),
            ({"status_code": 410}, "relay.delivery_dead_lettered"),
        ],
        ids=str,
    )
    def test_what_each_outcome_makes(self, operations, came_back, name):
        of_deliveries(make_settled(**came_back))
        assert names() == [name]

    def test_an_event_like_any_other_of_that_tenant(self, operations):
        delivery = make_delivery()
        of_deliveries(make_settled(503, delivery=delivery, number=3))
        event = Event.objects.get(event_type="relay.delivery_failed")
        assert (event.tenant_id, event.application.slug, event.status) == ("operations", "default", "pending")
        assert (event.occurred_at, event.created_at) == (NOW, NOW)
        assert (event.subject, event.origin) == (f"django_relay.Delivery:{delivery.pk}", delivery.event_id)
        assert json.loads(event.payload) == {
            "delivery_id": delivery.pk,
            "event_id": delivery.event_id,
            "event_type": "invoice.paid",
            "endpoint_id": delivery.endpoint_id,
            "tenant_id": "acme",
            "attempt": 3,
            "max_attempts": 10,
            "status_code": 503,
            "error_kind": "",
            "reason": "schedule",
            "next_attempt_at": "2026-11-22T12:30:00.000123Z",
        }

    def test_what_is_over_has_no_next_attempt(self, operations):
        of_deliveries(make_settled(410), make_settled(200))
        assert [data["next_attempt_at"] for _name, data in told()] == [None, None]

    def test_nothing_of_a_lost_lease(self, operations):
        of_deliveries(make_settled(200, is_ours=False))
        assert told() == []

    def test_deliveries_of_operational_events_make_none(self, operations):
        of_deliveries(make_settled(200))
        event = Event.objects.get(event_type="relay.delivery_succeeded")
        endpoint = make_endpoint(tenant_id="operations")
        for came_back in ({"status_code": 200}, {"status_code": 500}, {"status_code": 410}):
            of_deliveries(make_settled(**came_back, delivery=make_delivery(event=event, endpoint=endpoint)))
            Delivery.objects.filter(event=event).delete()
        assert names() == ["relay.delivery_succeeded"]

    def test_neither_url_nor_payload_nor_secret(self, operations):
        endpoint = make_endpoint(url="https://a.example/canary?token=canary", headers={"X-Key": "canary"})
        event = make_event(data={**INVOICE, "number": "canary"})
        delivery = make_delivery(endpoint=endpoint, event=event)
        of_deliveries(make_settled(500, delivery=delivery, body=b"canary", error="canary"))
        endpoint.disable()
        assert len(told()) == 2
        assert "canary" not in str(Event.objects.filter(event_type__startswith="relay.").values())
        assert not any(secret in str(told()) for secret in endpoint.secrets)

    def test_nothing_and_no_statement_when_unset(self, django_assert_num_queries):
        settled = [make_settled(200), make_settled(500)]
        with django_assert_num_queries(0):
            of_deliveries(*settled)
        assert told() == []

    def test_statements_do_not_grow_with_the_batch(self, operations, django_assert_max_num_queries):
        settled = [make_settled(200) for _ in range(20)]
        with django_assert_max_num_queries(2):
            of_deliveries(*settled)
        assert len(told()) == 20

    def test_a_default_application_that_was_deleted_stops_nobody(self, operations):
        delivery = make_delivery()
        EventType.objects.all().delete()
        Endpoint.objects.update(application=Application.objects.create(slug="second", name="Second"))
        Event.objects.update(application=Application.objects.get(slug="second"))
        Application.objects.filter(slug="default").delete()
        of_deliveries(make_settled(200, delivery=delivery))
        assert names() == ["relay.delivery_succeeded"]

    def test_the_global_tenant_may_be_it(self):
        with relay(OPERATIONAL_TENANT=""):
            of_deliveries(make_settled(200))
        assert Event.objects.get(event_type="relay.delivery_succeeded").tenant_id == ""


class TestOfEndpoints:
    @pytest.mark.parametrize("reason", ["tenant", "staff"])
    def test_disabling_one_is_told_whoever_does_it(self, operations, reason):
        endpoint = make_endpoint()
        endpoint.disable(reason, at=NOW)
        endpoint.disable(reason, at=NOW)
        data = {
            "endpoint_id": endpoint.pk,
            "tenant_id": "acme",
            "reason": reason,
            "failing_since": None,
            "last_success_at": None,
            "disabled_at": "2026-11-22T12:00:00.000123Z",
        }
        assert told() == [("relay.endpoint_disabled", data)]
        assert Event.objects.get().subject == f"django_relay.Endpoint:{endpoint.pk}"

    @pytest.mark.parametrize("fact", ["endpoint.failing", "endpoint.recovered", "endpoint.disabled"])
    def test_the_name_is_that_of_the_signal(self, operations, fact):
        facts.tell([(fact, make_endpoint())], now=NOW, using=USING)
        assert names() == [f"relay.{fact.replace('.', '_')}"]

    def test_other_facts_make_none(self, operations):
        endpoint = make_endpoint()
        endpoint.disable()
        Event.objects.all().delete()
        endpoint.enable()
        endpoint.rotate_secret()
        endpoint.delete()
        assert told() == []

    def test_the_operational_tenants_own_endpoints_tell_by_signals_alone(self, operations):
        make_endpoint(tenant_id="operations").disable()
        assert told() == []

    def test_none_when_unset(self):
        make_endpoint().disable()
        assert told() == []

    @pytest.mark.django_db(transaction=True)
    def test_the_event_and_the_change_are_one(self, operations):
        endpoint = make_endpoint()
        with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - the block is what is rolled back
            endpoint.disable()
            raise ZeroDivisionError
        assert (Endpoint.objects.get().enabled, told()) == (True, [])

    @pytest.mark.django_db(transaction=True)
    def test_an_event_that_cannot_be_stored_undoes_the_change(self, operations, monkeypatch):
        def fail(*args, **kwargs):
            raise ZeroDivisionError

        endpoint = make_endpoint()
        monkeypatch.setattr(operational.writing, "insert_new", fail)
        with pytest.raises(ZeroDivisionError):
            endpoint.disable()
        assert Endpoint.objects.get().enabled
        assert not connection.in_atomic_block


class TestSubscribers:
    @pytest.mark.parametrize(
        "pattern", ["*", "**", "relay.*", "relay.**", "*.endpoint_disabled", "relay.endpoint_disabled"]
    )
    def test_no_other_tenant_gets_any_whatever_it_subscribes_to(self, operations, pattern):
        own = make_endpoint(tenant_id="operations", event_types=[pattern], url="https://operations.example/")
        others = [make_endpoint(person, event_types=[pattern]) for person in (ALICE, CHARLIE)]
        others.append(make_endpoint(tenant_id="", event_types=[pattern]))
        make_endpoint(ALICE, event_types=["never.sent"]).disable()
        transport = FakeTransport()
        deliver_pending(transport=transport)
        assert [request.url for request in transport.requests] == ["https://operations.example/"]
        assert list(Delivery.objects.values_list("endpoint_id", flat=True)) == [own.pk]
        assert len(others) == 3

    def test_they_arrive_signed_as_any_event(self, operations):
        make_endpoint(tenant_id="operations", event_types=["relay.endpoint_disabled"])
        failing = make_endpoint(ALICE)
        failing.disable("staff", at=NOW)
        transport = FakeTransport()
        deliver_pending(transport=transport)
        (request,) = transport.requests
        body = json.loads(request.body)
        assert (body["type"], body["timestamp"]) == ("relay.endpoint_disabled", "2026-11-22T12:00:00.000123Z")
        assert (body["data"]["endpoint_id"], body["data"]["reason"]) == (failing.pk, "staff")
        assert request.headers["webhook-signature"].startswith("v1,")

    def test_a_failing_operational_endpoint_ends_by_itself(self, operations):
        make_endpoint(tenant_id="operations", event_types=["relay.*"], retry_schedule=[1])
        make_endpoint(ALICE, event_types=["invoice.*"], retry_schedule=[1])
        make_event()
        for turns in range(5):
            deliver_pending(transport=FakeTransport(answers=500), now=timezone.now() + timedelta(days=turns))
        assert Delivery.objects.pending().count() == 0
        failures = {"relay.delivery_failed", "relay.delivery_dead_lettered", "relay.endpoint_failing"}
        assert set(names()) <= failures
        assert len(names()) < 30


class TestReserved:
    NAME = "relay.endpoint_disabled"

    def test_a_declaration_is_a_fault(self):
        with registry.isolated():
            registry.register(WebhookDefinition(self.NAME))
            (fault,) = registry.faults()
            assert "operational" in fault.message
            assert registry.find("default", self.NAME) is None

    @pytest.mark.parametrize("name", [NAME, "relay.anything", "relay.any.thing"])
    def test_registering_at_run_time_says_why(self, name):
        with pytest.raises(exceptions.InvalidEventName, match="operational") as caught:
            register_event_type(WebhookDefinition(name))
        assert caught.value.code == "reserved_event_type"
        assert not EventType.objects.filter(name=name).exists()

    def test_in_a_form_too(self):
        with pytest.raises(ValidationError) as caught:
            EventType(application=Application.objects.get(), name=self.NAME).full_clean()
        assert caught.value.error_dict["name"][0].code == "reserved_event_type"

    def test_no_one_can_emit_one_even_if_its_row_exists(self, operations):
        EventType.objects.create(application=Application.objects.get(), name=self.NAME)
        with pytest.raises(exceptions.InvalidEventName) as caught:
            emit(self.NAME, {}, tenant_id="operations")
        assert caught.value.code == "reserved_event_type"
        assert Event.objects.count() == 0

    @pytest.mark.parametrize("name", ["relay", "relays.opened", "my.relay.opened", "relay-station.opened"])
    def test_names_that_only_look_like_it_are_free(self, name):
        assert register_event_type(WebhookDefinition(name)).name == name
        assert emit(name, {}).event_type == name
