"""Audit entries: who did what to which row, when and from where."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NoReturn, Self

from django.db import models
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.fields import PrefixedIdField

ACTIONS: Mapping[str, Promise] = MappingProxyType(
    {
        "api_key.created": _("API key made"),
        "api_key.revoked": _("API key revoked"),
        "application.created": _("Application added"),
        "application.updated": _("Application changed"),
        "delivery.cancelled": _("Delivery cancelled"),
        "delivery.retried": _("Delivery retried by hand"),
        "dlq_entry.discarded": _("DLQ entry discarded"),
        "dlq_entry.replayed": _("DLQ entry replayed"),
        "endpoint.created": _("Endpoint added"),
        "endpoint.deleted": _("Endpoint deleted"),
        "endpoint.disabled": _("Endpoint disabled"),
        "endpoint.enabled": _("Endpoint enabled"),
        "endpoint.secret_revealed": _("Signing secret shown"),
        "endpoint.secret_rotated": _("Signing secret rotated"),
        "endpoint.tested": _("Test event sent"),
        "endpoint.updated": _("Endpoint changed"),
        "event.replayed": _("Event sent again"),
        "event.sent": _("Event sent by hand"),
        "event_type.created": _("Event type added"),
        "event_type.deprecated": _("Event type deprecated"),
        "event_type.updated": _("Event type changed"),
        "portal_session.created": _("Portal link made"),
        "portal_session.revoked": _("Portal session revoked"),
        "portal_session.used": _("Portal link used"),
        "publish_failure.emitted": _("Failed event emitted again"),
        "replay.cancelled": _("Replay cancelled"),
        "replay.created": _("Replay started"),
        "tenant.erased": _("Tenant erased"),
    }
)
"""Every action there is an entry of, and what it is called."""


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    """Entries by owner, object and age. They cannot be changed or deleted through it."""

    def for_tenant(self, tenant_id: str, application: str = "default") -> Self:
        """Entries of what was done to one tenant's rows."""
        return self.filter(tenant_id=tenant_id, application=application)

    def of(self, row: models.Model) -> Self:
        """Entries of what was done to a row."""
        return self.filter(object_id=str(row.pk))

    def older_than(self, moment: datetime) -> Self:
        """Entries that retention may delete."""
        return self.filter(at__lt=moment)

    def update(self, **kwargs: Any) -> NoReturn:
        """Refuse.

        Raises:
            WrittenOnce: always.
        """
        raise exceptions.WrittenOnce("Audit entries are never changed.")

    def delete(self) -> NoReturn:
        """Refuse; upkeep alone deletes, by age.

        Raises:
            WrittenOnce: always.
        """
        raise exceptions.WrittenOnce("Audit entries are deleted by retention alone.")


class AuditEntry(models.Model):
    """One thing that somebody did. Written once, by :func:`django_relay.models.audit.record`.

    It names its objects by text, so that it outlives them.
    """

    id = PrefixedIdField("aud_", primary_key=True)
    actor = models.CharField(_("actor"), max_length=255)
    action = models.CharField(_("action"), max_length=64)
    object_type = models.CharField(_("object type"), max_length=64)
    object_id = models.CharField(_("object"), max_length=255)
    application = models.CharField(_("application"), max_length=64, blank=True, help_text=_("Its slug."))
    tenant_id = models.CharField(
        _("tenant"), max_length=255, null=True, blank=True, help_text=_("Empty for what belongs to no tenant.")
    )
    address = models.GenericIPAddressField(_("from address"), null=True, blank=True)
    changes = models.JSONField(_("changes"), default=dict, blank=True)
    at = models.DateTimeField(_("at"), default=timezone.now, editable=False)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        indexes = [
            models.Index(fields=["at"], name="relay_audit_entry_age"),
            models.Index(fields=["application", "tenant_id", "at"], name="relay_audit_entry_tenant"),
            models.Index(fields=["object_id", "at"], name="relay_audit_entry_object"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save a new entry.

        Raises:
            WrittenOnce: it was saved before.
        """
        if not self._state.adding:
            raise exceptions.WrittenOnce("Audit entries are never changed.")
        super().save(*args, **{**kwargs, "force_insert": True})

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse; upkeep alone deletes, by age.

        Raises:
            WrittenOnce: always.
        """
        raise exceptions.WrittenOnce("Audit entries are deleted by retention alone.")

    @property
    def description(self) -> str:
        """What the action is called."""
        return str(ACTIONS.get(self.action, self.action))
