"""Declarations that are wrong say what would be right, at check time; those that are right fill the catalog."""

import pytest
from django.test import override_settings

from django_relay import exceptions
from django_relay.catalog import registry
from django_relay.models import Endpoint
from django_relay.rules import schemas
from django_relay.sources import declarations, model_signals
from django_relay.sources.model_signals import changed, constant, register
from tests.sources.market.models import Customer, Invoice, Line, Plain


def problem(model=Plain, prefix="x", **arguments):
    """Declare, and return what is wrong with it."""
    with model_signals.isolated() as faults:
        register(model, prefix, **{"tenant": "", "created": True, **arguments})
        [message] = [error.msg for error in model_signals.check() if error.id == "django_relay.E010"]
        assert faults[0].place.startswith(__file__)
    return message


class TestFaults:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"tenant": None}, "market.Plain: tenant must say whose the events are"),
            ({"tenant": "custommer_id"}, "has no field 'custommer_id'. Did you mean 'customer_id'?"),
            ({"tenant": "customer__nme"}, "market.Customer has no field 'nme'. Did you mean 'name'?"),
            ({"tenant": "number__x"}, "market.Plain.number leads to no one row"),
            ({"tenant": "tags"}, "market.Plain.tags has no value of its own"),
            ({"tenant": "billing.tenants.of"}, "tenant 'billing.tenants.of' cannot be imported"),
            ({"tenant": constant(7)}, "constant() takes a tenant"),
            ({"tenant": "customer_id", "tenant_if_none": 7}, "tenant_if_none must be a tenant"),
            ({"created": False}, "nothing is declared. Say created=True"),
            ({"created": 7}, "created must be True or the name of an event type"),
            ({"updated": ["amout"]}, "has no field 'amout', which updated names. Did you mean 'amount'?"),
            ({"updated": 7}, "updated must be True, or a list of fields"),
            ({"events": {"x.paid": changed("state")}}, "has no field 'state', which changed() of x.paid names"),
            ({"events": {"x.paid": 7}}, "a condition must be changed(…)"),
            ({"events": {"x.paid": "a.b"}}, "the predicate 'a.b' cannot be imported"),
            ({"events": ["x.paid"]}, "events must map names of event types to conditions"),
            ({"when": 7}, "a predicate must be a callable"),
            ({"serializer": "a.B"}, "serializer 'a.B' cannot be imported"),
            ({"fields": ["number", "nmber"]}, "has nothing named 'nmber'"),
            ({"creatd": True}, "unexpected keyword argument 'creatd'"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
    )
    def test_say_what_is_wrong(self, arguments, said):
        assert said in problem(**arguments)

    def test_of_a_model_that_is_not_there(self):
        assert "There is no model 'market.Invoise'. Did you mean 'market.Invoice'?" in problem("market.Invoise")

    def test_of_our_own_models(self):
        assert "is django_relay's own" in problem(Endpoint)
        assert "is django_relay's own" in problem("django_relay.Delivery")

    def test_of_a_payload_that_has_our_keys(self):
        message = problem(Invoice, fields=["number", "previous"], updated=True)
        assert "has nothing named 'previous'" in message

    def test_of_a_catalog_that_says_otherwise(self):
        with model_signals.isolated():
            registry.register(registry.WebhookDefinition("x.created", schema={"type": "object", "required": ["cost"]}))
            register(Plain, "x", tenant="", created=True)
            [error] = model_signals.check()
        assert '"cost" is a required property' in error.msg

    def test_never_reach_emits(self):
        with model_signals.isolated():
            assert model_signals.emits("x")(Customer) is Customer
            [error] = model_signals.check()
        assert "tenant must say" in error.msg
        assert not declarations.concerning(Customer)

    def test_of_a_condition_are_raised_where_it_is_made(self):
        with pytest.raises(exceptions.InvalidDeclaration):
            changed("status", when=7)


class TestRouters:
    def test_that_keep_our_tables_away_are_warned_of(self):
        class Router:
            def allow_migrate(self, db, app_label, **hints):
                return app_label != "django_relay" or db != "postgres"

        with override_settings(DATABASE_ROUTERS=[Router()]):
            found = model_signals.check()
        assert {warning.id for warning in found} == {"django_relay.W012"}
        assert "market.Invoice is kept in postgres" in " ".join(warning.msg for warning in found)
        assert model_signals.check() == []


class TestCatalog:
    @pytest.mark.parametrize("name", ["bill.created", "bill.updated", "bill.deleted", "bill.paid", "bill_line.created"])
    def test_has_a_type_with_schema_and_example(self, name):
        found = registry.find("default", name)
        assert found.description
        assert schemas.errors(schemas.compile(found.schema), found.example) == []

    def test_updates_promise_what_has_changed(self):
        assert {"changed", "previous"} <= set(registry.find("default", "bill.updated").schema["required"])
        assert "changed" not in registry.find("default", "bill.created").schema["properties"]

    def test_keeps_the_words_of_the_host(self):
        with model_signals.isolated():
            registry.register(registry.WebhookDefinition("x.created", "In our words."))
            register(Plain, "x", tenant="", created=True, deleted="x.gone")
            assert [each.description for each in registry.definitions()] == ["In our words.", "A plain was deleted."]

    def test_types_of_an_abstract_model_promise_what_all_have(self):
        assert registry.find("default", "contract.created").schema["required"] == ["id", "title", "signed"]
        assert registry.find("default", "offer.created").schema["required"] == ["id", "title"]


class TestSettings:
    def read(self, **found):
        with model_signals.isolated() as faults, override_settings(DJANGO_RELAY={"MODELS": found}):
            for model, arguments, place in model_signals._configured():
                model_signals._declare(model_signals._Request(model, arguments, place))
            made = [
                (each.model, dict(each.names), each.place)
                for each in declarations.everything()
                if "MODELS" in each.place
            ]
            return made, [fault.message for fault in faults], [each.name for each in registry.definitions()]

    def test_declare_models(self):
        made, faults, names = self.read(
            **{"market.Plain": {"prefix": "x", "tenant": "customer_id", "created": True,
                                "events": {"x.paid": {"field": "status", "to": "paid"}}}}
        )  # fmt: skip
        assert made == [(Plain, {"created": "x.created"}, "DJANGO_RELAY['MODELS']['market.Plain']")]
        assert (faults, names) == ([], ["x.created", "x.paid"])

    def test_take_hook_events(self):
        made, faults, names = self.read(**{"line.added": "market.Line.created+", "user.logged_in": None})
        assert made == [(Line, {"created": "line.added"}, "DJANGO_RELAY['MODELS']")]
        assert (faults, sorted(names)) == ([], ["line.added", "user.logged_in"])

    def test_that_cannot_be_used_are_faults(self):
        made, faults, _names = self.read(**{"market.Plain": 7, "line.added": "market.Line.create+"})
        assert made == []
        assert len(faults) == 2
        assert "write 'created', not 'create'" in " ".join(faults)
