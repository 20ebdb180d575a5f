"""Wake the workers after a commit. A wake is a hint: one that is lost costs a poll interval, never an event.

On PostgreSQL a NOTIFY reaches every worker that runs; beside it the runner is asked to see that one runs.
"""

import functools
import logging
from typing import Protocol

from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from django_relay import conf
from django_relay.pipeline import notifications

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """What makes the worker run: the seam behind the setting ``RUNNER``."""

    def wake(self, using: str) -> None:
        """See that a worker looks at the database ``using`` soon. Called after commit; may raise, which is logged."""

    def check(self) -> list[CheckMessage]:
        """Return what is wrong with the runner's configuration, for Django's system checks."""


def wake(using: str) -> None:
    """Have the workers look for work. Call it after the commit. Never raises: they find all work by themselves."""
    notifications.notify(using)
    try:
        _runner(conf.settings.RUNNER).wake(using)
    except Exception:
        logger.exception(
            "The runner could not be woken; the workers' next look finds the work.",
            extra={"event": "runner.wake_failed"},
        )


@functools.lru_cache(maxsize=8)
def _runner(path: str) -> Runner:
    runner: Runner = import_string(path)()
    return runner
