"""Applications: product surfaces of the host, each with its own catalog, endpoints and events."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.db import IntegrityError, models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.fields import PrefixedIdField
from django_relay.models import validation
from django_relay.rules import texts


class ApplicationQuerySet(models.QuerySet["Application"]):
    """Applications by slug."""

    def named(self, slug: str) -> "Application":
        """Return the application of that slug.

        Raises:
            UnknownApplication: there is none.
        """
        found = self.filter(slug=slug).first()
        if found is None:
            raise exceptions.UnknownApplication(f"There is no application {slug!r}.")
        return found

    def register(self, *, slug: str, name: str = "", metadata: Mapping[str, Any] | None = None) -> "Application":
        """Store a new application and return it.

        Raises:
            ValidationError: a field is wrong; by field.
            AlreadyExists: there is one of that slug.
        """
        using = self.select_for_update().db  # the one that is written to
        row = self.model(slug=slug, name=name or slug, metadata=metadata or {})
        row.full_clean({"metadata"}, validate_unique=False, validate_constraints=False)
        try:
            with transaction.atomic(using):
                row.save(using=using, force_insert=True)
        except IntegrityError as error:
            raise exceptions.AlreadyExists(f"There is an application {slug!r} already.") from error
        return row


class Application(models.Model):
    """One product surface. There is always ``default``; most projects need no other."""

    id = PrefixedIdField("app_", primary_key=True)
    slug = models.SlugField(_("slug"), max_length=64, unique=True)
    name = models.CharField(_("name"), max_length=200)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = ApplicationQuerySet.as_manager()

    class Meta:
        verbose_name = _("application")
        verbose_name_plural = _("applications")

    def __str__(self) -> str:
        return self.slug

    def clean(self) -> None:
        """Check what was chosen of the application.

        Raises:
            ValidationError: by field, with a stable code.
        """
        validation.apply(self, _RULES)

    def told(self) -> dict[str, Any]:
        """Return what an audit entry tells of it."""
        return {name: getattr(self, name) for name in ("slug", "name", "metadata")}


_RULES: validation.Rules = {
    "name": partial(texts.validate_text, code="bad_name"),
    "metadata": partial(texts.validate_json, code="bad_metadata"),
}
