"""Connects what must be connected when Django starts; touches no database."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class RelayConfig(AppConfig):
    """The Django app."""

    name = "django_relay"
    label = "django_relay"
    verbose_name = _("Webhooks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Load the declarations of every app's ``webhooks.py`` and connect receivers."""
        from django_relay import checks, runners  # noqa: PLC0415 - models must be loaded first
        from django_relay.catalog import lookup, sync  # noqa: PLC0415
        from django_relay.sources import model_signals  # noqa: PLC0415

        autodiscover_modules("webhooks")
        model_signals.connect()
        checks.register()
        lookup.connect()
        post_migrate.connect(sync.after_migrate, sender=self, dispatch_uid="django_relay.sync")
        runners.connect()
