"""Applications: product surfaces of the host, each with its own catalog, endpoints and events."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.fields import PrefixedIdField


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
