"""How often a credential may call, and how often somebody may try one that is wrong (``API_THROTTLES``)."""

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

    def admit(self, key: str) -> bool:
        """Count one more of ``key`` if there is room for it, and return whether there was."""
        if not self.num_requests:
            return True
        self.key = f"django_relay.api.{self.scope}:{key}"
        self.now = self.timer()
        self.history = [moment for moment in self.cache.get(self.key, []) if moment > self.now - self.duration]
        return len(self.history) < self.num_requests and bool(self.throttle_success())


def check(caller: Caller) -> None:
    """Count a call of an authenticated caller.

    Raises:
        Throttled: it calls too often.
    """
    throttle = _Throttle("operator" if caller.is_operator else "tenant")
    if not throttle.admit(caller.actor):
        raise drf.Throttled(throttle.wait(), "Too many calls; wait as long as Retry-After says.")


def count_failure(address: str, token: str) -> None:
    """Count a credential that was wrong.

    One that is right is never made to wait for those that are wrong: behind a proxy all callers may share an address,
    and a key that has expired is tried for ever.

    Raises:
        Throttled: from that address, or with that public part, too many were.
    """
    throttle = _Throttle("failed")
    for key in (f"address:{address}", f"key:{tokens.public_part(token, kind=tokens.API_KEY)}"):
        if not throttle.admit(key):
            raise drf.Throttled(throttle.wait(), "Too many wrong credentials; wait as long as Retry-After says.")
