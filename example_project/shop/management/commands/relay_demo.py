"""``manage.py relay_demo``: see the product work, with real processes, and have it checked."""

import signal
import sys
import time
from argparse import SUPPRESS, ArgumentParser
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from example_project.demo import stage
from example_project.demo.story import SABOTAGES, Story
from example_project.demo.telling import Teller, wants_colour


class Command(BaseCommand):
    """Tell the story; fail unless every event arrived exactly as it should."""

    help = (
        "Play the whole product in a few seconds: a fresh database, a django-q2 cluster and a customer's receiver as "
        "real processes; events delivered, retried, dead-lettered and replayed. Fails unless every event was received, "
        "verified, and exactly as often as it should be."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the choice of the database."""
        parser.add_argument("--postgres", action="store_true", help="play on a PostgreSQL of its own instead of SQLite")
        parser.add_argument("--sabotage", choices=SABOTAGES, default="", help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        """Play."""
        if not stage.is_set():
            stage.start_over_on_stage(postgres=options["postgres"])
        started = time.monotonic()
        tell = Teller(
            self.stdout, colour=wants_colour(self.stdout, force=options["force_color"], never=options["no_color"])
        )
        tell.say("\ndjango_relay: a shop sends webhooks, and its customer's receiver has a bad day\n", "bold")
        try:
            signal.signal(signal.SIGTERM, _terminated)
            with stage.cleared_away() as folder:
                faults = Story(tell, folder, sabotage=options["sabotage"]).play()
        except KeyboardInterrupt:
            tell.say("\nStopped; nothing is left behind.")
            sys.exit(130)
        if faults:
            tell.say("\n  ✗ Not as it should be:", "bad")
            for fault in faults:
                tell.say(f"    {fault}")
            sys.exit(1)
        tell.say(
            f"\n  ✓ Every event was received, verified, and exactly as often as it should be. "
            f"{time.monotonic() - started:.0f} s",
            "good",
        )
        tell.say("    See more: make serve\n")


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
