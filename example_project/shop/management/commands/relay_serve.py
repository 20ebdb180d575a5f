"""``manage.py relay_serve``: the example as a site to click through, with its worker and a customer's receiver."""

import json
import os
import signal
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from contextlib import ExitStack
from decimal import Decimal
from types import FrameType
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from django_relay import conf
from django_relay.models import Endpoint
from django_relay.portal import create_session
from django_relay.rules import signing
from example_project.demo import history
from example_project.demo.telling import Teller, wants_colour
from example_project.processes import Process
from example_project.shop.models import Invoice

TENANT = "acme"
LOGIN = "demo"
_ENDPOINT = "The receiver of relay_serve"
_SETTINGS = {
    "RELAY_RETRY_SCHEDULE": "2,5,10",
    "RELAY_PASS_SECONDS": "2",  # a qcluster stops when its passes end
    "RELAY_LOG_LEVEL": "INFO",
    "Q_LOG_LEVEL": "WARNING",
}


class Command(BaseCommand):
    """Run three processes until Ctrl-C, or until one of them ends."""

    help = "Run the example: the shop's site, its worker and a customer's receiver, until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the port."""
        parser.add_argument("--port", type=int, default=8000, help="port of the shop's site (%(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare the database, start, and wait."""
        colour = wants_colour(self.stdout, force=options["force_color"], never=options["no_color"])
        self.tell = Teller(self.stdout, colour=colour)
        self._printers: list[threading.Thread] = []
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)  # for the processes started from here
        call_command("migrate", verbosity=0, interactive=False)
        _fill()
        signal.signal(signal.SIGTERM, _terminated)
        try:
            with ExitStack() as processes:
                self._run(processes, options["port"])
        except KeyboardInterrupt:
            self.tell.say("\nStopped.")
        finally:
            for printer in self._printers:
                printer.join(timeout=5)

    def _run(self, processes: ExitStack, port: int) -> None:
        receiver = self._start_receiver(processes)
        worker = Process(
            "worker", "manage.py", "qcluster", environ={"Q_CLUSTER_NAME": str(conf.settings.Q_CLUSTER_NAME)}
        )
        site = Process("site", "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}")
        for process in (worker, site):
            processes.enter_context(process)
            self._print(process.name, process.lines())
        self.tell.say(f"\n  The shop      http://127.0.0.1:{port}/admin/  (user {LOGIN}, password {LOGIN})", "bold")
        self.tell.say("                Pay some: Shop > Invoices > select them > Pay the selected invoices")
        self.tell.say(f"\n  The portal    http://127.0.0.1:{port}{create_session(tenant_id=TENANT).url}", "bold")
        self.tell.say(f"                as {TENANT} sees it; once, within ten minutes. Another link:")
        self.tell.say(f"                {sys.executable} manage.py relay_portal_link --tenant {TENANT}")
        described = apps.is_installed("drf_spectacular")
        self.tell.say(
            f"\n  The API       http://127.0.0.1:{port}/webhooks/api/{'docs/' if described else 'v1/…'}", "bold"
        )
        if not described:
            self.tell.say("                its description needs: pip install 'django-relay[openapi]'")
        self.tell.say("                Call it as the customer's program:")
        self.tell.say(f"                KEY=$({sys.executable} manage.py relay_api_keys create --tenant {TENANT})")
        url = f"http://127.0.0.1:{port}/webhooks/api/v1/endpoints"
        self.tell.say(f"""                curl -H "Authorization: Bearer $KEY" {url}\n""")
        while all(process.running for process in (receiver, worker, site)):
            time.sleep(0.2)
        ended = next(process.name for process in (receiver, worker, site) if not process.running)
        raise CommandError(f"The {ended} has ended, so the others are stopped.")

    def _start_receiver(self, processes: ExitStack) -> Process:
        endpoint = Endpoint.objects.for_tenant(TENANT).filter(description=_ENDPOINT).first()
        secret = endpoint.secrets[0] if endpoint else signing.generate_secret()
        process = Process("receiver", "-m", "example_project.receiver", "--port", "0", "--secret", secret)
        processes.enter_context(process)
        lines = process.lines()
        url = json.loads(next(lines))["url"]
        if endpoint is None:
            Endpoint.objects.register(
                tenant_id=TENANT, url=url, event_types=["invoice.*"], description=_ENDPOINT, secret=secret
            )
        else:
            endpoint.enable()
            endpoint.url = url
            endpoint.save(update_fields=["url", "updated_at"])
        self.tell.say(f"\n  The customer  {url}  ({TENANT}; verifies, and says here what came in)", "bold")
        self.tell.say(f"""                Break it: curl -d '{{"answer": 500}}' {url}__control__""")
        self.tell.say(f"""                Mend it:  curl -d '{{"answer": 200}}' {url}__control__""")
        self._print("receiver", map(_as_words, lines))
        return process

    def _print(self, name: str, lines: Iterable[str]) -> None:
        """Print lines as they come, each with the name of who wrote it."""
        prefix = self.tell.styled(f"{name:>8} │", "name" if name == "receiver" else "dim")

        def run() -> None:
            for line in lines:
                self.tell.say(f"{prefix} {line}")

        thread = threading.Thread(target=run, name=f"print {name}", daemon=True)
        thread.start()
        self._printers.append(thread)


def _fill() -> None:
    """Make a user who may do everything, some invoices, and a past, unless they are there."""
    history.write()
    users = get_user_model()._default_manager
    if not users.filter(username=LOGIN).exists():
        users.create_superuser(LOGIN, password=LOGIN)
    if not Invoice.objects.exists():
        Invoice.objects.bulk_create(
            Invoice(customer=customer, number=f"2026-{number:03}", amount=Decimal(19 + 10 * number))
            for number, customer in enumerate([TENANT, TENANT, "globex"] * 4, start=1)
        )


def _as_words(line: str) -> str:
    """Return a receiver's record in words, and any other line as it is."""
    if not line.startswith("{"):
        return line
    record = json.loads(line)
    verified = "signature verified" if record["verified"] else "SIGNATURE WRONG"
    return f"{record['id']}  attempt {record['attempt']}  {verified}  answered {record['answer']}"


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
