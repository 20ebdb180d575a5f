"""Publish failures: what ``emit_best_effort`` could not store, kept so that it can be emitted again."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField


class PublishFailure(models.Model):
    """One event that could not be stored, with its arguments as JSON (or as ``repr`` when they are no JSON)."""

    id = PrefixedIdField("pub_", primary_key=True)
    event_type = models.CharField(_("event type"), max_length=255, blank=True)
    tenant_id = models.CharField(_("tenant"), max_length=255, blank=True)
    arguments = models.JSONField(_("arguments"))
    error = models.TextField(_("error"))
    caller = models.CharField(_("caller"), max_length=500, blank=True)
    emitted_at = models.DateTimeField(_("emitted at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("publish failure")
        verbose_name_plural = _("publish failures")
        indexes = [models.Index(fields=["created_at"], name="relay_publish_failure_age")]

    def __str__(self) -> str:
        return str(self.id)
