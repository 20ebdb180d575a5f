"""``manage.py relay_worker``: deliver webhooks in this process."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router

from django_relay import exceptions
from django_relay.models import Event
from django_relay.runners import process


class Command(BaseCommand):
    """Run the worker loop; SIGTERM and SIGINT end it without loss."""

    help = (
        "Deliver webhooks in this process until SIGTERM or SIGINT: then nothing more is claimed, what is in flight is "
        "finished, and what had not begun is given back."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the ways to end by itself, and where to work."""
        parser.add_argument("--for", dest="seconds", type=float, help="end after this many seconds")
        parser.add_argument("--database", help="the database alias; default the one that events are written to")
        parser.add_argument("--until-idle", action="store_true", help="end as soon as nothing is due")

    def handle(self, *args: Any, **options: Any) -> None:
        """Work.

        Raises:
            CommandError: the configuration does not allow it.
        """
        using = options["database"] or router.db_for_write(Event)
        self.stderr.write(f"Delivering what is due in the database {using!r}; stop with Ctrl-C or SIGTERM.")
        try:
            process.run(using=using, seconds=options["seconds"], until_idle=options["until_idle"])
        except exceptions.RelayConfigurationError as error:
            raise CommandError(str(error)) from error
