"""The table of what is told of each ORM operation, as ``docs/explanation/model-changes.md`` shows it.

``python -m pytest tests/sources/test_emitted_table.py`` measures it; with ``RELAY_WRITE_DOCS=1`` that writes it.
"""

import uuid
from decimal import Decimal
from pathlib import Path

from django.core import serializers
from django.db import transaction
from django.utils import timezone

from tests.sources.market.models import Customer, Invoice, Line, Parcel, Tag

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "model-changes.md"
START, END = "<!-- table: made by tests/sources/test_emitted_table.py -->", "<!-- /table -->"

OPERATIONS = {}
"""What is shown → how to prepare it, and how to do it."""


def operation(shown):
    def take(function):
        OPERATIONS[shown] = function
        return function

    return take


class Rows:
    """What an operation finds: three invoices of one customer, with two tags."""

    def __init__(self):
        self.customer = Customer.objects.create()
        self.tags = [Tag.objects.create(name=name) for name in "ab"]
        for n in range(3):
            Invoice.objects.create(customer=self.customer, number=str(n), amount=1)
        self.invoice = Invoice.objects.get(number="0")

    def new(self, number):
        return Invoice(customer=self.customer, number=number, amount=Decimal(1))

    def more(self):
        return [self.new(number) for number in ("7", "8", "9")]


@operation("`create()`")
def create(rows):
    Invoice.objects.create(customer=rows.customer, number="7")


@operation("`save()` with nothing changed")
def save_nothing(rows):
    rows.invoice.save()


@operation("`save(update_fields=[…])`")
def save_fields(rows):
    rows.invoice.amount = 2
    rows.invoice.save(update_fields=["amount"])


@operation("3 saves of one row in one `atomic()`")
def save_often(rows):
    with transaction.atomic():
        for amount in (2, 3, 4):
            rows.invoice.amount = amount
            rows.invoice.save()


@operation("create, then rollback")
def roll_back(rows):
    try:
        with transaction.atomic():
            rows.new("7").save()
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass


@operation("savepoint rolled back inside a committed tx (1 row kept)")
def roll_back_savepoint(rows):
    with transaction.atomic():
        rows.new("7").save()
        try:
            with transaction.atomic():
                rows.new("8").save()
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass


@operation("`bulk_create(3)`")
def bulk_create(rows):
    Invoice.objects.bulk_create(rows.more())


@operation("`bulk_create(3, update_conflicts=True)`, one row there already")
def upsert(rows):
    found = [*rows.more()[:2], rows.new("0")]
    found[2].amount = 5
    Invoice.objects.bulk_create(found, update_conflicts=True, unique_fields=["number"], update_fields=["amount"])


@operation("`bulk_create(3, ignore_conflicts=True)`, one row there already")
def ignore(rows):
    Invoice.objects.bulk_create([*rows.more()[:2], rows.new("0")], ignore_conflicts=True)


@operation("`bulk_update` of 3 rows")
def bulk_update(rows):
    found = list(Invoice.objects.all())
    for row in found:
        row.amount = 5
    Invoice.objects.bulk_update(found, ["amount"])


@operation("`QuerySet.update` of 3 rows")
def update(rows):
    Invoice.objects.update(amount=5)


@operation("`update_or_create`")
def update_or_create(rows):
    Invoice.objects.update_or_create(number="0", defaults={"amount": 5})


@operation("`m2m.add` of 2")
def add(rows):
    rows.invoice.tags.add(*rows.tags)


@operation("`m2m.add`, then `m2m.clear`")
def clear(rows):
    rows.invoice.tags.add(*rows.tags)
    rows.invoice.tags.clear()


@operation("delete of a parent with 2 cascade children (both models declared)")
def cascade(rows):
    rows.invoice.delete()


@operation("`QuerySet.delete()` of 3 rows")
def delete(rows):
    Invoice.objects.all().delete()


@operation("create and delete in one `atomic()`")
def create_and_delete(rows):
    with transaction.atomic():
        row = rows.new("7")
        row.save()
        row.delete()


@operation("`loaddata` (`raw=True`)")
def load(rows):
    row = rows.new("7")
    row.pk, row.modified_at = 777_777, timezone.now()
    for item in serializers.deserialize("json", serializers.serialize("json", [row])):
        item.save()


@operation("a model with `UUIDField(pk, editable=False)`: has the data its id?")
def own_key(rows):
    Parcel.objects.create(pk=uuid.UUID(int=7))


def prepare(shown, rows):
    """Make what one operation needs besides."""
    if "cascade" in shown:
        for text in "ab":
            Line.objects.create(invoice=rows.invoice, text=text)


def render(found):
    """Return the table of (operation, in autocommit, in a transaction) as Markdown."""
    lines = ["| ORM operation | in autocommit | in one `atomic()` |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {shown} | {alone} | {together} |" for shown, alone, together in found)])


def written():
    """Return the table that stands in the page."""
    return PAGE.read_text().split(START)[1].split(END)[0].strip()


def write(table):
    """Put the table into the page."""
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(f"{before}{START}\n{table}\n{END}{rest.split(END)[1]}")
