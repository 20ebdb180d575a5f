"""Whatever is written and rolled back, the events of a transaction tell what it changed: no phantom, none missing.

The oracle reads the tables before and after; what happens in between is Hypothesis's choice.
"""

import contextlib
import json

import pytest
from django.db import transaction
from django.db.models import F
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from django_relay.models import Event, PublishFailure
from tests.sources.market.models import Customer, Invoice, Tag

FIELDS = ("number", "amount", "status", "notes")
STATUSES = ("open", "paid", "void")


def shown(row):
    return {**row, "amount": f"{row['amount']:.2f}"}


class Writes(RuleBasedStateMachine):
    """Writes to a table in every way, in transactions and savepoints that end in every way."""

    def __init__(self):
        super().__init__()
        for model in (Event, PublishFailure):
            model.objects.all().delete()
        Invoice.tags.through.objects.all().delete()
        Invoice.objects.all()._raw_delete("default")
        self.tags = list(Tag.objects.order_by("pk")[:3])
        self.customer = Customer.objects.first()
        self.count = 0
        self.blocks = []
        self.held = {}
        """Instances that know the row as it is, with what they know."""
        self.facts = set()
        self.kept = []
        """``held`` and ``facts`` as they were when each block was entered."""
        self.before = self.read()

    def read(self):
        rows = {row["pk"]: row for row in Invoice.objects.values("pk", *FIELDS)}
        for row in rows.values():
            row["tags"] = set()
        for pk, tag in Invoice.tags.through.objects.values_list("invoice_id", "tag_id"):
            rows[pk]["tags"].add(tag)
        return rows

    # --- transactions ---

    @precondition(lambda self: len(self.blocks) < 3)
    @rule()
    def begin(self):
        block = transaction.atomic()
        block.__enter__()
        self.blocks.append(block)
        self.kept.append((dict(self.held), set(self.facts)))

    @precondition(lambda self: self.blocks)
    @rule()
    def commit(self):
        self.blocks.pop().__exit__(None, None, None)
        self.kept.pop()
        self.check()

    @precondition(lambda self: self.blocks)
    @rule()
    def roll_back(self):
        self.blocks.pop().__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        held, self.facts = self.kept.pop()
        # What was loaded in between may know what is no more; what was saved in between knows again what it knew.
        self.held = {pk: known for pk, known in held.items() if pk in self.held}
        self.check()

    @contextlib.contextmanager
    def step(self):
        before = self.read()
        yield
        after = self.read()
        for pk, row in after.items():
            was = before[pk]["status"] if pk in before else row["status"]
            if was != "paid" == row["status"]:
                self.facts.add(("bill.paid", pk))
            if was == "open" and row["status"] == "void":
                self.facts.add(("bill.voided", pk))
        # What came and went within the transaction was nothing at all.
        self.facts = {(name, pk) for name, pk in self.facts if pk in after or pk in self.before}
        self.check()

    # --- writes ---

    def pick(self, data):
        rows = self.read()
        return data.draw(st.sampled_from(sorted(rows))) if rows else None

    def new(self, **values):
        self.count += 1
        return Invoice(customer=self.customer, number=f"n{self.count}", **values)

    def hold(self, instance):
        self.held[instance.pk] = (instance, self.read().get(instance.pk))

    @rule(status=st.sampled_from(STATUSES))
    def create(self, status):
        with self.step():
            instance = self.new(status=status)
            instance.save()
        self.hold(instance)

    @rule(size=st.integers(1, 3), ignores=st.booleans())
    def bulk_create(self, size, ignores):
        with self.step():
            rows = [self.new() for _ in range(size)]
            if ignores:
                taken = Invoice.objects.first()
                rows += [Invoice(customer=self.customer, number=taken.number)] if taken else []
            Invoice.objects.bulk_create(rows, ignore_conflicts=ignores)

    @rule(data=st.data(), amount=st.integers(0, 2))
    def upsert(self, data, amount):
        pk = self.pick(data)
        with self.step():
            rows = [self.new(amount=amount)]
            if pk is not None:
                rows.append(Invoice(customer=self.customer, number=Invoice.objects.get(pk=pk).number, amount=amount))
            Invoice.objects.bulk_create(rows, update_conflicts=True, unique_fields=["number"], update_fields=["amount"])

    @rule(
        data=st.data(),
        amount=st.integers(0, 2),
        status=st.sampled_from(STATUSES),
        only=st.sampled_from([None, ["amount"], ["status"], ["amount", "status", "notes"]]),
        anew=st.booleans(),
    )
    def save(self, data, amount, status, only, anew):
        pk = self.pick(data)
        if pk is None:
            return
        row = self.read()[pk]
        instance, known = self.held.get(pk, (None, None))
        if anew or known != row:
            instance = Invoice.objects.get(pk=pk)
        instance.amount, instance.status = amount, status
        instance.notes = {"n": [amount]}
        with self.step():
            instance.save(update_fields=only)
        if only is None:
            self.hold(instance)
        else:
            self.held.pop(pk, None)

    @rule(data=st.data())
    def save_expression(self, data):
        pk = self.pick(data)
        if pk is not None:
            with self.step():
                instance = Invoice.objects.get(pk=pk)
                instance.amount = F("amount") + 1
                instance.save()

    @rule(amount=st.integers(0, 2), status=st.sampled_from(STATUSES), counts=st.booleans())
    def update(self, amount, status, counts):
        with self.step():
            Invoice.objects.filter(amount__lte=1).update(amount=F("amount") + 1 if counts else amount, status=status)

    @rule(amount=st.integers(0, 2))
    def bulk_update(self, amount):
        with self.step():
            rows = list(Invoice.objects.order_by("pk")[:3])
            for row in rows:
                row.amount, row.status = amount, "never written"
            Invoice.objects.bulk_update(rows, ["amount"])

    @rule(data=st.data(), amount=st.integers(0, 2))
    def update_or_create(self, data, amount):
        pk = self.pick(data)
        number = self.new().number if pk is None else Invoice.objects.get(pk=pk).number
        with self.step():
            Invoice.objects.update_or_create(number=number, defaults={"amount": amount, "customer": self.customer})

    @rule(data=st.data())
    def delete(self, data):
        pk = self.pick(data)
        if pk is not None:
            with self.step():
                Invoice.objects.get(pk=pk).delete()

    @rule()
    def delete_many(self):
        with self.step():
            Invoice.objects.filter(amount=0).delete()

    @rule(
        data=st.data(),
        how=st.sampled_from(["add", "remove", "set", "clear", "reverse"]),
        which=st.sets(st.integers(0, 2)),
    )
    def relate(self, data, how, which):
        pk = self.pick(data)
        if pk is None:
            return
        invoice, tags = Invoice.objects.get(pk=pk), [self.tags[n] for n in sorted(which)]
        with self.step():
            match how:
                case "set":
                    invoice.tags.set(tags)
                case "clear":
                    invoice.tags.clear()
                case "reverse":
                    with transaction.atomic():
                        for tag in tags:
                            tag.invoices.remove(invoice)
                case _:
                    getattr(invoice.tags, how)(*tags)

    # --- the oracle ---

    def check(self):
        if self.blocks:
            return
        after = self.read()
        assert sorted(self.told(), key=repr) == sorted(self.expected(after), key=repr)
        assert not PublishFailure.objects.exists()
        Event.objects.all().delete()
        self.before, self.facts = after, set()

    def told(self):
        found = []
        for event in Event.objects.all():
            data = json.loads(event.payload)
            row = {name: data[name] for name in FIELDS}
            pk = int(event.subject.removeprefix("market.Invoice:"))
            change = None
            if event.event_type == "bill.updated":
                change = {name: data.get(name) for name in ("changed", "previous", "added", "removed")}
            found.append(
                (event.event_type, pk, None if event.event_type in ("bill.paid", "bill.voided") else row, change)
            )
        return found

    def expected(self, after):
        found = [(name, pk, None, None) for name, pk in self.facts]
        for pk in self.before.keys() | after.keys():
            old, new = self.before.get(pk), after.get(pk)
            if old is None:
                found.append(("bill.created", pk, self.row(new), None))
            elif new is None:
                found.append(("bill.deleted", pk, None, None))
            elif old != new:
                found.append(("bill.updated", pk, self.row(new), self.change(old, new)))
        told_rows = {pk: row for kind, pk, row, _change in self.told() if kind == "bill.deleted"}
        return [(k, pk, told_rows.get(pk) if k == "bill.deleted" else row, change) for k, pk, row, change in found]

    def row(self, row):
        return shown({name: row[name] for name in FIELDS})

    def change(self, old, new):
        names = [name for name in FIELDS if old[name] != new[name]]
        added, removed = sorted(new["tags"] - old["tags"]), sorted(old["tags"] - new["tags"])
        previous = {name: self.row(old)[name] for name in names}
        return {
            "changed": sorted([*names, *(["tags"] if added or removed else [])]),
            "previous": previous,
            "added": {"tags": added} if added else None,
            "removed": {"tags": removed} if removed else None,
        }

    def teardown(self):
        while self.blocks:
            self.blocks.pop().__exit__(ZeroDivisionError, ZeroDivisionError(), None)


@pytest.mark.django_db(transaction=True)
class TestEventsTellWhatATransactionChanged:
    def test_whatever_is_written(self):
        Customer.objects.create()
        Tag.objects.bulk_create([Tag(name=name) for name in "abc"])
        run_state_machine_as_test(
            Writes,
            settings=settings(
                max_examples=40,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink one takes minutes, and they are short
            ),
        )
