"""What the worker's loop knows of itself while it turns."""

from dataclasses import dataclass, field

from django_relay.models.lease import Settled
from django_relay.pipeline.fan_out import Expansion
from django_relay.pipeline.leases import Claim


@dataclass
class Turn:
    """What one turn of the loop did."""

    expansion: Expansion = field(default_factory=Expansion)
    advanced: int = 0
    """How much of a replay or an erasure was done."""
    claim: Claim = field(default_factory=Claim)
    settled: list[Settled] = field(default_factory=list)

    @property
    def fanned_out(self) -> int:
        """How many events."""
        return self.expansion.events

    @property
    def leased(self) -> int:
        """How many deliveries."""
        return len(self.claim.leases)

    @property
    def found(self) -> int:
        """How much of one kind there was to do."""
        return max(self.fanned_out, self.advanced, self.leased)

    @property
    def is_partial(self) -> bool:
        """Whether it may have left something that could be done now."""
        return self.expansion.is_partial or self.claim.is_partial or bool(self.advanced)

    def __bool__(self) -> bool:
        return bool(self.found or self.settled)
