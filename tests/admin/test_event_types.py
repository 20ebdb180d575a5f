"""The editor of an event type holds it to the rules of those in code."""

import pytest

from django_relay.models import Application, AuditEntry, EventType
from tests.factories import make_event_type

pytestmark = pytest.mark.django_db

BASE = "/admin/django_relay/eventtype/"
GOOD = '{"type": "object", "required": ["number"]}'


def form(**values):
    usual = {
        "application": Application.objects.get(slug="default").pk, "name": "order.placed", "description": "",
        "group": "", "schema": GOOD, "schema_version": "", "example": '{"number": 7}', "version": "1",
        "replaced_by": "", "metadata": "{}",
    }  # fmt: skip
    return {**usual, **values}


def test_a_declaration_that_holds_is_stored_and_on_record(boss, client):
    response = client.post(f"{BASE}add/", form())
    assert response.status_code == 302, response.context["adminform"].form.errors
    assert EventType.objects.get(name="order.placed").example == {"number": 7}
    assert AuditEntry.objects.get().action == "event_type.created"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"schema": "{"}, "schema"),
        ({"schema": '{"type": "nonsense"}'}, "schema"),
        ({"schema": '{"$ref": "https://elsewhere.example/schema"}'}, "schema"),
        ({"example": "{}"}, "example"),
        ({"example": "{"}, "example"),
        ({"name": "Order Placed"}, "name"),
        ({"name": "invoice.paid"}, "name"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_what_is_wrong_is_said_beside_its_field(boss, client, values, field):
    before = EventType.objects.count()
    response = client.post(f"{BASE}add/", form(**values))
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert field in errors or (field == "name" and "__all__" in errors), errors
    assert (EventType.objects.count(), AuditEntry.objects.count()) == (before, 0)


def test_one_that_is_there_is_held_to_them_too(boss, client):
    row = make_event_type(schema={"type": "object"}, example={})
    response = client.post(f"{BASE}{row.pk}/change/", form(example="{}"))
    assert "example" in response.context["adminform"].form.errors
    assert client.post(f"{BASE}{row.pk}/change/", form()).status_code == 302
    row.refresh_from_db()
    assert row.schema["required"] == ["number"]
    assert AuditEntry.objects.get().action == "event_type.updated"


def test_what_code_declares_is_not_edited_here(boss, client):
    declared = EventType.objects.get(name="invoice.paid")
    client.post(f"{BASE}{declared.pk}/change/", form(schema="{}", description="other"))
    assert EventType.objects.get(pk=declared.pk).schema == declared.schema


@pytest.mark.parametrize("named", ["Not A Name", "a..b"])
def test_a_successor_must_be_a_name(boss, client, named):
    row = make_event_type()
    assert client.post(f"{BASE}{row.pk}/do/deprecate/", {"replaced_by": named}).status_code == 409
    row.refresh_from_db()
    assert not row.deprecated
