"""The inline runner: delivers after commit, in the process and thread that emitted. For tests and tiny sites."""

import threading

from django.core.checks import CheckMessage

from django_relay.pipeline import attempts
from django_relay.pipeline.worker import Worker


class InlineRunner:
    """Runs the worker right after the commit until nothing is due.

    The emitting request waits for the receivers. Retries run at the next emit, or by ``manage.py relay_worker``.
    """

    _state = threading.local()

    def wake(self, using: str) -> None:
        """Deliver what is due; an emit from within a delivery's signal is delivered by the same run."""
        if getattr(self._state, "running", False):
            return
        self._state.running = True
        try:
            attempts.check_keys(using=using)
            with Worker(using=using) as worker:
                while worker.run_once(wait_seconds=1.0) or worker.in_flight:
                    pass
        finally:
            self._state.running = False

    def check(self) -> list[CheckMessage]:
        """Nothing of this runner's can be misconfigured."""
        return []
