"""Signing secrets: several may be live at once, and every live one signs."""

from datetime import datetime
from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay.fields import EncryptedField, PrefixedIdField
from django_relay.rules import signing


class SigningSecretQuerySet(models.QuerySet["SigningSecret"]):
    """Secrets by age."""

    def expired(self, now: datetime) -> Self:
        """Secrets that sign no more and may be destroyed."""
        return self.filter(expires_at__lte=now)


class SigningSecret(models.Model):
    """One secret of an endpoint: ``whsec_…`` (v1, HMAC-SHA256) or ``whsk_…`` (v1a, Ed25519), encrypted at rest."""

    class Scheme(models.TextChoices):
        """The Standard Webhooks signature version that the secret makes."""

        V1 = "v1", "v1 (HMAC-SHA256)"
        V1A = "v1a", "v1a (Ed25519)"

    id = PrefixedIdField("sec_", primary_key=True)
    endpoint = models.ForeignKey(
        "Endpoint",
        on_delete=models.CASCADE,
        related_name="signing_secrets",
        verbose_name=_("endpoint"),
    )
    key = EncryptedField(_("key"))
    scheme = models.CharField(_("scheme"), max_length=8, choices=Scheme.choices, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(
        _("expires at"), null=True, blank=True, help_text=_("Empty is the current secret.")
    )

    objects = SigningSecretQuerySet.as_manager()

    class Meta:
        verbose_name = _("signing secret")
        verbose_name_plural = _("signing secrets")
        permissions = [("reveal_secret", "Can see and rotate signing secrets")]

    def __str__(self) -> str:
        return str(self.id)

    def save(self, **kwargs: object) -> None:
        """Save the secret, its scheme taken from the key itself."""
        if self._state.adding:
            self.scheme = signing.scheme_of(self.key)
        super().save(**kwargs)  # type: ignore[arg-type]

    def is_live(self, now: datetime) -> bool:
        """Return whether this secret signs at ``now``."""
        return self.expires_at is None or self.expires_at > now
