"""``manage.py relay_emit_failures``: emit again what could not be stored."""

from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, router

from django_relay import exceptions
from django_relay.models import PublishFailure
from django_relay.pipeline import outbox, publish_failures


class Command(BaseCommand):
    """Go through the kept failures, oldest first; each is emitted at most once, whoever else runs this meanwhile."""

    help = (
        "Emit again the events that could not be stored (publish failures), oldest first. What fails again stays, with "
        "its reason shown. Can be interrupted at any time and run by several at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add what to leave alone, and where to work."""
        parser.add_argument("--dry-run", action="store_true", help="only say what would be emitted")
        parser.add_argument("--event-type", help="only failures of this event type")
        parser.add_argument("--database", help="the database alias; default the one that failures are written to")

    def handle(self, *args: Any, **options: Any) -> None:
        """Emit one by one, showing the count on a terminal."""
        using = options["database"] or router.db_for_write(PublishFailure)
        found = PublishFailure.objects.using(using).filter(emitted_at__isnull=True).order_by("created_at", "pk")
        if options["event_type"]:
            found = found.filter(event_type=options["event_type"])
        total, counts = found.count(), Counter[str]()
        for number, failure in enumerate(found.iterator(chunk_size=500), start=1):
            counts[self._emit(failure, using=using, dry_run=options["dry_run"])] += 1
            if self.stderr.isatty():
                self.stderr.write(f"\r{number}/{total}", ending="")
        if total and self.stderr.isatty():
            self.stderr.write("")
        emitted = "would be emitted" if options["dry_run"] else "emitted"
        self.stdout.write(
            f"{counts['emitted']} {emitted}, {counts['failed']} failed, {counts['passed over']} passed over"
        )

    def _emit(self, failure: PublishFailure, *, using: str, dry_run: bool) -> str:
        try:
            if dry_run:
                publish_failures.arguments_of(failure)
                return "emitted"
            return "emitted" if outbox.emit_again(failure, using=using) else "passed over"
        except (exceptions.RelayError, DatabaseError, TypeError) as error:
            self.stderr.write(f"{failure.pk} {failure.event_type}: {error}")
            return "failed"
