"""The few places where a benchmark calls inside the engine; everything else goes by what users call."""

from collections.abc import Iterable
from contextlib import closing, contextmanager
from unittest import mock

from django.utils.module_loading import import_string

from django_relay import conf
from django_relay.models import Event
from django_relay.models.clock import DatabaseClock
from django_relay.pipeline import fan_out, leases, wakeup
from django_relay.rules import pacing

USING = "default"


class Claimer:
    """A worker that only claims: what it got is never in flight, but ``saturated`` endpoints have all they may have."""

    def __init__(self, limit: int, *, saturated: Iterable[str] = ()) -> None:
        most = conf.settings.MAX_IN_FLIGHT_PER_ENDPOINT
        shares = pacing.Shares(places=limit, most=most, first=most)
        for endpoint_id in saturated:
            for _ in range(most):
                shares.began(endpoint_id)
        self._limit, self._gates, self._clock = limit, leases.Gates(shares), DatabaseClock(USING)

    def claim(self) -> int:
        """Lease what is due, up to the limit; return how many deliveries that were."""
        return len(leases.claim(self._limit, now=self._clock(), using=USING, gates=self._gates).leases)


def fan_out_all() -> None:
    """Fan out until no event is pending."""
    while Event.objects.pending().exists():
        fan_out.expand(conf.settings.FAN_OUT_BATCH, now=DatabaseClock(USING)(), using=USING)


def in_flight(transport: str) -> int:
    """Return how many requests a worker has open at once with a transport, given by its dotted path."""
    with closing(import_string(transport)()) as found:
        return found.capacity


@contextmanager
def asleep():
    """Let emits wake nobody."""
    with mock.patch.object(wakeup, "wake", return_value=None):
        yield
