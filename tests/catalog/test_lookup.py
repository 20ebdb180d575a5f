import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings

from django_relay import exceptions
from django_relay.catalog import lookup
from django_relay.models import Application, Delivery, EventType
from django_relay.testing import deliver_pending
from tests.factories import USING, make_application, make_endpoint, make_event, make_event_type

pytestmark = pytest.mark.django_db


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


def find(name, application="default"):
    return lookup.find(name, application=application, using=USING)


def elsewhere(name, **values):
    """Make an event type as another process does: this one hears no signal of it."""
    EventType.objects.bulk_create([EventType(application=Application.objects.get(slug="default"), name=name, **values)])


class TestFind:
    @pytest.mark.django_db(transaction=True)
    def test_reads_the_database_once(self, django_assert_num_queries):
        make_event_type("order.placed")
        find("invoice.paid")
        with django_assert_num_queries(0):
            assert find("order.placed").name == "order.placed"
            assert find("invoice.created").name == "invoice.created"

    def test_a_schema_is_compiled_once(self):
        assert find("invoice.paid").validator is find("invoice.paid").validator

    def test_a_declared_type_needs_no_row(self):
        EventType.objects.filter(name="invoice.paid").delete()
        assert find("invoice.paid").schema["required"]
        assert make_event().event_type == "invoice.paid"

    def test_unknown(self):
        with pytest.raises(exceptions.UnknownEventType, match=r"Declare it in an app's webhooks\.py"):
            find("zzz")
        with pytest.raises(exceptions.UnknownApplication):
            find("invoice.paid", "second")
        make_application("second")
        with pytest.raises(exceptions.UnknownEventType):
            find("invoice.paid", "second")

    def test_a_near_miss_is_never_another_applications(self):
        make_application("second")
        with pytest.raises(exceptions.UnknownEventType) as caught:
            find("invoice.payed", "second")
        assert "invoice.paid" not in str(caught.value)


class TestOtherProcesses:
    def test_a_new_type_is_seen_when_its_name_is_asked_for(self, monkeypatch):
        find("invoice.paid")
        elsewhere("order.placed")
        monkeypatch.setattr(lookup, "_LOOK_AGAIN_SECONDS", 0.0)
        assert find("order.placed").name == "order.placed"

    def test_a_name_nobody_knows_does_not_cost_a_query_each_time(self, django_assert_max_num_queries):
        with django_assert_max_num_queries(2):
            for _ in range(10):
                with pytest.raises(exceptions.UnknownEventType):
                    find("no.such")

    def test_a_change_is_seen_after_the_refresh_and_trusted_until_then(self, django_assert_num_queries):
        elsewhere("order.placed")
        find("order.placed")
        EventType.objects.filter(name="order.placed").update(deprecated=True)
        with django_assert_num_queries(0):
            assert find("order.placed")
        with relay(CATALOG_REFRESH_SECONDS=0.0), pytest.raises(exceptions.DeprecatedEventType):
            find("order.placed")

    def test_what_this_process_changes_is_seen_at_once(self):
        row = make_event_type("order.placed")
        find("order.placed")
        row.schema_version = "2"
        row.save()
        assert find("order.placed").schema_version == "2"
        row.delete()
        with pytest.raises(exceptions.UnknownEventType):
            find("order.placed")


class TestDeprecation:
    def test_refuses_new_events_and_hints_at_the_successor(self):
        make_event_type("order.placed").deprecate(replaced_by="order.received")
        with pytest.raises(
            exceptions.DeprecatedEventType, match=r"order\.placed is deprecated.* Use order\.received instead"
        ):
            make_event("order.placed", {})

    def test_without_a_successor_there_is_no_hint(self):
        make_event_type("order.placed").deprecate()
        with pytest.raises(exceptions.DeprecatedEventType) as caught:
            make_event("order.placed", {})
        assert "instead" not in str(caught.value)

    def test_what_is_under_way_goes_on(self):
        row = make_event_type("order.placed")
        make_endpoint()
        make_event("order.placed", {})
        row.deprecate()
        deliver_pending()
        assert Delivery.objects.get().state == "delivered"


@pytest.mark.django_db(transaction=True)
class TestRolledBack:
    def test_what_was_rolled_back_is_not_remembered(self):
        with transaction.atomic():
            make_event_type("order.placed")
            assert find("order.placed")
            transaction.set_rollback(True)
        with pytest.raises(exceptions.UnknownEventType):
            find("order.placed")
