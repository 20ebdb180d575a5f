"""Attempts: one HTTP request of a delivery, written once."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField
from django_relay.models.delivery import Delivery
from django_relay.models.endpoint import Endpoint


class Attempt(models.Model):
    """What was sent and what came back.

    Two rows may bear one number: when a worker lost its lease, the one that took over records an attempt of kind
    ``unknown``, and the first still records what it saw if it comes back.
    """

    class Trigger(models.TextChoices):
        """What made the delivery."""

        AUTOMATIC = "automatic", _("automatic")
        REPLAY = "replay", _("replay")
        TEST = "test", _("test")

    id = PrefixedIdField("att_", primary_key=True)
    delivery = models.ForeignKey(
        Delivery,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="attempts",
        verbose_name=_("delivery"),
    )
    endpoint = models.ForeignKey(
        Endpoint,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
        verbose_name=_("endpoint"),
    )
    number = models.PositiveSmallIntegerField(_("number"))
    trigger = models.CharField(_("trigger"), max_length=16, choices=Trigger.choices)
    started_at = models.DateTimeField(_("started at"))
    duration_ms = models.PositiveIntegerField(_("duration"))
    status_code = models.PositiveSmallIntegerField(_("status code"), null=True, blank=True)
    error_kind = models.CharField(_("error kind"), max_length=32, blank=True)
    error = models.TextField(_("error"), blank=True)
    request_headers = models.JSONField(_("request headers"), default=list)
    response_headers = models.JSONField(_("response headers"), default=list)
    response_body = models.TextField(_("response body"), blank=True)
    remote_address = models.CharField(_("remote address"), max_length=64, blank=True)
    next_attempt_at = models.DateTimeField(_("next attempt at"), null=True, blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        indexes = [
            models.Index(fields=["delivery", "number"], name="relay_attempt_of_delivery"),
            models.Index(fields=["started_at"], name="relay_attempt_age"),
            models.Index(fields=["endpoint", "id"], name="relay_attempt_list"),
        ]

    def __str__(self) -> str:
        return str(self.id)
