"""Take the screenshots of the portal and the admin anew: ``python -m docs.screenshots``.

Six screens of the portal and the admin's dashboard, light and dark, and two more of the admin: of the example with its
past, in a Chromium on this machine; written to ``docs/images``.
"""

import os
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

FOLDER = Path(__file__).parent / "images"
PASSWORD = "screenshots"  # noqa: S105 - of a site that lives for a minute
SIZE = {"width": 1280, "height": 800}


def main() -> None:
    """Make a database, start the site, and go through the screens."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "DATABASE_URL": f"sqlite:///{folder}/screenshots.sqlite3",
            "DJANGO_SETTINGS_MODULE": "example_project.settings",
            "PYTHONUNBUFFERED": "1",
            "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
        }
        django.setup()
        _take(Path(folder))


def _take(folder: Path) -> None:
    from django.core.management import call_command
    from playwright.sync_api import sync_playwright

    from django_relay.portal import create_session
    from example_project.demo import history
    from example_project.processes import Process

    call_command("migrate", verbosity=0)
    history.write()
    _staff()
    screens, log = _screens(), folder / "site.log"
    FOLDER.mkdir(exist_ok=True)
    with (
        Process("site", "manage.py", "runserver", "--noreload", "127.0.0.1:8997", output=log),
        sync_playwright() as play,
    ):
        while "Quit the server" not in log.read_text():
            time.sleep(0.2)
        time.sleep(1)
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport=SIZE, color_scheme=scheme, locale="en-GB", timezone_id="Europe/Berlin"
            )
            page = context.new_page()
            page.goto("http://127.0.0.1:8997" + create_session(tenant_id="acme").url)
            page.wait_for_url("**/webhooks/")
            for name, path in screens.items():
                page.goto("http://127.0.0.1:8997/webhooks/" + path)
                page.wait_for_timeout(200)
                page.screenshot(path=FOLDER / f"portal-{name}-{scheme}.png")
            _take_admin(page, scheme)
            context.close()
        browser.close()


def _staff() -> None:
    """Make somebody to sign in as, and a worker that was just seen."""
    from django.contrib.auth.models import User
    from django.utils import timezone

    from django_relay.models import WorkerPresence

    seen = timezone.now() + timedelta(minutes=10)  # it is not there: nobody says again that it lives
    User.objects.create_superuser("ada", password=PASSWORD)
    WorkerPresence.objects.create(runner="process", state="working", hostname="worker-1", seen_at=seen)


def _take_admin(page: Any, scheme: str) -> None:
    admin = "http://127.0.0.1:8997/admin/django_relay/"
    page.goto(admin)
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(admin)
    for name, path in _admin_screens().items():
        if scheme == "light" or name == "dashboard":
            page.goto(admin + path)
            page.wait_for_timeout(200)
            page.screenshot(path=FOLDER / f"admin-{name}-{scheme}.png")


def _admin_screens() -> dict[str, str]:
    from django_relay.models import Endpoint

    crm = Endpoint.objects.get(tenant_id="acme", description="CRM")
    return {"dashboard": "", "endpoint": f"endpoint/{crm.pk}/change/", "dlq": "dlqentry/?state=open"}


def _screens() -> dict[str, str]:
    from django_relay.models import DLQEntry, Endpoint

    ids = {row.description: row.pk for row in Endpoint.objects.filter(tenant_id="acme")}
    entry = DLQEntry.objects.filter(endpoint_id=ids["CRM"]).order_by("-pk").first()
    return {
        "endpoints": "",
        "endpoint": f"endpoints/{ids['Books invoices into the ledger']}/?span=7d",
        "disabled": f"endpoints/{ids['Nightly reports']}/",
        "event": f"events/{entry.event_id if entry else ''}/",
        "catalog": "catalog/order.shipped/",
        "activity": "activity/?span=7d",
    }


if __name__ == "__main__":
    main()
