"""An event exists if and only if its transaction committed, and then it is delivered, whoever dies."""

import signal

import pytest

from django_relay.models import Event
from tests.processes import INVOICE

pytestmark = pytest.mark.process

EMIT = f"""
import os, sys
from django.db import transaction
from django_relay import emit
DATA = {INVOICE!r}
"""


class TestCommit:
    def test_what_was_rolled_back_is_neither_stored_nor_sent(self, stage):
        stage.endpoint("/hooks")
        stage.worker()
        script = stage.script(
            EMIT
            + """
class Undone(Exception): pass
for number in range(3):
    try:
        with transaction.atomic():
            emit("invoice.paid", {"number": str(number), **DATA}, tenant_id="acme")
            raise Undone
    except Undone: pass
with transaction.atomic():
    kept = emit("invoice.paid", {"number": "kept", **DATA}, tenant_id="acme")
    try:
        with transaction.atomic():
            emit("invoice.paid", {"number": "savepoint", **DATA}, tenant_id="acme")
            raise Undone
    except Undone: pass
print(kept.pk)
"""
        )
        assert script.wait(20) == 0, script.output
        stage.wait_for_requests(1)
        stage.wait_until_drained()
        assert [request.id for request in stage.receiver.requests()] == [script.output.strip()]
        assert Event.objects.count() == 1

    def test_a_process_killed_inside_its_transaction_leaves_nothing(self, stage):
        stage.endpoint("/hooks")
        stage.worker()
        script = stage.script(
            EMIT
            + """
with transaction.atomic():
    emit("invoice.paid", {"number": "1", **DATA}, tenant_id="acme")
    os.kill(os.getpid(), 9)
"""
        )
        assert script.wait(20) == -signal.SIGKILL, script.output
        [event_id] = stage.emit(1)  # comes after it, so the first would have been seen by then
        stage.wait_for_requests(1)
        stage.wait_until_drained()
        assert [request.id for request in stage.receiver.requests()] == [event_id]

    def test_a_process_killed_between_its_commit_and_the_wake_loses_nothing(self, stage):
        stage.endpoint("/hooks")
        stage.worker()
        script = stage.script(
            EMIT
            + """
with transaction.atomic():
    transaction.on_commit(lambda: os.kill(os.getpid(), 9))  # before the wake, which is registered by emit
    print(emit("invoice.paid", {"number": "1", **DATA}, tenant_id="acme").pk, flush=True)
""",
            RUNNER="django_relay.runners.django_q.DjangoQRunner",
        )
        assert script.wait(20) == -signal.SIGKILL, script.output
        stage.wait_for_requests(1)
        stage.wait_until_drained()
        assert [request.id for request in stage.receiver.requests()] == [script.output.strip()]
