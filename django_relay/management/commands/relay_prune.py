"""``manage.py relay_prune``: apply retention now."""

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand
from django.db import router
from django.utils import timezone

from django_relay.models import Event
from django_relay.pipeline import upkeep


class Command(BaseCommand):
    """Do all chores of upkeep until nothing is left; can be stopped and started again at any time."""

    help = (
        "Delete what retention no longer keeps, destroy expired secrets and cancel stranded deliveries, in short "
        "batches. Never deletes an event or a delivery that is pending or in the DLQ. Can be interrupted at any time."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Work batch by batch, showing the count on a terminal."""
        totals: Counter[str] = Counter()
        shows_progress = self.stderr.isatty()
        for name, touched in upkeep.tidy_all(now=timezone.now(), using=router.db_for_write(Event)):
            totals[name] += touched
            if shows_progress:
                self.stderr.write(f"\r{name}: {totals[name]}", ending="")
        if shows_progress:
            self.stderr.write("")
        for name in upkeep.CHORES:
            self.stdout.write(f"{totals[name]:>8} {name}")
