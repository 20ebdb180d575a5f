"""``manage.py relay_sync_catalog``: write the declared event types to the database."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router

from django_relay.catalog import registry, sync
from django_relay.models import EventType


class Command(BaseCommand):
    """Do by hand what ``migrate`` does."""

    help = "Write the event types declared in webhooks.py to the database, as migrate does."

    def handle(self, *args: Any, **options: Any) -> None:
        """Sync, and say what changed.

        Raises:
            CommandError: a declaration is faulty; nothing is written.
        """
        faults = registry.faults()
        if faults:
            raise CommandError("\n".join(f"{fault.place}: {fault.message}" for fault in faults))
        counts = sync.sync(using=router.db_for_write(EventType))
        self.stdout.write(", ".join(f"{counts[change]} {change}" for change in ("created", "updated", "unchanged")))
