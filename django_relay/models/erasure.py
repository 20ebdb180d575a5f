"""Erasures: all that is stored of a tenant is deleted by the workers, in chunks; each row is one request for that."""

from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField
from django_relay.models.application import Application


class ErasureQuerySet(models.QuerySet["Erasure"]):
    """Erasures by state."""

    def in_progress(self) -> Self:
        """Erasures that are not completed."""
        return self.exclude(state=Erasure.State.COMPLETED)


class Erasure(models.Model):
    """What is left of an erased tenant: that it was asked for, by whom, and how many rows of each kind are gone."""

    class State(models.TextChoices):
        """Where the erasure stands; it cannot be cancelled."""

        PENDING = "pending", _("pending")
        RUNNING = "running", _("running")
        COMPLETED = "completed", _("completed")

    id = PrefixedIdField("era_", primary_key=True)
    application = models.ForeignKey(
        Application, on_delete=models.PROTECT, related_name="+", verbose_name=_("application")
    )
    tenant_id = models.CharField(_("tenant"), max_length=255, blank=True)
    state = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.PENDING)
    stage = models.CharField(_("stage"), max_length=32, blank=True, help_text=_("What is being deleted now."))
    after = models.CharField(_("after"), max_length=64, blank=True, editable=False)
    deleted = models.JSONField(_("deleted"), default=dict, blank=True, help_text=_("Counts by what was deleted."))
    requested_by = models.CharField(_("requested by"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), default=timezone.now, editable=False)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed at"), null=True, blank=True)

    objects = ErasureQuerySet.as_manager()

    class Meta:
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures")
        constraints = [
            models.UniqueConstraint(
                fields=["application", "tenant_id"],
                condition=~models.Q(state="completed"),
                name="relay_erasure_one_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)
