"""Whose clock decides: the database's.

What is due, when a lease ends and what a signature is stamped with must not depend on one worker's clock, which may be
wrong or jump. :class:`DatabaseClock` asks PostgreSQL now and then and carries the answer on by the monotonic clock.
SQLite lives in the same machine: there the machine's clock is the database's.
"""

import time
from datetime import datetime, timedelta

from django.db import connections
from django.utils import timezone

_TRUSTED_SECONDS = 30.0


class DatabaseClock:
    """Call it for the current time of the database ``using``; costs a query at most every 30 seconds."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._read_at = float("-inf")
        self._said: datetime

    def __call__(self) -> datetime:
        """Return the database's current time."""
        connection = connections[self.using]
        if connection.vendor != "postgresql":
            return timezone.now()
        if time.monotonic() - self._read_at > _TRUSTED_SECONDS:
            with connection.cursor() as cursor:
                cursor.execute("SELECT clock_timestamp()")
                self._said = cursor.fetchone()[0]
            self._read_at = time.monotonic()
        return self._said + timedelta(seconds=time.monotonic() - self._read_at)
