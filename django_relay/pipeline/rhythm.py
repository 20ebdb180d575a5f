"""When the worker looks for work: at once when told, closely while there is some, seldom while there is none."""

import threading
import time
from pathlib import Path

from django_relay import conf

ALERT_SECONDS = 0.2
"""How long after work or a wake it looks closely: a second NOTIFY within 50 ms of the first is not sent."""
CLOSELY_SECONDS = 0.01
WORTHWHILE = 64
"""A look that found so many is followed by the next at once, but for a rest; one that found less waits for its batch to
be worth it."""
SHORT_WAIT_SECONDS = 0.002
REST = 20.0
"""A look in which the worker waited longer than ``SHORT_WAIT_SECONDS`` for a processor says that the machine is busy.
When it found all there was, the next one comes only after so many times the excess, whoever wakes the worker meanwhile:
a look costs the same for one as for many, and most of a busy machine belongs to those who make the events."""
LONGEST_REST_SECONDS = 0.2
_SCHEDULED = Path("/proc/thread-self/schedstat")


class Rhythm:
    """The pauses between two looks. Only :meth:`wake` may be called by other threads."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._alert_until = self._woken_until = float("-inf")
        self._look_at = self._rested_at = self._waited = 0.0
        self._pause = 0.0
        self.was_worthwhile = False
        """Whether the last look found so much that the next need not ask first whether there is anything."""

    @property
    def seconds_left(self) -> float:
        """How long it is until the next look."""
        return max(self._look_at - time.monotonic(), 0.0)

    def wake(self) -> None:
        """Have the next look come now, or once this one has rested."""
        self._woken.set()

    def is_due(self) -> bool:
        """Return whether it is time to look; then say :meth:`looked` when that is done."""
        if self._woken.is_set():
            self._woken.clear()
            self._look_at, self._pause = min(self._look_at, self._rested_at), CLOSELY_SECONDS
            self.stay_alert()
            self._woken_until = self._alert_until
        if time.monotonic() < self._look_at:
            return False
        self._waited = waited_seconds()
        return True

    def looked(self, found: int, *, again_in: float | None, is_partial: bool = False) -> None:
        """Say how much a look found, after how many seconds more is known to come, and whether it left something.

        This decides when the next is. What comes meanwhile without a word is found at the latest after
        ``POLL_SECONDS``.
        """
        now = time.monotonic()
        self.was_worthwhile = found >= WORTHWHILE
        if self.was_worthwhile:
            self._pause = 0.0
        elif again_in and now >= self._woken_until:
            self._pause = max(min(again_in, float(conf.settings.POLL_SECONDS)), CLOSELY_SECONDS)
        elif found or again_in is not None or now < self._alert_until:
            self._pause = CLOSELY_SECONDS
        else:
            self._pause = min(max(2 * self._pause, CLOSELY_SECONDS), float(conf.settings.POLL_SECONDS))
        found_all = not is_partial and again_in is None
        excess = max(waited_seconds() - self._waited - SHORT_WAIT_SECONDS, 0.0)
        rest = min(REST * excess, LONGEST_REST_SECONDS) if found_all else 0.0
        self._rested_at = now + rest
        self._look_at = now + max(self._pause, rest)

    def stay_alert(self) -> None:
        """Look closely for a while: there was work."""
        self._alert_until = time.monotonic() + ALERT_SECONDS


def waited_seconds() -> float:
    """Return how long this thread has waited for a processor since it began; 0.0 where the system does not say.

    Linux does: the second number of ``schedstat``, in nanoseconds (Documentation/scheduler/sched-stats.rst).
    """
    try:
        return int(_SCHEDULED.read_bytes().split()[1]) / 1e9
    except OSError:
        return 0.0
