"""A row and the event of its change are one, in autocommit too, whoever dies in between."""

import signal

import pytest

from django_relay.models import Event
from example_project.shop.models import Invoice
from tests.processes import wait_until

pytestmark = pytest.mark.process

DECLARED = """
import os
from django_relay.pipeline import outbox
from django_relay.sources.model_signals import register
from example_project.shop.models import Invoice
register("shop.Invoice", "bill", tenant="customer", created=True, updated=True, deleted=True)
emit_many = outbox.emit_many
def die(*args, **kwargs):
    os.kill(os.getpid(), 9)
def store_and_die(*args, **kwargs):
    emit_many(*args, **kwargs)
    die()
"""
CREATE = "\nInvoice.objects.create(customer='acme', number='1', amount=1)\n"
WRITES = {
    "create": CREATE,
    "save": "\ninvoice = Invoice.objects.get(number='0')\ninvoice.amount = 2\ninvoice.save()\n",
    "delete": "\nInvoice.objects.get(number='0').delete()\n",
}


class TestAProcessKilled:
    @pytest.mark.parametrize("moment", ["die", "store_and_die"])
    @pytest.mark.parametrize("write", sorted(WRITES))
    def test_between_a_row_and_its_event_leaves_neither(self, stage, write, moment):
        Invoice.objects.create(customer="acme", number="0", amount=1)
        script = stage.script(f"{DECLARED}\noutbox.emit_many = {moment}\n{WRITES[write]}")
        assert script.wait(20) == -signal.SIGKILL, script.output
        assert list(Invoice.objects.values_list("number", "amount")) == [("0", 1)]
        assert not Event.objects.exists()

    def test_after_the_commit_leaves_both(self, stage):
        script = stage.script(f"{DECLARED}{CREATE}\ndie()")
        assert script.wait(20) == -signal.SIGKILL, script.output
        wait_until(Invoice.objects.exists, 5, "the invoice is there")
        assert [event.event_type for event in Event.objects.all()] == ["bill.created"]
