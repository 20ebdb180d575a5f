"""Rates, written as Django REST framework writes them: ``600/minute``."""

import re
from typing import NamedTuple

from django_relay import exceptions

_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)", re.ASCII)


class Rate(NamedTuple):
    """So many, in so many seconds."""

    limit: int
    seconds: int


def parse(text: object) -> Rate:
    """Return the rate that a text such as ``600/minute`` stands for.

    Raises:
        InvalidInput: ``bad_rate``.
    """
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise exceptions.InvalidInput(
            f"A rate is a whole number per {', '.join(_SECONDS)}, such as 600/minute.", code="bad_rate"
        )
    return Rate(int(match[1]), _SECONDS[match[2]])
