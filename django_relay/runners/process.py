"""The plain runner: ``manage.py relay_worker`` processes find all work by themselves."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.core.checks import CheckMessage

from django_relay.pipeline.worker import Worker
from django_relay.runners import presence

_STOPS = (signal.SIGTERM, signal.SIGINT)


class ProcessRunner:
    """For projects whose workers are ``relay_worker`` processes only: nobody has to be started."""

    def wake(self, using: str) -> None:
        """Do nothing: a running process hears PostgreSQL's notifications, and looks once in ``POLL_SECONDS`` anyway."""

    def check(self) -> list[CheckMessage]:
        """Nothing of this runner's can be misconfigured."""
        return []


def run(*, using: str, seconds: float | None = None, until_idle: bool = False) -> None:
    """Work in this process until SIGTERM or SIGINT, for ``seconds``, or until nothing is due.

    On a signal nothing more is claimed and no request begins; what is in flight is finished (by its deadline) and what
    had not begun is given back.
    """
    ends_at = float("inf") if seconds is None else time.monotonic() + seconds
    with Worker(using=using) as worker, _stopped_by_signals(worker):
        row = presence.enter("process", now=worker.clock(), using=using)
        try:
            worker.run(
                until=lambda: time.monotonic() >= ends_at or (until_idle and worker.idle),
                heartbeat=lambda in_flight: presence.beat(row, in_flight, now=worker.clock()),
            )
            presence.release(row)
            worker.finish()
        finally:
            presence.leave(row)


@contextmanager
def _stopped_by_signals(worker: Worker) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        # Once is enough. A handler that runs inside another would wait for ever for the lock that the other holds.
        for each in _STOPS:
            signal.signal(each, signal.SIG_IGN)
        worker.stop()

    before = {number: signal.signal(number, stop) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
