import re

import pytest
from django.core.management import CommandError, call_command

from django_relay import WebhookDefinition, checks, exceptions, register
from django_relay.catalog import registry


@pytest.fixture
def empty():
    with registry.isolated() as it:
        yield it


def messages():
    return [fault.message for fault in registry.faults()]


class TestRegister:
    def test_returns_the_definition_and_keeps_it(self, empty):
        definition = register(WebhookDefinition("order.placed", "Somebody ordered."))
        assert registry.definitions() == [definition]
        assert registry.find("default", "order.placed") is definition
        assert registry.find("second", "order.placed") is None
        assert registry.faults() == []

    def test_the_order_of_declaration_is_kept(self, empty):
        for name in ("b", "a", "c"):
            registry.register(WebhookDefinition(name))
        assert [definition.name for definition in registry.definitions()] == ["b", "a", "c"]

    def test_an_installed_apps_webhooks_are_found(self):
        assert registry.find("default", "invoice.paid").description == "An invoice was paid in full."

    def test_the_same_declaration_read_twice_is_one(self, empty):
        for _ in range(2):
            register(WebhookDefinition("order.placed"))
        assert (len(registry.definitions()), registry.faults()) == (1, [])

    def test_two_declarations_of_a_name_are_a_fault_that_names_both_places(self, empty):
        register(WebhookDefinition("order.placed", "first"))
        register(WebhookDefinition("order.placed", "second"))
        (fault,) = registry.faults()
        assert re.search(r"order\.placed is declared twice; first at .*test_registry\.py:\d+", fault.message)
        assert re.search(r"test_registry\.py:\d+$", fault.place)
        assert fault.place not in fault.message
        assert registry.find("default", "order.placed").description == "first"

    def test_a_name_in_another_application_is_another(self, empty):
        register(WebhookDefinition("order.placed"))
        register(WebhookDefinition("order.placed", application="second"))
        assert (len(registry.definitions()), registry.faults()) == (2, [])

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"name": "Order Placed"}, "name"),
            ({"name": "order.*"}, "name"),
            ({"name": ["order"]}, "name"),
            ({"schema": {"type": "nonsense"}}, "at /type"),
            ({"example": {1, 2}}, "example is not JSON"),
            ({"example": "\x00"}, "example holds NUL"),
            ({"metadata": {"at": {1}}}, "metadata is not JSON"),
            ({"group": "g" * 129}, "group must be text of at most 128 characters"),
            ({"version": 2}, "version must be text"),
            ({"schema": {"$ref": "https://example.com/schema"}}, "never fetched"),
            ({"schema": "string"}, "mapping"),
            ({"schema": {"type": "object"}, "example": []}, "example of a does not fit"),
            ({"replaced_by": "Not A Name"}, "name"),
            ({"replaced_by": "a"}, "replaced by itself"),
        ],
        ids=str,
    )
    def test_a_faulty_declaration_is_kept_as_a_fault_and_stays_undeclared(self, empty, values, message):
        register(WebhookDefinition(**{"name": "a", **values}))
        assert registry.definitions() == []
        (fault,) = registry.faults()
        assert message in fault.message
        assert re.search(r"test_registry\.py:\d+$", fault.place)

    def test_the_system_check_says_what_and_where(self, empty):
        register(WebhookDefinition("Nonsense"))
        (error,) = checks.check_catalog(None)
        assert (error.id, error.is_serious()) == ("django_relay.E005", True)
        assert re.fullmatch(r"Declared at .*test_registry\.py:\d+\.", error.hint)

    def test_the_command_refuses_to_sync_and_says_where(self, empty):
        register(WebhookDefinition("Nonsense"))
        with pytest.raises(CommandError, match=r"test_registry\.py:\d+: "):
            call_command("relay_sync_catalog")


class TestCheck:
    def test_a_definition_that_is_fine(self):
        WebhookDefinition("a", schema={"type": "object"}, example={"b": 1}, replaced_by="c").check()
        WebhookDefinition("a", schema=True, example=1).check()
        WebhookDefinition("a", example={"without": "schema"}).check()

    def test_errors_are_ours(self):
        with pytest.raises(exceptions.InvalidEventName):
            WebhookDefinition("").check()
        with pytest.raises(exceptions.InvalidSchema):
            WebhookDefinition("a", schema={"type": 1}).check()
        with pytest.raises(exceptions.InvalidDefinition):
            WebhookDefinition("a", schema=False, example=1).check()
