"""What follows from an attempt: the decision matrix.

The first row that fits decides.

=====================================================  ==========================================
what came back                                         decision (reason)
=====================================================  ==========================================
2xx                                                    delivered (``delivered``)
410                                                    dead, and disables the endpoint (``gone``)
``address_not_public``, ``unsafe_url``                 dead (the error kind)
policy ``temporary``: 3xx, 501, 4xx but 408, 425, 429  dead (``not_retryable``)
anything, once the attempts have run out               dead (``attempts_exhausted``)
``unknown``                                            retry at once: the lease was the wait
                                                       (``unknown``)
429, 503 with Retry-After beyond the schedule's wait   retry when asked, at the latest at the cap
                                                       (``retry_after``)
any other status and any other error kind              retry by schedule (``schedule``)
=====================================================  ==========================================

Redirects are not followed, so a 3xx is a failure like any other. A wait is never shorter than the
schedule's: jitter only lengthens it, and it lengthens what Retry-After asks for as well, so that
deliveries which were all told "in 60 seconds" do not all come in the same second.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from django_relay import exceptions

MAX_WAITS = 50
MAX_WAIT_SECONDS = 30 * 86_400

_HOPELESS_KINDS = ("address_not_public", "unsafe_url")
_TEMPORARY_4XX = (408, 425, 429)
_RETRY_AFTER_STATUSES = (429, 503)
_SECONDS = re.compile(r"[0-9]{1,10}")
# The formats of RFC 9110 §5.6.7 begin with the day's name; email.utils reads far more as dates.
_DATE = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[A-Za-z0-9 ,:-]{10,40}")


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with a delivery after an attempt."""

    action: Literal["delivered", "retry", "dead"]
    delay_seconds: float = 0.0
    """For ``retry``: how long to wait from now."""
    disable_endpoint: bool = False
    reason: str = ""
    """Why, as one of the words in the module's table."""


DELIVERED = Decision("delivered", reason="delivered")


def decide(
    *,
    status_code: int | None,
    error_kind: str,
    attempt_number: int,
    max_attempts: int,
    schedule: Sequence[float],
    policy: str,
    retry_after: str | None,
    now: datetime,
    retry_after_max_seconds: float,
    jitter: float,
    random: float,
) -> Decision:
    """Decide by the matrix in the module's docstring.

    Args:
        status_code: the answer's, or None when ``error_kind`` (one of
            ``transport.base.ERROR_KINDS``) says why there is none.
        error_kind: empty when there is a status code.
        attempt_number: of the attempt that just ended; the first is 1.
        max_attempts: how many the delivery may have.
        schedule: waits in seconds after the first, second, … attempt; the last one goes on.
            Empty: no retries.
        policy: ``always``, or ``temporary`` to give up at once on what cannot mend itself.
        retry_after: the answer's Retry-After, if any.
        now: aware; what a Retry-After date is measured from.
        retry_after_max_seconds: the most that a receiver may ask for.
        jitter: the largest part by which a wait is lengthened, such as 0.2.
        random: a random number from 0 up to 1.
    """
    final = _final(status_code, error_kind, policy=policy)
    if final:
        return final
    if attempt_number >= max_attempts or not schedule:
        return Decision("dead", reason="attempts_exhausted")
    if error_kind == "unknown" and status_code is None:
        return Decision("retry", reason="unknown")
    wait, reason = schedule[min(attempt_number, len(schedule)) - 1], "schedule"
    if status_code in _RETRY_AFTER_STATUSES and retry_after is not None:
        asked = min(parse_retry_after(retry_after, now) or 0.0, retry_after_max_seconds)
        if asked > wait:
            wait, reason = asked, "retry_after"
    return Decision("retry", wait * (1 + jitter * random), reason=reason)


def validate_schedule(schedule: object) -> list[float] | None:
    """Return an endpoint's own schedule; None stands for the project's.

    Raises:
        InvalidInput: ``wrong_type`` when it is no list of at most 50, ``bad_retry_schedule`` when a wait is no number
            of seconds above 0 and up to 30 days.
    """
    if schedule is None:
        return None
    if not isinstance(schedule, list | tuple) or len(schedule) > MAX_WAITS:
        raise exceptions.InvalidInput(f"Give a list of at most {MAX_WAITS} waits, in seconds.", code="wrong_type")
    for wait in schedule:
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 < wait <= MAX_WAIT_SECONDS:
            message = "Each wait is a number of seconds, more than 0 and at most 30 days."
            raise exceptions.InvalidInput(message, code="bad_retry_schedule")
    return list(schedule)


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Return how many seconds a Retry-After header asks to wait (RFC 9110 §10.2.3).

    The header holds seconds or an HTTP date. None when it says nothing usable: a date in the past,
    a fraction, a sign, digits other than 0-9, or more than ten of them.
    """
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return float(value)
    if not _DATE.fullmatch(value):
        return None
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        # The oldest of the three formats names no zone; HTTP's dates are in UTC.
        date = date.replace(tzinfo=UTC)
    seconds = (date - now).total_seconds()
    return seconds if seconds > 0 else None


def _final(status_code: int | None, error_kind: str, *, policy: str) -> Decision | None:
    """Return the decision of the rows that do not depend on the attempts left, if one fits."""
    if status_code is None:
        return Decision("dead", reason=error_kind) if error_kind in _HOPELESS_KINDS else None
    if 200 <= status_code <= 299:
        return DELIVERED
    if status_code == 410:
        return Decision("dead", disable_endpoint=True, reason="gone")
    if policy == "temporary" and _cannot_mend(status_code):
        return Decision("dead", reason="not_retryable")
    return None


def _cannot_mend(status_code: int) -> bool:
    """Say whether waiting alone cannot turn the status into success."""
    if status_code == 501:
        return True
    return 300 <= status_code <= 499 and status_code not in _TEMPORARY_4XX
