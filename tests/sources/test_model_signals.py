"""What becomes of a change of a declared model."""

import copy
import json
import pickle
from contextlib import suppress
from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync
from django.core import serializers
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay.models import Event, PublishFailure
from django_relay.sources import attributes, caused_by, suppressed, tenant
from django_relay.sources.model_signals import isolated, register
from django_relay.testing import capture_events
from tests.sources.market.models import (
    Contract,
    Customer,
    Invoice,
    Line,
    Offer,
    Parcel,
    Plain,
    Seat,
    Tag,
    Taxi,
    Truck,
    Van,
    Vehicle,
)
from tests.threads import together
from tests.wrappers import telling

pytestmark = pytest.mark.django_db


def told(events):
    return [event.event_type for event in events]


def data(event):
    return json.loads(event.payload)


def verbs(captured):
    return [statement.split()[0] for query in captured for statement in query["sql"].split("; ")]


@pytest.fixture
def customer():
    return Customer.objects.create()


@pytest.fixture
def invoice(customer):
    made = Invoice.objects.create(customer=customer, number="1", amount=Decimal("9.00"), notes={"a": [1]})
    return Invoice.objects.get(pk=made.pk)


class TestCreated:
    def test_says_what_the_row_is_and_whose(self, customer):
        with capture_events() as events:
            invoice = Invoice.objects.create(customer=customer, number="1", amount="9")
        [event] = events
        assert (event.event_type, event.tenant_id) == ("bill.created", str(customer.pk))
        assert event.subject == f"market.Invoice:{invoice.pk}"
        said = data(event)
        assert said.pop("modified_at")
        assert said == {
            "id": invoice.pk, "customer_id": customer.pk, "number": "1", "amount": "9.00", "status": "open", "notes": {},
        }  # fmt: skip

    def test_comes_of_a_save_with_a_primary_key_that_is_free(self, customer):
        with capture_events() as events:
            Invoice(pk=77, customer=customer, number="1").save()
        assert told(events) == ["bill.created"]
        assert events[0].subject == "market.Invoice:77"

    def test_comes_of_a_copy(self, invoice):
        invoice.pk, invoice.number, invoice._state.adding = None, "2", True
        with capture_events() as events:
            invoice.save()
        assert told(events) == ["bill.created"]

    def test_says_a_key_that_python_made(self):
        with capture_events() as events:
            parcel = Parcel.objects.create()
        assert data(events[0])["id"] == str(parcel.pk)
        assert events[0].tenant_id == "acme"

    def test_is_no_transition(self, customer):
        with capture_events() as events:
            Invoice.objects.create(customer=customer, number="1", status="paid")
        assert told(events) == ["bill.created"]


class TestUpdated:
    def test_says_what_has_changed_and_what_was_before(self, invoice):
        invoice.amount, invoice.status = Decimal("12.5"), "sent"
        with capture_events() as events:
            invoice.save()
        assert told(events) == ["bill.updated"]
        said = data(events[0])
        assert (said["changed"], said["previous"]) == (["amount", "status"], {"amount": "9.00", "status": "open"})
        assert said["amount"] == "12.50"

    def test_of_nothing_is_nothing(self, invoice):
        with capture_events() as events:
            invoice.save()
            invoice.amount = "9"
            invoice.save()
        assert events == []

    def test_is_seen_in_what_was_changed_in_place(self, invoice):
        invoice.notes["a"].append(2)
        with capture_events() as events:
            invoice.save()
        assert data(events[0])["previous"] == {"notes": {"a": [1]}}

    def test_goes_on_from_what_was_saved_last(self, invoice):
        for amount in (1, 2):
            invoice.amount = amount
            with capture_events() as events:
                invoice.save()
        assert data(events[0])["previous"] == {"amount": "1.00"}

    def test_goes_on_from_what_was_created(self, customer):
        invoice = Invoice.objects.create(customer=customer, number="1")
        invoice.status = "sent"
        with capture_events() as events:
            invoice.save()
        assert data(events[0])["previous"] == {"status": "open"}

    def test_heeds_only_the_fields_that_are_written(self, invoice):
        invoice.amount, invoice.status = 5, "sent"
        with capture_events() as events:
            invoice.save(update_fields=["status"])
        said = data(events[0])
        assert (said["changed"], said["amount"]) == (["status"], "9.00")
        with capture_events() as events:
            invoice.save()
        assert data(events[0])["previous"] == {"amount": "9.00"}

    def test_of_a_secret_is_not_told(self, invoice):
        invoice.api_key = "sk_2"
        with capture_events() as events:
            invoice.save()
        assert events == []

    def test_heeds_the_named_fields_only(self):
        parcel = Parcel.objects.create()
        parcel.label = "x"
        with capture_events() as events:
            parcel.save()
        assert events == []
        parcel.weight = 3
        with capture_events() as events:
            parcel.save()
        assert data(events[0])["previous"] == {"weight": 1}

    def test_leaves_out_what_nobody_knows(self, customer, invoice):
        blind = Invoice(pk=invoice.pk, customer=customer, number="1", amount=7)
        with capture_events() as events:
            blind.save()
        said = data(events[0])
        assert said["previous"] == {}
        assert "amount" in said["changed"]

    def test_of_a_deferred_field_that_was_only_set(self, invoice):
        found = Invoice.objects.only("number").get()
        found.amount = 5
        with capture_events() as events:
            found.save()
        said = data(events[0])
        assert (said["changed"], said["previous"], said["amount"]) == (["amount"], {}, "5.00")

    def test_of_a_deferred_field_that_was_read(self, invoice):
        found = Invoice.objects.defer("amount").get()
        found.amount += 1
        with capture_events() as events:
            found.save()
        assert data(events[0])["previous"] == {"amount": "9.00"}

    def test_of_an_expression(self, invoice):
        invoice.amount = F("amount") + 1
        with capture_events() as events:
            invoice.save()
        said = data(events[0])
        assert (said["amount"], said["previous"]) == ("10.00", {"amount": "9.00"})
        invoice.refresh_from_db()
        invoice.amount += 1
        with capture_events() as events:
            invoice.save()
        assert data(events[0])["previous"] == {"amount": "10.00"}

    def test_goes_on_from_what_was_read_again(self, invoice):
        Plain.objects.create(number="other")
        with suppressed():
            Invoice.objects.filter(pk=invoice.pk).update(amount=20)
        invoice.refresh_from_db(fields=["amount"])
        invoice.amount = 21
        with capture_events() as events:
            invoice.save()
        assert data(events[0])["previous"] == {"amount": "20.00"}

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda row: pickle.loads(pickle.dumps(row))])
    def test_is_seen_by_copies_of_the_instance(self, invoice, duplicate):
        other = duplicate(invoice)
        other.status = "sent"
        with capture_events() as events:
            other.save()
        assert data(events[0])["previous"] == {"status": "open"}

    def test_needs_no_query_for_what_was_before(self, invoice):
        invoice.status = "sent"
        with CaptureQueriesContext(connection) as captured:
            invoice.save()
        assert verbs(captured) == ["UPDATE", "SAVEPOINT", "INSERT", "RELEASE"]
        assert len(captured) == (4 if connection.vendor == "sqlite" else 2)  # round trips


class TestTransitions:
    def test_are_events_of_their_own(self, invoice):
        invoice.status = "paid"
        with capture_events() as events:
            invoice.save()
        assert sorted(told(events)) == ["bill.paid", "bill.updated"]
        assert all(data(event)["previous"] == {"status": "open"} for event in events)

    def test_heed_what_was_before(self, invoice):
        invoice.status = "void"
        with capture_events() as events:
            invoice.save()
        assert sorted(told(events)) == ["bill.updated", "bill.voided"]
        for status in ("paid", "void"):
            invoice.status = status
            with capture_events() as events:
                invoice.save()
        assert told(events) == ["bill.updated"]


class TestDeleted:
    def test_says_what_was_there(self, invoice):
        pk = invoice.pk
        with capture_events() as events:
            invoice.delete()
        [event] = events
        assert (event.event_type, event.subject, data(event)["number"]) == ("bill.deleted", f"market.Invoice:{pk}", "1")

    def test_of_a_parent_is_told_of_its_children_with_what_they_lean_on(self, invoice, customer):
        for text in "ab":
            Line.objects.create(invoice=invoice, text=text)
        with capture_events() as events:
            customer.delete()
        assert sorted(told(events)) == ["bill.deleted", "bill_line.deleted", "bill_line.deleted"]
        assert {event.tenant_id for event in events} == {str(invoice.customer_id)}

    def test_stays_fast_where_nobody_is_told(self):
        for _ in range(3):
            Parcel.objects.create()
        with CaptureQueriesContext(connection) as captured:
            Parcel.objects.all().delete()
        assert [query["sql"].split()[0] for query in captured] == ["DELETE"]


class TestRelations:
    def test_added_and_removed(self, invoice):
        a, b, c = (Tag.objects.create(pk=pk, name=f"tag {pk}") for pk in (8, 9, 10))
        with capture_events() as events:
            invoice.tags.add(a, b)
        said = data(events[0])
        assert (told(events), said["changed"], said["added"]) == (["bill.updated"], ["tags"], {"tags": [a.pk, b.pk]})
        assert "removed" not in said
        with capture_events() as events:
            invoice.tags.add(a)
        assert events == []
        with capture_events() as events, transaction.atomic():
            invoice.tags.set([b, c])
        [event] = events
        assert (data(event)["added"], data(event)["removed"]) == ({"tags": [c.pk]}, {"tags": [a.pk]})
        with capture_events() as events:
            invoice.tags.clear()
        assert data(events[0])["removed"] == {"tags": [b.pk, c.pk]}

    def test_from_the_other_side(self, invoice):
        tag = Tag.objects.create(name="a")
        with capture_events() as events:
            tag.invoices.add(invoice)
        assert (told(events), data(events[0])["added"]) == (["bill.updated"], {"tags": [tag.pk]})
        with capture_events() as events:
            tag.invoices.clear()
        assert data(events[0])["removed"] == {"tags": [tag.pk]}

    def test_says_what_is_stored_not_what_the_instance_holds(self, invoice):
        invoice.amount = 5
        with capture_events() as events:
            invoice.tags.add(Tag.objects.create(name="a"))
        assert data(events[0])["amount"] == "9.00"

    def test_of_both_sides_at_once(self):
        from tests.sources.market.models import Friend

        a, b = Friend.objects.create(), Friend.objects.create()
        with capture_events() as events:
            a.friends.add(b)
        assert {(event.subject, str(data(event)["added"])) for event in events} == {
            (f"market.Friend:{a.pk}", str({"friends": [b.pk]})),
            (f"market.Friend:{b.pk}", str({"friends": [a.pk]})),
        }


class TestCoalescing:
    def test_created_and_updated_are_created_with_the_last_state(self, customer):
        with capture_events() as events, transaction.atomic():
            invoice = Invoice.objects.create(customer=customer, number="1")
            invoice.amount = 5
            invoice.save()
            invoice.tags.add(Tag.objects.create(name="a"))
        assert told(events) == ["bill.created"]
        assert data(events[0])["amount"] == "5.00"

    def test_updates_are_one(self, invoice):
        with capture_events() as events, transaction.atomic():
            for amount, status in ((1, "sent"), (2, "sent"), (3, "late")):
                invoice.amount, invoice.status = amount, status
                invoice.save()
        [event] = events
        said = data(event)
        assert (said["amount"], said["previous"]) == ("3.00", {"amount": "9.00", "status": "open"})

    def test_updates_that_undo_each_other_are_none(self, invoice):
        with capture_events() as events, transaction.atomic():
            for amount in (1, 9):
                invoice.amount = amount
                invoice.save()
        assert events == []

    def test_relations_that_undo_each_other_are_none(self, invoice):
        tag = Tag.objects.create(name="a")
        with capture_events() as events, transaction.atomic():
            invoice.tags.add(tag)
            invoice.tags.remove(tag)
        assert events == []

    def test_created_and_deleted_are_none(self, customer):
        with capture_events() as events, transaction.atomic():
            invoice = Invoice.objects.create(customer=customer, number="1")
            invoice.status = "paid"
            invoice.save()
            invoice.delete()
        assert events == []

    def test_updated_and_deleted_are_deleted(self, invoice):
        with capture_events() as events, transaction.atomic():
            invoice.amount = 1
            invoice.save()
            invoice.delete()
        assert told(events) == ["bill.deleted"]
        assert data(events[0])["amount"] == "1.00"
        assert "changed" not in data(events[0])

    def test_deleted_and_created_are_both(self, invoice, customer):
        pk = invoice.pk
        with capture_events() as events, transaction.atomic():
            invoice.delete()
            Invoice.objects.create(pk=pk, customer=customer, number="1")
        assert sorted(told(events)) == ["bill.created", "bill.deleted"]

    def test_a_transition_stays_a_fact(self, customer):
        with capture_events() as events, transaction.atomic():
            invoice = Invoice.objects.create(customer=customer, number="1")
            for status in ("paid", "open", "paid"):
                invoice.status = status
                invoice.save()
        assert sorted(told(events)) == ["bill.created", "bill.paid"]

    def test_two_instances_of_a_row_are_one_row(self, invoice):
        other = Invoice.objects.get()
        with capture_events() as events, transaction.atomic():
            invoice.amount = 1
            invoice.save(update_fields=["amount"])
            other.status = "sent"
            other.save(update_fields=["status"])
        said = data(events[0])
        assert (said["amount"], said["status"]) == ("1.00", "sent")
        assert said["previous"] == {"amount": "9.00", "status": "open"}

    def test_what_a_savepoint_undid_is_undone(self, invoice):
        with capture_events() as events, transaction.atomic():
            invoice.amount = 1
            invoice.save()
            savepoint = transaction.atomic()
            savepoint.__enter__()
            invoice.amount = 2
            invoice.save()
            invoice.delete()
            savepoint.__exit__(ZeroDivisionError, None, None)
        assert told(events) == ["bill.updated"]
        assert data(events[0])["amount"] == "1.00"

    def test_what_was_rolled_back_is_told_when_it_is_done_again(self, invoice):
        invoice.amount = 1
        for fails in (True, False):
            with capture_events() as events:
                try:
                    with transaction.atomic():
                        invoice.save()
                        if fails:
                            raise ZeroDivisionError
                except ZeroDivisionError:
                    assert Event.objects.filter(event_type="bill.updated").count() == 0
        assert data(events[0])["previous"] == {"amount": "9.00"}

    def test_survives_savepoints_that_are_rolled_back_by_hand(self, invoice):
        with capture_events() as events, transaction.atomic():
            savepoint = transaction.savepoint()
            invoice.amount = 1
            invoice.save()
            transaction.savepoint_rollback(savepoint)
            invoice.amount = 2
            invoice.save()
        assert (told(events), data(events[0])["amount"]) == (["bill.updated"], "2.00")

    def test_is_of_one_transaction_only(self, invoice):
        with capture_events() as events:
            for amount in (1, 2):
                with transaction.atomic():
                    invoice.amount = amount
                    invoice.save()
        assert told(events) == ["bill.updated", "bill.updated"]

    @pytest.mark.django_db(transaction=True)
    def test_is_of_one_transaction_only_when_it_commits(self, invoice):
        with capture_events() as events:
            for amount in (1, 2):
                with transaction.atomic():
                    invoice.amount = amount
                    invoice.save()
                    transaction.on_commit(invoice.save)
        assert [data(event)["previous"] for event in events] == [{"amount": "9.00"}, {"amount": "1.00"}]


class TestContext:
    def test_suppressed_is_silent_and_remembers(self, invoice, customer):
        tag = Tag.objects.create(name="a")
        with suppressed(), capture_events() as events:
            invoice.amount = 1
            invoice.save()
            invoice.tags.add(tag)
            Invoice.objects.create(customer=customer, number="2")
            Invoice.objects.bulk_create([Invoice(customer=customer, number="3")])
            Invoice.objects.update(status="x")
            Invoice.objects.filter(number="3").delete()
        assert events == []
        invoice.amount = 2
        with capture_events() as events:
            invoice.save(update_fields=["amount"])
        assert data(events[0])["previous"] == {"amount": "1.00"}

    def test_says_whose_what_and_why(self, customer):
        with capture_events() as events, tenant("globex"), attributes(actor="u1"), caused_by("evt_1"):
            Invoice.objects.create(customer=customer, number="1")
        [event] = events
        assert (event.tenant_id, event.attributes, event.origin) == ("globex", {"actor": ["u1"]}, "evt_1")

    def test_counts_in_asynchronous_code(self, customer):
        async def view():
            with tenant("globex"):
                invoice = await Invoice.objects.acreate(customer=customer, number="1")
                invoice.amount = 5
                await invoice.asave()
                await Invoice.objects.abulk_create([Invoice(customer=customer, number="2")])
                await Invoice.objects.aupdate(status="sent")
                await invoice.tags.aadd(await Tag.objects.acreate(name="a"))
                await Invoice.objects.filter(number="2").adelete()

        with capture_events() as events:
            async_to_sync(view)()
        assert {event.tenant_id for event in events} == {"globex"}
        assert told(events) == [
            "bill.created", "bill.updated", "bill.created", "bill.updated", "bill.updated", "bill.updated", "bill.deleted",
        ]  # fmt: skip

    @pytest.mark.django_db(transaction=True)
    def test_threads_do_not_disturb_each_other(self, customer):
        def work(number):
            with tenant(f"t{number}"), transaction.atomic():
                for turn in range(5):
                    row = Invoice.objects.create(customer=customer, number=f"{number}-{turn}")
                    row.amount = turn + 1
                    row.save()

        with capture_events() as events:
            assert together(work, 3) == [None] * 3
        assert set(told(events)) == {"bill.created"}
        assert {(event.tenant_id, data(event)["number"][0]) for event in events} == {
            ("t0", "0"),
            ("t1", "1"),
            ("t2", "2"),
        }
        assert len(events) == 15


class TestInheritance:
    def test_a_proxy_counts_for_what_it_stands_for(self):
        with capture_events() as events:
            taxi = Taxi.objects.create(plate="a")
            taxi.plate = "b"
            taxi.save()
            pk = taxi.pk
            taxi.delete()
        assert told(events) == ["vehicle.created", "vehicle.updated", "vehicle.deleted"]
        assert {event.subject for event in events} == {f"market.Vehicle:{pk}"}

    @pytest.mark.parametrize("many", [False, True], ids=["instance", "queryset"])
    def test_a_child_table_counts_once(self, many):
        with capture_events() as events:
            truck = Truck.objects.create(plate="a")
            truck.plate = "b"
            truck.save()
            truck.axles = 5
            truck.save()
            (Truck.objects.all() if many else truck).delete()
        assert told(events) == ["vehicle.created", "vehicle.updated", "vehicle.deleted"]

    def test_a_child_may_have_a_declaration_of_its_own(self):
        with capture_events() as events:
            van = Van.objects.create(plate="a")
            van.seats = 5
            van.save()
            Vehicle.objects.get().delete()
        assert sorted(told(events)) == sorted(
            ["van.created", "vehicle.created", "van.updated", "van.deleted", "vehicle.deleted"]
        )

    def test_a_child_that_leaves_its_parent_is_not_the_parents_deletion(self):
        van = Van.objects.create(plate="a")
        with capture_events() as events:
            van.delete(keep_parents=True)
        assert told(events) == ["van.deleted"]

    def test_an_abstract_model_stands_for_those_made_from_it(self):
        with capture_events() as events:
            Contract.objects.create(title="a")
            Offer.objects.create(title="b")
        assert told(events) == ["contract.created", "offer.created"]


class TestCompositeKey:
    def test_names_the_row_by_all_of_it(self):
        with capture_events() as events:
            seat = Seat.objects.create(row=1, number=2)
            seat.guest = "Ada"
            seat.save()
            Seat.objects.update(guest="Bob")
            Seat.objects.get(pk=(1, 2)).delete()
            Seat.objects.bulk_create([Seat(row=1, number=3)])
            Seat.objects.all().delete()
        names = ["seat.created", "seat.updated", "seat.updated", "seat.deleted", "seat.created", "seat.deleted"]
        assert told(events) == names
        assert events[0].subject == "market.Seat:1,2"
        assert [data(event)["previous"] for event in events[1:3]] == [{"guest": ""}, {"guest": "Ada"}]


class TestRaw:
    def test_fixtures_make_no_events(self, customer):
        text = serializers.serialize("json", [Invoice(pk=5, customer=customer, number="1", modified_at=timezone.now())])
        with capture_events() as events:
            for item in serializers.deserialize("json", text):
                item.save()
        assert Invoice.objects.filter(pk=5).exists()
        assert events == []


class TestErrors:
    def test_a_missing_tenant_is_kept_and_the_save_holds(self, caplog):
        with capture_events() as events:
            Invoice.objects.create(number="1")
        assert events == []
        assert Invoice.objects.filter(number="1").exists()
        failure = PublishFailure.objects.get()
        assert (failure.event_type, failure.arguments["subject"][:15]) == ("bill.created", "market.Invoice:")
        assert "no_tenant" in failure.error or "No tenant is found" in failure.error
        assert "models.py:" in failure.caller
        assert [record.event for record in caplog.records] == ["event.not_stored"]

    def test_one_bad_row_does_not_spoil_the_others(self, customer):
        with capture_events() as events:
            Invoice.objects.bulk_create([Invoice(number="1"), Invoice(number="2", customer=customer)])
        assert told(events) == ["bill.created"]
        assert PublishFailure.objects.count() == 1

    def test_a_full_database_does_not_break_the_save(self, customer, caplog):
        with connection.execute_wrapper(_no_events):
            Invoice.objects.create(number="1", customer=customer)
        assert Invoice.objects.filter(number="1").exists()
        [failure] = PublishFailure.objects.all()
        assert failure.arguments["data"]["number"] == "1"
        assert Event.objects.count() == 0

    @pytest.mark.parametrize("is_warm", [True, False])
    def test_a_table_that_is_not_there_yet_does_not_break_the_save(self, customer, caplog, is_warm):
        if is_warm:
            _warm(customer)
        with transaction.atomic():
            _rename("django_relay_event", "elsewhere")
            invoice = Invoice.objects.create(number="1", customer=customer)
            invoice.status = "sent"
            invoice.save()
            _rename("elsewhere", "django_relay_event")
        assert Invoice.objects.get(number="1").status == "sent"
        assert [found.event_type for found in PublishFailure.objects.order_by("created_at")] == [
            "bill.created", "bill.updated"
        ]  # fmt: skip
        assert Event.objects.count() == 0

    def test_an_error_that_the_payload_swallows_does_not_break_the_deletion(self, customer):
        """Outside of transactions Django's deletion begins one with what we do."""

        def payload(tag):
            if tag.name == "bad":
                with suppress(ValueError), transaction.atomic(savepoint=False):
                    raise ValueError
            return {}

        bad = Tag.objects.create(name="bad")
        with isolated():
            register(Tag, "tag", tenant="", deleted=True, payload=payload)
            Tag.objects.create(name="good").delete()
            bad.delete()
        assert not Tag.objects.exists()
        assert [failure.event_type for failure in PublishFailure.objects.all()] == ["tag.deleted"]

    def test_what_an_event_that_failed_undid_is_not_remembered(self, customer):
        vehicle = Vehicle.objects.create(plate="0")

        def payload(tag):
            vehicle.plate = tag.name
            vehicle.save()
            if tag.name == "2":
                raise ValueError
            return {}

        with isolated(), transaction.atomic():
            register(Tag, "tag", tenant="", created=True, payload=payload)
            with capture_events() as events:
                Tag.objects.create(name="1")
                Tag.objects.create(name="2")
                vehicle.plate = "0"
                vehicle.save()
        assert Vehicle.objects.get().plate == "0"
        assert told(events) == ["tag.created"]

    @pytest.mark.parametrize("is_warm", [True, False])
    def test_under_a_wrapper_of_the_hosts_events_are_as_ever(self, customer, is_warm):
        invoice = Invoice.objects.create(number="1", customer=customer)
        if is_warm:
            _warm(customer)
        with connection.execute_wrapper(telling), capture_events() as events:
            invoice.status = "paid"
            invoice.save()
            Invoice.objects.create(number="2", customer=customer)
            with transaction.atomic():
                point = transaction.savepoint()
                invoice.status = "sent"
                invoice.save()
                transaction.savepoint_rollback(point)
                invoice.status = "open"
                invoice.save()
        assert told(events) == ["bill.updated", "bill.paid", "bill.created", "bill.updated"]
        assert not PublishFailure.objects.exists()


def _warm(customer):
    """Fill the caches that the first event of a process fills, so that the next one is a single statement."""
    with transaction.atomic():
        Invoice.objects.create(number="warm", customer=customer)
        transaction.set_rollback(True)


def _rename(old, new):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def _no_events(execute, sql, params, many, context):
    if "INSERT INTO" in sql and "django_relay_event" in sql.split("(")[0]:
        raise IntegrityError("no room")
    return execute(sql, params, many, context)


@pytest.mark.django_db(transaction=True)
class TestAtomicInAutocommit:
    def test_a_save_and_its_event_share_a_transaction(self, customer):
        Invoice.objects.create(customer=customer, number="warm")
        with CaptureQueriesContext(connection) as captured:
            Invoice.objects.create(customer=customer, number="1")
        assert verbs(captured) == ["BEGIN", "INSERT", "SAVEPOINT", "INSERT", "RELEASE", "COMMIT"]

    def test_a_receiver_that_raises_leaves_neither(self, customer):
        def explode(**kwargs):
            raise ZeroDivisionError

        post_save.connect(explode, sender=Invoice)
        try:
            with capture_events() as events, pytest.raises(ZeroDivisionError):
                Invoice.objects.create(customer=customer, number="1")
        finally:
            post_save.disconnect(explode, sender=Invoice)
        assert events == []
        assert not Invoice.objects.exists()


class TestUndeclared:
    def test_models_are_as_django_made_them(self, customer):
        from django.db import models

        assert Plain.save_base is models.Model.save_base
        assert Plain.from_db.__func__ is models.Model.from_db.__func__
        assert Plain.refresh_from_db is models.Model.refresh_from_db
        assert type(Plain.objects) is models.Manager
        assert not post_save.has_listeners(Plain)
        with CaptureQueriesContext(connection) as captured:
            row = Plain.objects.create(number="1")
            row.save()
            Plain.objects.update(amount=1)
            row.delete()
        assert [query["sql"].split()[0] for query in captured] == ["INSERT", "UPDATE", "UPDATE", "DELETE", "DELETE"]
        assert not hasattr(row._state, "django_relay_loaded")
