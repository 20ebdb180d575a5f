"""Replays: events sent again in bulk, by the workers, in chunks; each row is one request for that and its progress.

::

    start ──▶ pending ──first chunk──▶ running ──last chunk──▶ completed
                 └─────────┬──────────────┘
                           └──cancel──▶ cancelled

What a kind matches, for each endpoint, is said in ``pipeline.matching``. A chunk and its cursor commit together, so
that a worker that dies repeats nothing and leaves nothing out.
"""

from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField
from django_relay.models.application import Application
from django_relay.models.endpoint import Endpoint


class ReplayQuerySet(models.QuerySet["Replay"]):
    """Replays by state and owner."""

    def in_progress(self) -> Self:
        """Replays that are neither completed nor cancelled."""
        return self.filter(state__in=[Replay.State.PENDING, Replay.State.RUNNING])

    def for_tenant(self, tenant_id: str, application: str = "default") -> Self:
        """Replays of one tenant."""
        return self.filter(tenant_id=tenant_id, application__slug=application)


class Replay(models.Model):
    """A durable bulk replay: what is to be sent again, to whom, and how far that has come."""

    class Kind(models.TextChoices):
        """What is done, and with what."""

        FAILED = "failed", _("recover what failed")
        MISSING = "missing", _("replay what is missing")
        ALL = "all", _("replay everything")
        EVENT = "event", _("send one event again")
        DISCARD = "discard", _("discard DLQ entries")

    class State(models.TextChoices):
        """Where the replay stands."""

        PENDING = "pending", _("pending")
        RUNNING = "running", _("running")
        COMPLETED = "completed", _("completed")
        CANCELLED = "cancelled", _("cancelled")

    id = PrefixedIdField("rpl_", primary_key=True)
    application = models.ForeignKey(
        Application, on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("application")
    )
    tenant_id = models.CharField(_("tenant"), max_length=255, blank=True)
    endpoint = models.ForeignKey(
        Endpoint,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("endpoint"),
        help_text=_("Empty is more than one of the tenant's."),
    )
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    filter = models.JSONField(
        _("filter"),
        default=dict,
        blank=True,
        help_text=_("since, until (ISO 8601), event_types (patterns), ids, endpoint_ids: what was asked for."),
    )
    state = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.PENDING)
    cursor = models.JSONField(
        _("cursor"),
        default=list,
        blank=True,
        editable=False,
        help_text=_("The endpoints that are left, each with the place that was reached, in the order of their turns."),
    )
    total_count = models.PositiveIntegerField(_("total"), default=0, help_text=_("What matched at the start."))
    done_count = models.PositiveIntegerField(
        _("done"), default=0, help_text=_("New deliveries made; for a discard, entries discarded.")
    )
    skipped = models.JSONField(_("skipped"), default=dict, blank=True, help_text=_("Counts by reason."))
    requested_by = models.CharField(_("requested by"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), default=timezone.now, editable=False)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed at"), null=True, blank=True)

    objects = ReplayQuerySet.as_manager()

    class Meta:
        verbose_name = _("replay")
        verbose_name_plural = _("replays")
        indexes = [
            models.Index(
                fields=["application", "tenant_id"],
                condition=models.Q(state__in=["pending", "running"]),
                name="relay_replay_in_progress",
            ),
            models.Index(fields=["application", "tenant_id", "id"], name="relay_replay_owner"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["pending", "running"], completed_at__isnull=True)
                | models.Q(state__in=["completed", "cancelled"], completed_at__isnull=False),
                name="relay_replay_completed_once_ended",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def skipped_count(self) -> int:
        """How many matches were passed over; ``skipped`` says why."""
        return sum(self.skipped.values())

    @property
    def is_in_progress(self) -> bool:
        """Whether workers still have something to do for it."""
        return self.state in (self.State.PENDING, self.State.RUNNING)
