"""What the database itself refuses, whatever our code does."""

import uuid

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from django_relay.models import Application, Delivery, DLQEntry, Endpoint, Erasure, Event, EventType, Replay
from tests.factories import make_delivery, make_dlq_entry, make_endpoint, make_event, make_event_type, make_replay

pytestmark = pytest.mark.django_db


def refused(change, constraint=None):
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        change()
    if constraint and connection.vendor == "postgresql":
        assert constraint in str(caught.value)


def twin(delivery, **values):
    return Delivery.objects.create(
        event=delivery.event,
        endpoint=delivery.endpoint,
        max_attempts=1,
        next_attempt_at=timezone.now(),
        **values,
    )


class TestDelivery:
    @pytest.mark.parametrize("state", ["pending", "delivered", "failed", "cancelled"])
    def test_one_of_an_event_for_an_endpoint_whatever_its_state(self, state):
        delivery = make_delivery(state=state)
        refused(lambda: twin(delivery), "relay_delivery_once_per_endpoint")

    def test_raw_sql_is_refused_as_well(self):
        delivery = make_delivery()
        columns = [field.column for field in Delivery._meta.concrete_fields]
        values = ", ".join("%s" if column == "id" else column for column in columns)
        new = uuid.uuid4()

        def copy_row():
            with connection.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO django_relay_delivery ({', '.join(columns)}) SELECT {values} FROM django_relay_delivery",
                    [new if connection.vendor == "postgresql" else new.hex],
                )

        refused(copy_row, "relay_delivery_once_per_endpoint")
        assert Delivery.objects.get() == delivery

    def test_one_replay_under_way_at_a_time(self):
        delivery = make_delivery(state="failed")
        replay = twin(delivery, replay_of=delivery)
        refused(lambda: twin(delivery, replay_of=delivery), "relay_delivery_one_replay_at_a_time")
        Delivery.objects.filter(pk=replay.pk).update(state="delivered", completed_at=timezone.now())
        twin(delivery, replay_of=delivery)

    def test_one_of_an_event_for_an_endpoint_in_a_replay(self):
        delivery, replay = make_delivery(state="failed"), make_replay()
        twin(delivery, replay=replay)
        refused(lambda: twin(delivery, replay=replay), "relay_delivery_once_per_replay")
        twin(delivery, replay=make_replay())

    @pytest.mark.parametrize(
        "values",
        [
            {"state": "delivered"},
            {"state": "failed"},
            {"state": "cancelled"},
            {"completed_at": timezone.now()},
            {
                "state": "delivered",
                "completed_at": timezone.now(),
                "lease_token": uuid.uuid4(),
                "leased_at": timezone.now(),
                "leased_until": timezone.now(),
            },
        ],
        ids=["delivered", "failed", "cancelled", "pending and completed", "settled and leased"],
    )
    def test_completed_if_and_only_if_settled(self, values):
        make_delivery()
        refused(lambda: Delivery.objects.update(**values), "relay_delivery_completed_once_settled")

    @pytest.mark.parametrize("missing", ["lease_token", "leased_at", "leased_until"])
    def test_a_lease_is_whole(self, missing):
        make_delivery()
        whole = {"lease_token": uuid.uuid4(), "leased_at": timezone.now(), "leased_until": timezone.now()}
        Delivery.objects.update(**whole)
        refused(lambda: Delivery.objects.update(**{missing: None}), "relay_delivery_lease_is_whole")

    def test_counts_are_never_negative(self):
        make_delivery()
        refused(lambda: Delivery.objects.update(attempt_count=-1))


class TestEndpoint:
    def test_deleted_is_disabled(self):
        make_endpoint()
        refused(lambda: Endpoint.objects.update(deleted_at=timezone.now()), "relay_endpoint_deleted_is_disabled")
        Endpoint.objects.update(deleted_at=timezone.now(), enabled=False)
        refused(lambda: Endpoint.objects.update(enabled=True), "relay_endpoint_deleted_is_disabled")


class TestEvent:
    def test_one_of_a_tenants_key(self):
        make_event(idempotency_key="k")
        other = make_event()
        refused(lambda: Event.objects.filter(pk=other.pk).update(idempotency_key="k"), "relay_event_idempotency")

    def test_events_without_a_key_are_as_many_as_you_like(self):
        assert make_event() != make_event()
        assert Event.objects.filter(idempotency_key="").count() == 2

    def test_to_write_one_does_not_lock_its_application(self):
        """As a foreign key would: everybody who emits would share one row's lock."""
        with connection.cursor() as cursor:
            constraints = connection.introspection.get_constraints(cursor, Event._meta.db_table)
        assert constraints
        assert not [
            name for name, it in constraints.items() if it["foreign_key"] and it["columns"] == ["application_id"]
        ]


class TestReplay:
    @pytest.mark.parametrize(
        "values",
        [{"state": "completed"}, {"state": "cancelled"}, {"completed_at": timezone.now()}],
        ids=["completed", "cancelled", "pending and ended"],
    )
    def test_ended_if_and_only_if_it_says_when(self, values):
        make_replay()
        refused(lambda: Replay.objects.update(**values), "relay_replay_completed_once_ended")


class TestTheRest:
    def test_one_erasure_of_a_tenant_in_progress(self):
        application = Application.objects.get()
        erasure = Erasure.objects.create(application=application, tenant_id="acme")
        refused(
            lambda: Erasure.objects.create(application=application, tenant_id="acme"), "relay_erasure_one_at_a_time"
        )
        Erasure.objects.filter(pk=erasure.pk).update(state="completed")
        Erasure.objects.create(application=application, tenant_id="acme")

    def test_one_event_type_of_a_name_in_an_application(self):
        make_event_type("a")
        refused(lambda: make_event_type("a"), "relay_event_type_unique_name")
        assert EventType.objects.filter(name="a").count() == 1

    def test_one_application_of_a_slug(self):
        refused(lambda: Application.objects.create(slug="default", name="Another"))

    def test_one_dlq_entry_of_a_delivery(self):
        entry = make_dlq_entry()
        refused(lambda: make_dlq_entry(entry.delivery))
        assert DLQEntry.objects.count() == 1
