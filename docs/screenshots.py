"""Take the portal's screenshots anew: ``python -m docs.screenshots``.

Six screens, light and dark, of the example with its past, in a Chromium on this machine; written to ``docs/images``.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import django

FOLDER = Path(__file__).parent / "images"
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
            context.close()
        browser.close()


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
