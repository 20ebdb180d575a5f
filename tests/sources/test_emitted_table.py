"""Every row of the measured table is right, on both databases, in autocommit and in a transaction."""

import json
import os
from collections import Counter
from contextlib import nullcontext

import pytest
from django.db import transaction

from django_relay.models import Event
from tests.sources import emitted_table
from tests.sources.emitted_table import OPERATIONS, Rows

pytestmark = pytest.mark.django_db(transaction=True)


def measure(shown, block):
    """Do an operation and say what was told of it."""
    rows = Rows()
    emitted_table.prepare(shown, rows)
    Event.objects.all().delete()
    with block():
        OPERATIONS[shown](rows)
    events = list(Event.objects.all())
    if "UUID" in shown:
        return "yes" if json.loads(events[0].payload)["id"] else "no"
    names = Counter(event.event_type.replace("bill_line", "line").replace("bill", "invoice") for event in events)
    return ", ".join(f"{count} {name}" for name, count in sorted(names.items())) or "0"


class TestTable:
    def test_is_what_the_page_shows(self, backend):
        found = []
        for shown in OPERATIONS:
            row = [shown]
            for block in (nullcontext, transaction.atomic):
                try:
                    row.append(measure(shown, block))
                finally:
                    self.clear()
            found.append(row)
        table = emitted_table.render(found)
        if os.environ.get("RELAY_WRITE_DOCS"):
            emitted_table.write(table)
        assert emitted_table.written() == table

    def clear(self):
        from tests.sources.market.models import Customer, Invoice, Parcel

        for model in (Invoice, Parcel, Customer, Event):
            model.objects.all().delete()
        Event.objects.all().delete()
