"""Event types as stored: what code declared or a program registered, and whether it still takes events."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.fields import PrefixedIdField
from django_relay.models.application import Application
from django_relay.rules import event_names


class EventType(models.Model):
    """A named, declared kind of event of one application."""

    id = PrefixedIdField("evtype_", primary_key=True)
    application = models.ForeignKey(
        Application,
        on_delete=models.CASCADE,
        related_name="event_types",
        verbose_name=_("application"),
    )
    name = models.CharField(_("name"), max_length=128)
    description = models.TextField(_("description"), blank=True)
    group = models.CharField(_("group"), max_length=128, blank=True)
    schema = models.JSONField(_("schema"), null=True, blank=True)
    schema_version = models.CharField(_("schema version"), max_length=64, blank=True)
    version = models.CharField(_("version"), max_length=64, blank=True)
    example = models.JSONField(_("example"), null=True, blank=True)
    deprecated = models.BooleanField(_("deprecated"), default=False)
    deprecated_at = models.DateTimeField(_("deprecated at"), null=True, blank=True)
    replaced_by = models.CharField(_("replaced by"), max_length=128, blank=True)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("event type")
        verbose_name_plural = _("event types")
        constraints = [
            models.UniqueConstraint(fields=["application", "name"], name="relay_event_type_unique_name"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Check the name.

        Raises:
            ValidationError: it is no event type's name, or a reserved one.
        """
        try:
            event_names.validate_own_name(self.name)
        except exceptions.InvalidEventName as error:
            raise ValidationError({"name": ValidationError(str(error), code=error.code)}) from error

    def told(self) -> dict[str, Any]:
        """Return what an audit entry tells of it."""
        return {name: getattr(self, name) for name in ("name", *DEFINITION_FIELDS, "deprecated")}

    def deprecate(self, *, replaced_by: str = "") -> None:
        """Refuse new events of this type from now on; deliveries under way go on."""
        self.deprecated = True
        self.deprecated_at = timezone.now()
        self.replaced_by = replaced_by or self.replaced_by
        self.save(update_fields=["deprecated", "deprecated_at", "replaced_by", "updated_at"])


DEFINITION_FIELDS = (
    "description", "group", "schema", "schema_version", "version", "example", "replaced_by", "metadata",
)  # fmt: skip
"""What a declaration says of an event type, besides its application and name."""
