"""``manage.py relay_api_keys``: make, list and revoke API keys."""

import json
import re
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from django_relay import exceptions
from django_relay.models import ApiKey
from django_relay.rules import access, texts, tokens
from django_relay.rules.access import Caller

CALLER = Caller("command:relay_api_keys", frozenset(access.SCOPES))

_LIFE = re.compile(r"([1-9][0-9]{0,4})([hdw])", re.ASCII)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Command(BaseCommand):
    """Make, list and revoke the keys that programs call the API with."""

    help = "Make, list and revoke API keys. A new key is printed alone on stdout, this once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the three actions."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="create | list | revoke")
        create = actions.add_parser("create", help="make a key and print it")
        owner = create.add_mutually_exclusive_group(required=True)
        owner.add_argument("--tenant", metavar="ID", help="the tenant whose key it is")
        owner.add_argument("--operator", action="store_true", help="make a key for all tenants")
        create.add_argument("--application", default="default", metavar="SLUG", help="the tenant's application")
        create.add_argument(
            "--scopes", default="read", metavar="A,B", help=f"of {', '.join(access.KEY_SCOPES)}; default read"
        )
        create.add_argument("--name", default="", help="what the key is for")
        create.add_argument("--expires", metavar="30d", help="its life in hours, days or weeks; default for ever")
        show = actions.add_parser("list", help="show the keys; never their tokens")
        show.add_argument("--tenant", metavar="ID", help="of this tenant alone")
        show.add_argument("--format", choices=("table", "json"), default="table")
        revoke = actions.add_parser("revoke", help="end a key from the next request on")
        revoke.add_argument("key", help="its id (key_…), its prefix (rlk_…), or the whole key if it has leaked")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what was asked for.

        Raises:
            CommandError: it cannot be done; nothing was written.
        """
        {"create": self._create, "list": self._list, "revoke": self._revoke}[options["action"]](options)

    def _create(self, options: dict[str, Any]) -> None:
        now = timezone.now()
        life = _life(options["expires"])
        try:
            key, token = ApiKey.objects.issue(
                tenant_id=options["tenant"],
                operator=options["operator"],
                application=options["application"],
                scopes=[scope.strip() for scope in options["scopes"].split(",")],
                name=options["name"],
                expires_at=now + life if life else None,
                caller=CALLER,
                now=now,
            )
        except ValidationError as error:
            raise CommandError("\n".join(error.messages)) from error
        except exceptions.RelayError as error:
            raise CommandError(str(error)) from error
        told = _told(key, now)
        owner = _printable(told["owner"])
        self.stderr.write(f"{key.pk}, for {owner}: {', '.join(key.scopes)}; expires: {told['expires_at']}.")
        self.stderr.write("Keep it now: it is shown this once.")
        self.stdout.write(token)

    def _list(self, options: dict[str, Any]) -> None:
        keys = ApiKey.objects.select_related("application").order_by("created_at", "pk")
        if options["tenant"] is not None:
            keys = keys.filter(application__isnull=False, tenant_id=options["tenant"])
        rows = [_told(key, timezone.now()) for key in keys]
        if options["format"] == "json":
            self.stdout.write(json.dumps(rows, indent=2))
            return
        columns = list(_told(ApiKey(scopes=[]), timezone.now()))
        table = [columns, *([_printable(value) for value in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for line in table:
            self.stdout.write("  ".join(map(str.ljust, line, widths)).rstrip())

    def _revoke(self, options: dict[str, Any]) -> None:
        given = options["key"]
        public = tokens.public_part(given, kind=tokens.API_KEY)
        prefix = f"{tokens.API_KEY}{public}" if public else given
        by = {"pk": given} if given.startswith("key_") else {"prefix": prefix}
        try:
            key = ApiKey.objects.filter(**by).first() if texts.is_storable(given) else None
        except ValidationError:  # no id
            key = None
        if key is None:
            raise CommandError("There is no such key: give its id (key_…) or its prefix (rlk_…); “list” shows both.")
        done = "is revoked" if key.revoke(caller=CALLER) else "was revoked already"
        self.stderr.write(f"{key.pk} {key.prefix} {done}.")


def _told(key: ApiKey, now: datetime) -> dict[str, Any]:
    owner = f"{key.application.slug}/{key.tenant_id}" if key.application else "operator"
    state = "live" if key.is_live(now) else "revoked" if key.revoked_at else "expired"
    return {
        "id": key.pk,
        "prefix": key.prefix,
        "owner": owner,
        "scopes": key.scopes,
        "name": key.name,
        "state": state,
        "created_at": _when(key.created_at),
        "expires_at": _when(key.expires_at),
        "last_used_at": _when(key.last_used_at),
    }


def _printable(value: Any) -> str:
    """Return one line of a terminal: what a tenant is called must not steer it."""
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _when(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%MZ") if moment else "never"


def _life(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = _LIFE.fullmatch(text)
    if match is None:
        raise CommandError("--expires takes hours, days or weeks: 12h, 30d, 52w.")
    return int(match[1]) * _UNITS[match[2]]
