"""What the jobs of these tests do. Workers of any job system run them."""

import os
import time
from pathlib import Path

HANG_SECONDS = 30
SENT_SECONDS = 0.5
"""After which a worker has sent what its jobs before this one returned."""


def succeed(word="fine"):
    return word


def fail():
    raise ValueError("it is broken:\nbadly")


def flaky(folder):
    """Fail the first time."""
    _fail_before(folder, 2)


def hang():
    """Take longer than any time-out."""
    time.sleep(HANG_SECONDS)


def die(folder):
    """End the worker as the kernel does when memory runs out, the first time.

    Not while it sends the result of another job: it would leave the lock of the pipe taken, for which its siblings and
    their cluster's end then wait for ever (`multiprocessing.Queue`).
    """
    if _count(folder) == 1:
        time.sleep(SENT_SECONDS)
        os.kill(os.getpid(), 9)


def emits(number):
    """Emit an event, as a job may, and enqueue another."""
    from django_relay import emit

    emit("invoice.paid", {"number": number, "amount": "1.00", "currency": "EUR"}, tenant_id="acme")


def _fail_before(folder, times):
    if _count(folder) < times:
        raise RuntimeError("not yet")


def _count(folder):
    """Return how often this was called with the folder."""
    with (Path(folder) / "calls").open("a+") as file:
        file.write("x")
        return file.tell()


class NotYet(Exception):
    """Of a module of the project's own."""
