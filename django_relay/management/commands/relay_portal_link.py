"""``manage.py relay_portal_link``: let a person into a tenant's portal."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from django_relay import exceptions
from django_relay.portal import links
from django_relay.rules import access
from django_relay.rules.access import Caller

CALLER = Caller("command:relay_portal_link", frozenset(access.SCOPES))


class Command(BaseCommand):
    """Make a portal session and print its one-time URL, alone on stdout."""

    help = "Make a link to a tenant's portal and print it. It works once, and for ten minutes at most."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add whose portal, and what may be done there."""
        parser.add_argument("--tenant", required=True, metavar="ID", help="whose portal")
        parser.add_argument("--application", default="default", metavar="SLUG", help="the tenant's application")
        parser.add_argument(
            "--capabilities",
            default=",".join(access.CAPABILITIES),
            metavar="A,B",
            help=f"of {', '.join(access.CAPABILITIES)}; default all",
        )
        parser.add_argument("--return-url", default="", metavar="URL", help="where people go from the portal")
        parser.add_argument("--expires-in", type=int, metavar="SECONDS", help="the life of the session, from now")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the URL.

        Raises:
            CommandError: something that was asked for is wrong; no session was made.
        """
        try:
            link = links.create_session(
                tenant_id=options["tenant"],
                application=options["application"],
                capabilities=[each.strip() for each in options["capabilities"].split(",")],
                return_url=options["return_url"],
                expires_in_seconds=options["expires_in"],
                caller=CALLER,
            )
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        except exceptions.RelayError as error:
            raise CommandError(str(error)) from error
        if link.url.startswith("/"):
            self.stderr.write("A path: put scheme and host before it, or set DJANGO_RELAY['PORTAL']['ORIGIN'].")
        self.stdout.write(link.url)
