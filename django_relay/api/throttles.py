"""How often a credential may call, and how often somebody may try one that is wrong (``API_THROTTLES``)."""

from collections.abc import Iterable
from typing import Any

from rest_framework import exceptions as drf
from rest_framework.throttling import SimpleRateThrottle

from django_relay import conf
from django_relay.rules import rates, tokens
from django_relay.rules.access import Caller


class _Throttle(SimpleRateThrottle):
    """Counts by keys of ours: never by what a client says of its address."""

    def __init__(self, scope: str) -> None:
        rate = conf.settings.API_THROTTLES[scope]  # type: ignore[literal-required]
        self.scope = scope
        self.num_requests, self.duration = rates.parse(rate) if rate is not None else (0, 0)

    def admit(self, key: str, *, count: bool = True) -> bool:
        """Return whether there is room for one more of ``key``, and count it."""
        if not self.num_requests:
            return True
        self.key = f"django_relay.api.{self.scope}:{key}"
        self.now = self.timer()
        self.history = [moment for moment in self.cache.get(self.key, []) if moment > self.now - self.duration]
        if len(self.history) >= self.num_requests:
            return False
        return bool(self.throttle_success()) if count else True


def check(caller: Caller) -> None:
    """Count a call of an authenticated caller.

    Raises:
        Throttled: it calls too often.
    """
    throttle = _Throttle("operator" if caller.is_operator else "tenant")
    if not throttle.admit(caller.actor):
        raise drf.Throttled(throttle.wait(), "Too many calls; wait as long as Retry-After says.")


def check_failures(address: str, token: str) -> None:
    """Refuse to look at a credential where too many were wrong.

    Raises:
        Throttled: from that address, or of that public part, too many failed.
    """
    for throttle, key in _of_failures(address, token):
        if not throttle.admit(key, count=False):
            raise drf.Throttled(throttle.wait(), "Too many wrong credentials; wait as long as Retry-After says.")


def note_failure(address: str, token: str) -> None:
    """Count a credential that was wrong."""
    for throttle, key in _of_failures(address, token):
        throttle.admit(key)


def _of_failures(address: str, token: str) -> Iterable[tuple[_Throttle, Any]]:
    yield _Throttle("failed"), f"address:{address}"
    public = tokens.public_part(token, kind=tokens.API_KEY)
    if public is not None:
        yield _Throttle("failed"), f"key:{public}:{address}"
