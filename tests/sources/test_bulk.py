"""Bulk writes through RelayQuerySet tell what they changed; others warn."""

from decimal import Decimal

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.migrations.state import ModelState
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from django_relay.sources import unwatched
from django_relay.testing import capture_events
from tests.sources.market.models import Contract, Customer, Invoice, Letter, Line, Parcel, Tag, Taxi, Vehicle
from tests.sources.test_model_signals import data, told

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer():
    return Customer.objects.create()


@pytest.fixture
def invoices(customer):
    Invoice.objects.bulk_create([Invoice(customer=customer, number=str(n), amount=n) for n in range(3)])
    return list(Invoice.objects.order_by("number"))


def verbs(captured):
    return [query["sql"].split()[0] for query in captured]


class TestBulkCreate:
    def test_tells_of_each_in_one_insert(self, customer):
        rows = [Invoice(customer=customer, number=str(n)) for n in range(3)]
        with capture_events() as events, CaptureQueriesContext(connection) as captured:
            Invoice.objects.bulk_create(rows)
        assert told(events) == ["bill.created"] * 3
        assert {event.subject for event in events} == {f"market.Invoice:{row.pk}" for row in rows}
        inserts = [query["sql"] for query in captured if query["sql"].startswith("INSERT")]
        assert len(inserts) == 2

    def test_remembers_what_it_made(self, customer):
        [row] = Invoice.objects.bulk_create([Invoice(customer=customer, number="1")])
        row.status = "sent"
        with capture_events() as events:
            row.save()
        assert data(events[0])["previous"] == {"status": "open"}

    @pytest.mark.parametrize("count", [1, 3])
    def test_that_passes_over_conflicts_tells_of_what_was_inserted(self, customer, invoices, count):
        rows = [Invoice(customer=customer, number=str(n), amount=7) for n in range(2, 2 + count)]
        with capture_events() as events:
            Invoice.objects.bulk_create(rows, ignore_conflicts=True)
        assert {data(event)["number"] for event in events} == {"3", "4"} if count == 3 else events == []
        assert {event.subject for event in events} == {
            f"market.Invoice:{row.pk}" for row in Invoice.objects.filter(number__in=["3", "4"])
        }

    def test_that_updates_conflicts_tells_which_is_which(self, customer, invoices):
        rows = [Invoice(customer=customer, number=str(n), amount=7, status="x") for n in (2, 3)]
        with capture_events() as events:
            Invoice.objects.bulk_create(rows, update_conflicts=True, unique_fields=["number"], update_fields=["amount"])
        updated, created = sorted(events, key=lambda event: data(event)["number"])
        assert (updated.event_type, created.event_type) == ("bill.updated", "bill.created")
        assert (data(updated)["previous"], data(updated)["status"]) == ({"amount": "2.00"}, "open")
        rows[0].amount = 8
        with capture_events() as events:
            rows[0].save(update_fields=["amount"])
        assert data(events[0])["previous"] == {"amount": "7.00"}

    def test_with_created_in_the_same_transaction_says_the_last_state(self, customer):
        with capture_events() as events, transaction.atomic():
            Invoice.objects.bulk_create([Invoice(customer=customer, number="1")])
            Invoice.objects.update(amount=5)
        assert told(events) == ["bill.created"]
        assert data(events[0])["amount"] == "5.00"


class TestBulkUpdate:
    def test_tells_of_what_has_changed(self, invoices):
        invoices[0].amount, invoices[1].amount, invoices[1].status = Decimal(9), Decimal(1), "x"
        with capture_events() as events:
            assert Invoice.objects.bulk_update(invoices, ["amount"]) == 3
        [event] = events
        assert (data(event)["previous"], data(event)["amount"]) == ({"amount": "0.00"}, "9.00")

    def test_tells_nothing_of_rows_that_are_gone(self, invoices):
        Invoice.objects.filter(pk=invoices[0].pk).delete()
        for row in invoices:
            row.amount += 1
        with capture_events() as events:
            assert Invoice.objects.bulk_update(invoices, ["amount"]) == 2
        assert len(events) == 2

    def test_of_expressions(self, invoices):
        for row in invoices:
            row.amount = F("amount") + 1
        with capture_events() as events:
            Invoice.objects.bulk_update(invoices, ["amount"])
        assert sorted(data(event)["amount"] for event in events) == ["1.00", "2.00", "3.00"]


class TestUpdate:
    def test_tells_of_what_has_changed(self, invoices):
        with capture_events() as events, CaptureQueriesContext(connection) as captured:
            assert Invoice.objects.filter(number__in="12").update(amount=F("amount") * 2 - 1) == 2
        [event] = events  # 1 * 2 - 1 is 1
        assert (data(event)["previous"], data(event)["amount"]) == ({"amount": "2.00"}, "3.00")
        assert verbs(captured).count("UPDATE") == 1

    def test_tells_transitions(self, invoices):
        with capture_events() as events:
            Invoice.objects.all().open().update(status="paid")
        assert sorted(told(events)) == ["bill.paid"] * 3 + ["bill.updated"] * 3

    def test_of_what_nobody_heeds_costs_nothing(self, invoices):
        with capture_events() as events, CaptureQueriesContext(connection) as captured:
            Invoice.objects.update(api_key="sk_3")
        assert events == []
        assert "UPDATE" in verbs(captured)[:2]
        assert len(captured) <= 3

    def test_by_relations_and_proxies(self, invoices, customer):
        other = Customer.objects.create()
        with capture_events() as events:
            other.invoices.add(*invoices)
        assert told(events) == ["bill.updated"] * 3
        assert {str(data(event)["previous"]) for event in events} == {str({"customer_id": customer.pk})}
        apps.clear_cache()  # Django makes all managers anew
        with capture_events() as events:
            customer.invoices.set(invoices)
        assert told(events) == ["bill.updated"] * 3
        Vehicle.objects.create(plate="a")
        with capture_events() as events:
            Taxi.objects.update(plate="b")
        assert told(events) == ["vehicle.updated"]

    def test_keeps_djangos_refusals(self, invoices):
        with pytest.raises(TypeError, match="slice"):
            Invoice.objects.all()[:1].update(amount=1)


class TestUpdateOrCreate:
    def test_tells_as_save_does(self, customer):
        with capture_events() as events:
            for amount in (1, 2, 2):
                Invoice.objects.update_or_create(number="1", defaults={"amount": amount, "customer": customer})
            Invoice.objects.get_or_create(number="1")
            Invoice.objects.get_or_create(number="2", customer=customer)
        assert told(events) == ["bill.created", "bill.updated", "bill.created"]


class TestDelete:
    def test_tells_of_each_in_one_insert(self, invoices):
        invoices[0].tags.add(Tag.objects.create(name="a"))
        Line.objects.create(invoice=invoices[0])
        with capture_events() as events, CaptureQueriesContext(connection) as captured:
            assert Invoice.objects.all().delete()[0] == 5
        assert sorted(told(events)) == ["bill.deleted"] * 3 + ["bill_line.deleted"]
        assert len([query for query in captured if query["sql"].startswith("INSERT")]) == 2

    def test_after_created_in_one_transaction_is_nothing(self, customer):
        with capture_events() as events, transaction.atomic():
            Invoice.objects.bulk_create([Invoice(customer=customer, number=str(n)) for n in range(3)])
            Invoice.objects.all().delete()
        assert events == []

    def test_is_undone_with_its_transaction(self, invoices):
        with capture_events() as events:
            try:
                with transaction.atomic():
                    Invoice.objects.all().delete()
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        assert events == []


class TestUnwatched:
    @pytest.fixture(autouse=True)
    def _forget(self, monkeypatch):
        monkeypatch.setattr(unwatched, "_warned", set())

    def lines(self, caplog):
        return [record.getMessage() for record in caplog.records if record.event == "source.unwatched_bulk"]

    def test_bulk_writes_name_their_line_once(self, caplog):
        for _ in range(2):
            Parcel.objects.bulk_create([Parcel()])
        Parcel.objects.update(weight=3)
        rows = list(Parcel.objects.all())
        Parcel.objects.bulk_update(rows, ["weight"])
        lines = self.lines(caplog)
        assert len(lines) == 3
        assert all(line.startswith("market.Parcel.") and f" at {__file__}:" in line for line in lines)

    def test_what_nobody_heeds_is_not_warned_of(self, caplog):
        Parcel.objects.update(label="x")
        assert self.lines(caplog) == []

    def test_relations_are_seen(self, caplog):
        customer = Customer.objects.create()
        Parcel.objects.create(customer=customer)
        customer.parcels.update(weight=3)
        assert len(self.lines(caplog)) == 1

    @pytest.mark.parametrize(
        "managed",
        [
            pytest.param(lambda: Parcel.objects, id="default"),
            pytest.param(lambda: Parcel.stored, id="second"),
            pytest.param(lambda: Parcel._default_manager, id="_default_manager"),
            pytest.param(lambda: Parcel._base_manager, id="_base_manager"),
            pytest.param(lambda: Letter.objects, id="of a proxy"),
            pytest.param(lambda: Letter._base_manager, id="_base_manager of a proxy"),
            pytest.param(lambda: Contract.objects, id="of an abstract model"),
            pytest.param(lambda: Customer(pk=1).parcels, id="of a relation"),
        ],
    )
    def test_managers_that_django_makes_anew_see_too(self, caplog, managed):
        apps.clear_cache()
        vars(Customer.parcels).pop("related_manager_cls", None)
        rows = managed()
        rows.update(**{"title": "x"} if rows.model is Contract else {"weight": 3})
        assert len(self.lines(caplog)) == 1

    def test_managers_that_stand_in_migrations_are_no_change_of_the_model(self, monkeypatch):
        before = ModelState.from_model(User).managers
        for one in (User._meta, User.objects, User._base_manager):
            monkeypatch.setattr(one, "__class__", type(one))  # put back afterwards
        unwatched.watch(User)
        after = ModelState.from_model(User).managers
        assert type(after[0][1]) is not type(before[0][1])
        assert before == after
        assert after == before

    def test_querysets_still_pickle(self):
        import pickle

        Parcel.objects.create()
        found = pickle.loads(pickle.dumps(Parcel.objects.filter(weight=1)))
        assert len(found) == 1

    def test_saves_and_deletes_are_no_bulk_writes(self, caplog):
        parcel = Parcel.objects.create()
        parcel.weight = 5
        parcel.save()
        Parcel.objects.all().delete()
        assert self.lines(caplog) == []
