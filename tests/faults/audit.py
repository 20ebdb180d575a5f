"""The audit after a fault: what had to be received against what the receiver's own log says was received.

The expected set comes from what the test emitted and the endpoints it made, never from the deliveries of the code under
test.
"""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from django_relay.models import Attempt, Delivery
from tests.processes import Stage

Pair = tuple[str, str]
"""An event's id and an endpoint's path."""


@dataclass
class Audit:
    """What was found. All but ``ok``, ``repeated`` and ``unknown`` must be empty."""

    expected: int
    received: int
    ok: int = 0
    lost: set[Pair] = field(default_factory=set)
    """Expected, but without a 2xx in the receiver's log, or without exactly one delivery that is ``delivered``."""
    unexpected: set[Pair] = field(default_factory=set)
    repeated: int = 0
    """Requests beyond the first of their pair."""
    unknown: int = 0
    """Attempts recorded as ``unknown``."""
    unexplained: set[Pair] = field(default_factory=set)
    """Received more often than there are attempts, or again without an attempt that failed or is not known."""
    differing: set[Pair] = field(default_factory=set)
    """Received with different bodies."""
    unverified: set[Pair] = field(default_factory=set)
    leases: int = 0

    def assert_clean(self) -> None:
        for name in ("lost", "unexpected", "unexplained", "differing", "unverified", "leases"):
            assert not getattr(self, name), f"{name}: {getattr(self, name)}; {self}"

    def __str__(self) -> str:
        return (
            f"expected={self.expected} received={self.received} ok={self.ok} lost={len(self.lost)} "
            f"unexpected={len(self.unexpected)} dup={self.repeated} unknown={self.unknown} "
            f"unexplained={len(self.unexplained)} differing={len(self.differing)} leases={self.leases}"
        )


def audit(stage: Stage, expected: Collection[Pair]) -> Audit:
    """Compare the receiver's log with the pairs that had to be delivered; the receiver answered 2xx at last."""
    requests = defaultdict(list)
    for request in stage.receiver.requests():
        requests[request.id, request.path].append(request)
    paths = {stage.receiver.url(path): path for _id, path in expected}
    rows = [
        ((row.event_id, paths.get(row.endpoint.url, row.endpoint.url)), row)
        for row in Delivery.objects.select_related("endpoint")
    ]
    states = {pair: row.state for pair, row in rows}
    assert len(states) == len(rows), "two deliveries of one event to one endpoint"
    pairs = {row.pk: pair for pair, row in rows}
    made, failed, unknown = Counter(), Counter(), 0
    for delivery_id, kind, status in Attempt.objects.values_list("delivery_id", "error_kind", "status_code"):
        made[pairs[delivery_id]] += 1
        failed[pairs[delivery_id]] += status is None or status >= 300
        unknown += kind == "unknown"

    result = Audit(expected=len(set(expected)), received=sum(map(len, requests.values())), unknown=unknown)
    result.unexpected = set(requests) - set(expected)
    result.leases = Delivery.objects.leased().count()
    for pair in set(expected):
        answered = [item for item in requests[pair] if item.answer is not None and 200 <= item.answer < 300]
        if answered and states.get(pair) == Delivery.State.DELIVERED:
            result.ok += 1
        else:
            result.lost.add(pair)
        again = max(len(requests[pair]) - 1, 0)
        result.repeated += again
        if again > failed[pair] or len(requests[pair]) > made[pair]:
            result.unexplained.add(pair)
        if len({item.sha256 for item in requests[pair]}) > 1:
            result.differing.add(pair)
        if not all(item.verified for item in requests[pair]):
            result.unverified.add(pair)
    return result
