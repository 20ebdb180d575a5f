"""A real Chromium, and the portal as a site of its own beside a worker and a receiver."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from django_relay.portal import create_session
from tests.processes import Stage, _staged, _templates, wait_until

__all__ = ["_templates"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
]
PORTAL = "/webhooks/"


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    # Playwright runs an event loop in this thread; our queries between its calls are no danger to it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as found:
        yield found
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.fail(
            "The browser tests need Chromium: apt-get install -y chromium, or set CHROMIUM=/path/to/it. "
            "To leave them out: -m 'not process' or --ignore=tests/browser."
        )
    browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
    yield browser
    browser.close()


class Site:
    """The host's site, and what browsers said of it."""

    def __init__(self, stage: Stage, *, certificate: str = "", port: int = 0, **relay: object) -> None:
        self.stage = stage
        self.hosts = ["127.0.0.1"]
        self.process = stage._start(
            "site", ["-m", "tests.browser.site", str(port), *filter(None, [certificate])], relay
        )
        wait_until(lambda: "\n" in self.process.output, 20, "the site is there")
        self.port = int(self.process.output.split()[0])
        self.scheme = "https" if certificate else "http"
        self.complaints: list[str] = []

    def address(self, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}"

    def link(self, host: str = "127.0.0.1", **values: object) -> str:
        return self.address(host) + create_session(**{"tenant_id": "acme", **values}).url

    def stop(self) -> int:
        """End the site; return the port that it had."""
        self.process.kill()
        return self.port

    def failures(self) -> str:
        """Return what the site wrote about requests that failed in it, and the last that it wrote."""
        lines = self.process.output.splitlines()
        failed = [number for number, line in enumerate(lines) if '" 5' in line or line.startswith("Traceback")]
        shown = {number for each in failed for number in range(each - 5, each + 60)}
        return "\n".join(line for number, line in enumerate(lines) if number in shown or number > len(lines) - 20)

    def complaints_from(self, *hosts: str) -> None:
        """Say which hosts pages may ask."""
        self.hosts = list(hosts)

    def watch(self, page: Page) -> None:
        """Note what a page should not do: errors, CSP reports, requests to elsewhere, tokens in addresses."""

        def note(text: str) -> None:
            if "the server responded with a status of 4" not in text:  # a refusal is no fault
                self.complaints.append(text)

        def requested(request) -> None:
            own = request.url.startswith(tuple(map(self.address, self.hosts)))
            if not own or "rls_" in request.url or "rlp_" in request.url.partition("#")[0]:
                note(f"request {request.url}")
            if "rlp_" in request.headers.get("referer", ""):
                note("a token in a Referer")

        page.on("console", lambda message: note(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: note(str(error)))
        page.on("request", requested)


@pytest.fixture
def staged(_templates, django_db_blocker) -> Iterator[Stage]:
    """A stage on SQLite: what the database is makes no difference to a browser."""
    with django_db_blocker.unblock(), _staged("sqlite", _templates("sqlite")) as found:
        yield found


@pytest.fixture
def site(staged: Stage) -> Site:
    return Site(staged)


@contextmanager
def browsing(chromium: Browser, site: Site, **options) -> Iterator[Page]:
    """Give a page in a browser of its own, and fail if the portal did there what it should not."""
    context = chromium.new_context(ignore_https_errors=True, **{"locale": "en-GB", **options})
    context.set_default_timeout(10_000)
    page = context.new_page()
    site.watch(page)
    try:
        yield page
        assert site.complaints == [], site.failures()
        assert "rlp_" not in site.process.output
        assert "rls_" not in site.process.output
    finally:
        context.close()


@pytest.fixture
def certificate(tmp_path) -> str:
    made = trustme.CA().issue_cert("portal.shop.test", "app.customer.test", "app.stranger.test")
    path = tmp_path / "site.pem"
    made.private_key_and_cert_chain_pem.write_to_path(path)
    return str(path)
