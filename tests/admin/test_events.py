"""An event sent by hand: what is wrong with one is said beside its field, and nothing is stored."""

import pytest

from django_relay.models import AuditEntry, Event, EventType
from tests.factories import make_event_type

pytestmark = pytest.mark.django_db

ADD = "/admin/django_relay/event/add/"
SCHEMA = {"type": "object", "required": ["number"]}


@pytest.fixture
def kind():
    return make_event_type(schema=SCHEMA, example={"number": 7})


def send(client, kind, **values):
    usual = {"event_type": kind.pk, "tenant_id": "acme", "data": '{"number": 8}', "attributes": "{}"}
    return client.post(ADD, {**usual, **values})


def test_the_form_begins_with_the_types_example(boss, client, kind):
    form = client.get(f"{ADD}?event_type={kind.pk}&tenant_id=acme").context["form"]
    assert (form.initial["data"], form.initial["tenant_id"]) == ({"number": 7}, "acme")
    assert client.get(f"{ADD}?event_type=nonsense").context["form"].initial["data"] == {}


def test_one_that_fits_is_stored_and_on_record(boss, client, kind):
    assert send(client, kind, idempotency_key="order-7").status_code == 303
    event = Event.objects.get()
    assert (event.tenant_id, event.payload, event.idempotency_key) == ("acme", '{"number":8}', "order-7")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id) == ("event.sent", event.pk)
    assert "number" not in str(entry.changes)


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"data": "{"}, "data", "JSON"),
        ({"data": "{}"}, "data", "number"),
        ({"data": ""}, "data", "required"),
        ({"attributes": '{"region": {"a": 1}}'}, "attributes", "region"),
        ({"attributes": "[1]"}, "attributes", "mapping"),
        ({"event_type": "evtype_nothing"}, "event_type", "not a valid id"),
        ({"tenant_id": "a" * 256}, "tenant_id", "255"),
        ({"tenant_id": "a\x00b"}, "tenant_id", "Null"),
        ({"idempotency_key": "k" * 256}, "idempotency_key", "255"),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, dict) else None,
)
def test_what_is_wrong_is_said_beside_its_field(boss, client, kind, values, field, said):
    response = send(client, kind, **values)
    assert response.status_code == 409
    assert said in str(response.context["form"].errors[field or "__all__"])
    assert Event.objects.count() == AuditEntry.objects.count() == 0


def test_a_type_that_takes_none_cannot_be_chosen(boss, client, kind):
    EventType.objects.get(pk=kind.pk).deprecate()
    assert "event_type" in send(client, kind).context["form"].errors


def test_the_same_key_for_another_event_is_refused(boss, client, kind):
    send(client, kind, idempotency_key="order-7")
    response = send(client, kind, idempotency_key="order-7", data='{"number": 9}')
    assert response.status_code == 409
    assert response.context["form"].non_field_errors()
    assert Event.objects.count() == 1


def test_while_sending_is_switched_off_it_says_so(boss, client, kind, settings):
    settings.DJANGO_RELAY = {**settings.DJANGO_RELAY, "ENABLED": False}
    assert send(client, kind).context["form"].non_field_errors()
    assert Event.objects.count() == 0
