"""What workers hold of deliveries: the right to attempt one, and what became of the attempt. No tables.

:class:`ReadyEndpoint` is an endpoint made ready for sending; a worker keeps it for as long as the endpoint's rows stay
as they are.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django_relay import conf
from django_relay.models.attempt import Attempt
from django_relay.models.endpoint import MAX_TIMEOUT_SECONDS, Endpoint
from django_relay.rules import envelopes, retries
from django_relay.transport.base import Outcome


class ReadyEndpoint:
    """An endpoint and what follows from it and the settings, worked out once: keys and headers decrypted, waits, time.

    Reading secrets and headers raises ``DecryptionError``, each time, when they cannot be read.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.endpoint_id = str(endpoint.pk)

    def __repr__(self) -> str:
        return f"<ReadyEndpoint {self.endpoint.pk}>"

    @cached_property
    def headers(self) -> dict[str, str]:
        """The endpoint's own headers."""
        return dict(self.endpoint.headers)

    @cached_property
    def schedule(self) -> Sequence[float]:
        """Seconds to wait after each failed attempt."""
        return self.endpoint.schedule

    @cached_property
    def source(self) -> str:
        """The CloudEvents source of its events."""
        return conf.settings.CLOUDEVENTS_SOURCE or f"/django_relay/{self.endpoint.application.slug}"

    @cached_property
    def timeout_seconds(self) -> float:
        """The total deadline of an attempt."""
        return min(self.endpoint.timeout_seconds or conf.settings.TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS)

    @cached_property
    def max_response_bytes(self) -> int:
        """How much of a response's body is kept."""
        limit: int = conf.settings.MAX_RESPONSE_BYTES
        return limit

    def secrets_at(self, now: datetime) -> list[str]:
        """Return the signing secrets that are live at ``now``, newest first."""
        return [key for expires_at, key in self._secrets if expires_at is None or expires_at > now]

    @cached_property
    def _secrets(self) -> list[tuple[datetime | None, str]]:
        rows = sorted(self.endpoint.signing_secrets.all(), key=lambda row: (row.created_at, row.pk), reverse=True)
        return [(row.expires_at, row.key) for row in rows]


@dataclass(slots=True)
class Lease:
    """A worker's time-limited right to attempt one delivery; the token proves it.

    It holds what the attempt needs, not the rows: making instances of those costs more than sending.
    """

    delivery_id: str
    tenant_id: str
    attempt_count: int
    max_attempts: int
    trigger: str
    """What made the delivery, see ``Attempt.Trigger``."""
    event: envelopes.Facts
    ready: ReadyEndpoint
    token: uuid.UUID
    lost_at: datetime | None = None
    """When the lease that ran out had been taken, if there was one: that attempt's outcome is not known."""

    @property
    def number(self) -> int:
        """Which of the delivery's attempts this lease is for; the first is 1."""
        return self.attempt_count + 1

    @property
    def endpoint_id(self) -> str:
        """Whose delivery it is."""
        return self.ready.endpoint_id


@dataclass(slots=True)
class Settled:
    """One attempt, what was decided about it, and whether the lease was still ours."""

    lease: Lease
    outcome: Outcome
    decision: retries.Decision
    is_ours: bool = False
    """Whether the delivery was written; if not, the lease was lost and only the attempt is recorded."""

    @property
    def endpoint_id(self) -> str:
        """Whose attempt it was."""
        return self.lease.endpoint_id

    @property
    def is_test(self) -> bool:
        """Whether it was a test, which has no consequences."""
        return self.lease.trigger == Attempt.Trigger.TEST

    @property
    def is_dead(self) -> bool:
        """Whether the delivery was given up with this attempt."""
        return self.is_ours and self.decision.action == "dead"
