import io

import pytest
from django.core.management import call_command
from django.core.management.sql import emit_post_migrate_signal

from django_relay import WebhookDefinition, exceptions, register_event_type
from django_relay.catalog import registry, sync
from django_relay.models import Application, EventType
from tests.factories import USING, make_event

DECLARED = len(registry.definitions())

pytestmark = pytest.mark.django_db


@pytest.fixture
def empty():
    with registry.isolated() as it:
        yield it


def declare(name="order.placed", **values):
    registry.register(WebhookDefinition(name, **values))


def counts():
    found = sync.sync(using=USING)
    return found["created"], found["updated"], found["unchanged"]


class TestSync:
    def test_migrate_has_made_the_declared_types_and_the_default_application(self):
        assert Application.objects.get().slug == "default"
        names = {"invoice.created", "invoice.paid", "invoice.overdue"}
        assert names <= set(EventType.objects.values_list("name", flat=True))
        paid = EventType.objects.get(name="invoice.paid")
        assert (paid.description, paid.group) == ("An invoice was paid in full.", "invoices")
        assert paid.schema["required"] == ["number", "amount", "currency"]
        assert paid.example["amount"] == "99.00"

    def test_migrating_again_makes_what_is_missing(self):
        EventType.objects.all().delete()
        Application.objects.all().delete()
        emit_post_migrate_signal(verbosity=0, interactive=False, db=USING)
        assert EventType.objects.count() == DECLARED

    def test_creates_updates_and_leaves_alone(self, empty):
        declare(description="one")
        assert counts() == (1, 0, 0)
        assert counts() == (0, 0, 1)
        empty.definitions.clear()
        declare(description="two", schema={"type": "object"}, metadata={"a": 1})
        assert counts() == (0, 1, 0)
        row = EventType.objects.get(name="order.placed")
        assert (row.description, row.schema, row.metadata) == ("two", {"type": "object"}, {"a": 1})

    def test_what_code_does_not_declare_stays(self, empty):
        assert counts() == (0, 0, 0)
        assert EventType.objects.count() == DECLARED

    def test_a_declared_application_is_made(self, empty):
        declare(application="back-office")
        counts()
        assert EventType.objects.get(name="order.placed").application.name == "Back office"

    def test_does_not_revive_what_staff_deprecated(self):
        EventType.objects.get(name="invoice.paid").deprecate(replaced_by="invoice.settled")
        counts()
        row = EventType.objects.get(name="invoice.paid")
        assert row.deprecated
        assert row.deprecated_at is not None
        with pytest.raises(exceptions.DeprecatedEventType):
            make_event()

    def test_the_command_says_what_changed(self):
        EventType.objects.filter(name="invoice.paid").delete()
        EventType.objects.filter(name="invoice.created").update(description="old")
        out = io.StringIO()
        call_command("relay_sync_catalog", stdout=out)
        assert out.getvalue() == f"1 created, 1 updated, {DECLARED - 2} unchanged\n"


class TestRegisterEventType:
    def test_a_new_type_takes_events_at_once(self):
        row = register_event_type(WebhookDefinition("order.placed", schema={"type": "object"}, schema_version="2"))
        assert EventType.objects.get(name="order.placed") == row
        assert make_event("order.placed", {}).schema_version == "2"
        with pytest.raises(exceptions.InvalidPayload):
            make_event("order.placed", [])

    def test_again_updates_it_and_the_new_schema_counts_at_once(self):
        register_event_type(WebhookDefinition("order.placed", schema={"type": "object"}))
        make_event("order.placed", {})
        register_event_type(WebhookDefinition("order.placed", schema={"type": "array"}))
        assert make_event("order.placed", [])
        with pytest.raises(exceptions.InvalidPayload):
            make_event("order.placed", {})
        assert EventType.objects.filter(name="order.placed").count() == 1

    def test_revives_what_was_deprecated(self):
        register_event_type(WebhookDefinition("order.placed")).deprecate()
        row = register_event_type(WebhookDefinition("order.placed"))
        assert (row.deprecated, row.deprecated_at) == (False, None)
        assert make_event("order.placed", {})

    @pytest.mark.parametrize(
        "definition",
        [
            WebhookDefinition("Order"),
            WebhookDefinition("order.placed", schema={"type": 1}),
            WebhookDefinition("order.placed", schema=False, example=1),
        ],
        ids=["name", "schema", "example"],
    )
    def test_a_faulty_definition_writes_nothing(self, definition):
        with pytest.raises(exceptions.InvalidInput):
            register_event_type(definition)
        assert EventType.objects.count() == DECLARED
