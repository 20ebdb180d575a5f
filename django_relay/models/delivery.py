"""Deliveries: one event to one endpoint, until settled.

::

                     ┌──────── lease ran out, or failed and will be retried ───────┐
                     ▼                                                             │
    fan-out ──▶  pending ──lease──▶ attempt ──settle──▶ delivered                  │
                     │                             ├──▶ failed (with a DLQ entry)  │
                     │                             └───────────────────────────────┘
                     └── its owner cancelled it, or its endpoint was deleted ──▶ cancelled

A test send that fails is ``failed`` without a DLQ entry: nobody has to do anything about it.
*Paused* is shown, not stored: the lease passes over endpoints that are not enabled.
"""

import functools
import operator
from collections.abc import Collection
from datetime import datetime
from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField
from django_relay.models.endpoint import Endpoint
from django_relay.models.event import Event
from django_relay.models.replay import Replay

FIRST = models.Q(replay_of__isnull=True, replay__isnull=True)
"""Deliveries that fan-out made; no replay."""
WAYS = (FIRST, models.Q(replay__isnull=False), models.Q(replay_of__isnull=False, replay__isnull=True))
"""How deliveries come about: by fan-out, by a bulk replay, by that of one DLQ entry. Each has an index by event, and no
index has them all: what asks for an event's deliveries asks for each way's."""


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    """Deliveries by state."""

    def pending(self) -> Self:
        """Deliveries that are not settled."""
        return self.filter(state=Delivery.State.PENDING)

    def unleased(self, now: datetime) -> Self:
        """Deliveries that are not settled and under no lease that still runs at ``now``."""
        return self.pending().filter(models.Q(leased_until__isnull=True) | models.Q(leased_until__lte=now))

    def due(self, now: datetime) -> Self:
        """Deliveries whose time has come and that are under no running lease; their endpoint may be disabled."""
        return self.unleased(now).filter(next_attempt_at__lte=now)

    def of_anybody(self) -> Self:
        """Ask for them by the index of all that are due (see ``Meta.indexes``): they are the same."""
        return self.filter(max_attempts__gt=0)

    def of_events(self, event_ids: Collection[str]) -> Self:
        """Deliveries of some events, by fan-out and by replays, said so that each way's own index finds them.

        Ask for nothing more of them in SQL: planners would look among an endpoint's instead, which are many.
        """
        return self.filter(functools.reduce(operator.or_, (models.Q(way, event_id__in=event_ids) for way in WAYS)))

    def leased(self) -> Self:
        """Deliveries under a lease, run out or not."""
        return self.pending().filter(lease_token__isnull=False)


class Delivery(models.Model):
    """One event on its way to one endpoint."""

    class State(models.TextChoices):
        """Where the delivery stands."""

        PENDING = "pending", _("pending")
        DELIVERED = "delivered", _("delivered")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    id = PrefixedIdField("del_", primary_key=True)
    event = models.ForeignKey(
        Event,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="deliveries",
        verbose_name=_("event"),
    )
    endpoint = models.ForeignKey(
        Endpoint,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="deliveries",
        verbose_name=_("endpoint"),
    )
    tenant_id = models.CharField(_("tenant"), max_length=255, blank=True)
    state = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.PENDING)
    attempt_count = models.PositiveSmallIntegerField(_("attempts"), default=0)
    max_attempts = models.PositiveSmallIntegerField(_("max attempts"))
    next_attempt_at = models.DateTimeField(_("next attempt at"))
    leased_at = models.DateTimeField(_("leased at"), null=True, blank=True, editable=False)
    leased_until = models.DateTimeField(_("leased until"), null=True, blank=True, editable=False)
    lease_token = models.UUIDField(_("lease token"), null=True, blank=True, editable=False)
    last_error = models.TextField(_("last error"), blank=True)
    last_error_kind = models.CharField(_("last error kind"), max_length=32, blank=True)
    last_status_code = models.PositiveSmallIntegerField(_("last status code"), null=True, blank=True)
    last_response = models.TextField(_("last response"), blank=True)
    last_latency_ms = models.PositiveIntegerField(_("last latency"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed at"), null=True, blank=True)
    replay_of = models.ForeignKey(
        "self",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        blank=True,
        related_name="replays",
        verbose_name=_("replay of"),
    )
    replay = models.ForeignKey(
        Replay,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        blank=True,
        related_name="deliveries",
        verbose_name=_("replay"),
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), default=timezone.now, editable=False)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        permissions = [("replay_delivery", "Can retry, recover, replay and discard deliveries")]
        # The lease columns stay out of every index, so that on PostgreSQL leasing is a heap-only update. What is asked
        # of one endpoint never says "max_attempts > 0", so that no planner can look for it in the index of all: before
        # the first ANALYZE PostgreSQL would, and read everybody's backlog for each endpoint.
        indexes = [
            models.Index(
                fields=["next_attempt_at"],
                condition=models.Q(state="pending", max_attempts__gt=0),
                name="relay_delivery_due",
            ),
            models.Index(
                fields=["endpoint", "next_attempt_at"],
                condition=models.Q(state="pending"),
                name="relay_delivery_due_endpoint",
            ),
            models.Index(fields=["created_at"], name="relay_delivery_age"),
            # Lists, newest first, by state: settling writes every index anyway, for it leaves the first two.
            models.Index(fields=["endpoint", "state", "id"], name="relay_delivery_list"),
            models.Index(
                fields=["event"],
                condition=models.Q(replay_of__isnull=False, replay__isnull=True),
                name="relay_delivery_resent",
            ),
            models.Index(
                fields=["replay", "next_attempt_at"],
                condition=models.Q(state="pending", replay__isnull=False),
                name="relay_delivery_due_replay",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["event", "endpoint"],
                condition=FIRST,
                name="relay_delivery_once_per_endpoint",
            ),
            # The event stands first: so it is also the index by which replays of an event are found.
            models.UniqueConstraint(
                fields=["event", "endpoint", "replay"],
                condition=models.Q(replay__isnull=False),
                name="relay_delivery_once_per_replay",
            ),
            models.UniqueConstraint(
                fields=["replay_of"],
                condition=models.Q(state="pending", replay_of__isnull=False),
                name="relay_delivery_one_replay_at_a_time",
            ),
            models.CheckConstraint(
                condition=models.Q(state="pending", completed_at__isnull=True)
                | (~models.Q(state="pending") & models.Q(completed_at__isnull=False, lease_token__isnull=True)),
                name="relay_delivery_completed_once_settled",
            ),
            models.CheckConstraint(
                condition=models.Q(lease_token__isnull=True, leased_at__isnull=True, leased_until__isnull=True)
                | models.Q(lease_token__isnull=False, leased_at__isnull=False, leased_until__isnull=False),
                name="relay_delivery_lease_is_whole",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @classmethod
    def of(
        cls,
        event_id: str,
        endpoint: Endpoint,
        *,
        now: datetime,
        replay_of_id: str | None = None,
        replay_id: str | None = None,
    ) -> Self:
        """Return a new delivery, not yet stored, that is due at once and has all of its endpoint's attempts."""
        return cls(
            event_id=event_id,
            endpoint=endpoint,
            tenant_id=endpoint.tenant_id,
            max_attempts=1 + len(endpoint.schedule),
            next_attempt_at=now,
            replay_of_id=replay_of_id,
            replay_id=replay_id,
            created_at=now,
            updated_at=now,
        )

    @property
    def event_type(self) -> str:
        """The name of its event's type, ``""`` if the event is no longer stored."""
        try:
            return self.event.event_type
        except Event.DoesNotExist:
            return ""

    @property
    def trigger(self) -> str:
        """What made this delivery: an event, a replay, or a test send."""
        if self.replay_of_id is not None or self.replay_id is not None:
            return "replay"
        return "automatic" if self.event.only_endpoint_id is None else "test"


NO_LEASE = {"lease_token": None, "leased_at": None, "leased_until": None}
"""The lease's columns when there is none."""
