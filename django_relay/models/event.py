"""Events: facts, stored once. The outbox is the events whose status is ``pending``."""

from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField
from django_relay.models.application import Application


class EventQuerySet(models.QuerySet["Event"]):
    """Events by state."""

    def pending(self) -> Self:
        """Events not yet fanned out: the outbox."""
        return self.filter(status=Event.Status.PENDING)


class Event(models.Model):
    """A fact. ``payload`` is the JSON text of its data, encoded once, so that the signed bytes never change."""

    class Status(models.TextChoices):
        """Where the event stands: ``pending`` → ``dispatched`` or ``no_match``."""

        PENDING = "pending", _("pending")
        DISPATCHED = "dispatched", _("dispatched")
        NO_MATCH = "no_match", _("no match")

    id = PrefixedIdField("evt_", primary_key=True)
    # No constraint: with one, every caller's transaction would lock the application's row until it ends, beside all
    # the others that emit just then.
    application = models.ForeignKey(
        Application,
        on_delete=models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
        verbose_name=_("application"),
    )
    tenant_id = models.CharField(_("tenant"), max_length=255, blank=True)
    event_type = models.CharField(_("event type"), max_length=128)
    schema_version = models.CharField(_("schema version"), max_length=64, blank=True)
    payload = models.TextField(_("payload"))
    attributes = models.JSONField(_("attributes"), default=dict, blank=True)
    idempotency_key = models.CharField(_("idempotency key"), max_length=255, blank=True)
    payload_hash = models.CharField(_("payload hash"), max_length=64)
    occurred_at = models.DateTimeField(_("occurred at"))
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.PENDING)
    dispatched_at = models.DateTimeField(_("dispatched at"), null=True, blank=True)
    matched_count = models.PositiveIntegerField(_("matched count"), null=True, blank=True)
    traceparent = models.CharField(_("traceparent"), max_length=64, blank=True)
    subject = models.CharField(_("subject"), max_length=255, blank=True)
    origin = models.CharField(_("origin"), max_length=255, blank=True)
    only_endpoint = models.ForeignKey(
        "Endpoint",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("only endpoint"),
    )

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        permissions = [("send_event", "Can send events")]
        indexes = [
            models.Index(fields=["id"], condition=models.Q(status="pending"), name="relay_event_outbox"),
            models.Index(fields=["created_at"], name="relay_event_age"),
            # Not by id alone: ids of deterministic_event_id() say nothing about time.
            models.Index(fields=["application", "tenant_id", "created_at", "id"], name="relay_event_list"),
        ]
        constraints = [
            # The key stands first: so it is also the index by which staff find the events of a key.
            models.UniqueConstraint(
                fields=["idempotency_key", "application", "tenant_id"],
                condition=~models.Q(idempotency_key=""),
                name="relay_event_idempotency",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)
