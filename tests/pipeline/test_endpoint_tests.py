import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from django_relay import WebhookDefinition, exceptions, register_event_type, signals
from django_relay.models import Application, Attempt, Delivery, DLQEntry, EndpointHour, Event
from django_relay.pipeline import deliveries, endpoint_tests, fan_out, replays
from django_relay.testing import FakeTransport, deliver_pending
from tests.factories import USING, make_endpoint, make_event_type

pytestmark = pytest.mark.django_db


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


def refused(call, *arguments, **keywords):
    with pytest.raises(exceptions.RelayError) as caught:
        call(*arguments, **keywords)
    return caught.value.code


@pytest.fixture(autouse=True)
def _event_types():
    register_event_type(WebhookDefinition("invoice.tried", schema={"type": "object"}, example={"number": "1"}))
    register_event_type(WebhookDefinition("invoice.bare", schema={"type": "object", "required": ["number"]}))
    make_event_type("invoice.free")


class TestSend:
    def test_goes_to_this_endpoint_alone_with_the_types_example(self):
        endpoint = make_endpoint(event_types=["order.*"])
        make_endpoint()
        event = endpoint_tests.send(endpoint, "invoice.tried")
        assert endpoint_tests.result(event) is None
        transport = FakeTransport()
        (attempt,) = deliver_pending(transport=transport)
        (request,) = transport.requests
        assert request.url == endpoint.url
        assert request.body.endswith(b'"data":{"number":"1"}}')
        assert (attempt.trigger, attempt.status_code) == ("test", 200)
        found = endpoint_tests.result(event)
        assert (found.delivery.endpoint, found.delivery.state, found.attempt) == (endpoint, "delivered", attempt)

    def test_sends_other_data_that_fits(self):
        endpoint = make_endpoint()
        assert endpoint_tests.send(endpoint, "invoice.tried", data={"number": "2"}).payload == '{"number":"2"}'
        assert endpoint_tests.send(endpoint, "invoice.free").payload == "{}"
        assert refused(endpoint_tests.send, endpoint, "invoice.tried", data="text") == "schema_mismatch"

    def test_what_cannot_be_sent_says_why(self):
        endpoint = make_endpoint()
        assert refused(endpoint_tests.send, endpoint, "invoice.unknown") == "unknown_event_type"
        assert refused(endpoint_tests.send, endpoint, "invoice.bare") == "no_example"
        with relay(ENABLED=False):
            assert refused(endpoint_tests.send, endpoint, "invoice.tried") == "sending_disabled"
        endpoint.disable()
        assert refused(endpoint_tests.send, endpoint, "invoice.tried") == "endpoint_disabled"
        endpoint.delete()
        assert refused(endpoint_tests.send, endpoint, "invoice.tried") == "endpoint_deleted"
        assert not Event.objects.exists()

    def test_who_asked_is_logged(self, caplog, django_capture_on_commit_callbacks):
        endpoint = make_endpoint()
        with django_capture_on_commit_callbacks(execute=True):
            event = endpoint_tests.send(endpoint, "invoice.tried", actor="Bob")
        (record,) = [record for record in caplog.records if record.event == "endpoint.tested"]
        assert (record.endpoint_id, record.event_id, record.actor) == (endpoint.pk, event.pk, "Bob")

    def test_an_endpoint_disabled_before_fan_out_gets_nothing(self):
        endpoint = make_endpoint()
        event = endpoint_tests.send(endpoint, "invoice.tried")
        endpoint.disable()
        assert deliver_pending() == []
        event.refresh_from_db()
        assert (event.status, endpoint_tests.result(event)) == ("no_match", None)


@pytest.mark.parametrize("answer", [500, 410, ConnectionError("refused")], ids=["500", "410", "refused"])
class TestATestThatFails:
    def test_is_attempted_once_and_has_no_consequences(self, answer):
        endpoint = make_endpoint(retry_schedule=[1, 1])
        before = type(endpoint).objects.filter(pk=endpoint.pk).values().get()
        told = []

        def listen(sender, instance, **keywords):
            told.append(instance)

        for signal in (signals.delivery_failed, signals.delivery_dead_lettered, signals.endpoint_failing):
            signal.connect(listen, weak=False)
        try:
            with relay(OPERATIONAL_TENANT="ops"):
                event = endpoint_tests.send(endpoint, "invoice.tried")
                deliver_pending(transport=FakeTransport(answer))
                deliver_pending(now=timezone.now() + timezone.timedelta(days=9))
        finally:
            for signal in (signals.delivery_failed, signals.delivery_dead_lettered, signals.endpoint_failing):
                signal.disconnect(listen)
        found = endpoint_tests.result(event)
        assert (found.delivery.state, found.delivery.attempt_count, found.delivery.max_attempts) == ("failed", 1, 1)
        assert Attempt.objects.get() == found.attempt
        assert (found.attempt.next_attempt_at, found.delivery.last_error != "") == (None, True)
        assert not DLQEntry.objects.exists()
        assert not EndpointHour.objects.exists()
        assert list(Event.objects.all()) == [event]  # no operational event
        assert told == []
        assert type(endpoint).objects.filter(pk=endpoint.pk).values().get() == before


class TestATestThatSucceeds:
    def test_says_nothing_of_the_endpoints_health(self):
        endpoint = make_endpoint()
        endpoint_tests.send(endpoint, "invoice.tried")
        deliver_pending()
        endpoint.refresh_from_db()
        assert endpoint.last_success_at is None
        assert not EndpointHour.objects.exists()


class TestNeverAgain:
    def test_a_test_is_in_no_replay(self):
        endpoint = make_endpoint()
        event = endpoint_tests.send(endpoint, "invoice.tried")
        deliver_pending(transport=FakeTransport(500))
        make_endpoint()
        since = event.created_at
        for kind in ("missing", "all"):
            assert replays.count(kind, tenant_id="acme", since=since) == 0
        assert replays.count("failed", tenant_id="acme") == 0
        assert refused(replays.again, event) == "test_event"
        assert refused(deliveries.retry, Delivery.objects.get()) == "test_event"

    def test_in_a_batch_with_others_each_has_its_own_attempts(self):
        endpoint = make_endpoint()
        other = Event(
            application=Application.objects.get(), tenant_id="acme", event_type="invoice.paid", payload="{}",
            payload_hash="", occurred_at=timezone.now(),
        )  # fmt: skip
        other.save()
        endpoint_tests.send(endpoint, "invoice.tried")
        fan_out.expand(10, now=timezone.now(), using=USING)
        assert sorted(Delivery.objects.values_list("max_attempts", flat=True)) == [1, 10]
