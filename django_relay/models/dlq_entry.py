"""DLQ entries: deliveries given up, kept with their reason until replayed, discarded or too old."""

from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField
from django_relay.models.delivery import Delivery
from django_relay.models.endpoint import Endpoint
from django_relay.models.event import Event


class DLQEntryQuerySet(models.QuerySet["DLQEntry"]):
    """Entries by what was done about them."""

    def open(self) -> Self:
        """Entries that nobody has replayed or discarded."""
        return self.filter(replayed_at__isnull=True, discarded_at__isnull=True)

    def in_state(self, state: str) -> Self:
        """Entries that are ``open``, ``replayed`` (and not discarded) or ``discarded``."""
        if state == "open":
            return self.open()
        if state == "replayed":
            return self.filter(replayed_at__isnull=False, discarded_at__isnull=True)
        return self.filter(discarded_at__isnull=False)


class DLQEntry(models.Model):
    """Why a delivery was given up. Its event is kept as long as the entry is."""

    id = PrefixedIdField("dlq_", primary_key=True)
    delivery = models.OneToOneField(
        Delivery,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="dlq_entry",
        verbose_name=_("delivery"),
    )
    event = models.ForeignKey(
        Event,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
        verbose_name=_("event"),
    )
    endpoint = models.ForeignKey(
        Endpoint,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        verbose_name=_("endpoint"),
    )
    event_type = models.CharField(_("event type"), max_length=128)
    tenant_id = models.CharField(_("tenant"), max_length=255, blank=True)
    url = models.CharField(_("URL"), max_length=2048)
    error = models.TextField(_("error"), blank=True)
    error_kind = models.CharField(_("error kind"), max_length=32, blank=True)
    attempt_count = models.PositiveSmallIntegerField(_("attempts"))
    last_status_code = models.PositiveSmallIntegerField(_("last status code"), null=True, blank=True)
    failed_at = models.DateTimeField(_("failed at"))
    replayed_at = models.DateTimeField(_("replayed at"), null=True, blank=True)
    replay_count = models.PositiveIntegerField(_("replays"), default=0)
    discarded_at = models.DateTimeField(_("discarded at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = DLQEntryQuerySet.as_manager()

    class Meta:
        verbose_name = _("DLQ entry")
        verbose_name_plural = _("DLQ entries")
        indexes = [
            models.Index(fields=["failed_at"], name="relay_dlq_entry_age"),
            models.Index(
                fields=["endpoint", "id"],
                condition=models.Q(replayed_at__isnull=True, discarded_at__isnull=True),
                name="relay_dlq_entry_open",
            ),
            models.Index(fields=["endpoint", "id"], name="relay_dlq_entry_endpoint"),
        ]

    def __str__(self) -> str:
        return str(self.id)
