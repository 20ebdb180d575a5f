"""The whole story of staff, in the Django admin: see what is wrong, look at it as the customer does, mend it."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from django_relay.models import ApiKey, AuditEntry, Delivery, DLQEntry, PortalSession, Replay
from example_project.demo import history
from tests.browser.conftest import browsing
from tests.processes import wait_until

pytestmark = pytest.mark.process

ADMIN = "/admin/django_relay/"
ENTRIES = 500


@pytest.fixture
def boss(site):
    # As the site's process hashes it, which has the example's settings and not those of the tests.
    hashed = PBKDF2PasswordHasher().encode("secret", "salt", iterations=10)
    return User.objects.create(username="boss", password=hashed, is_staff=True, is_superuser=True)


def sign_in(page: Page, site) -> None:
    page.goto(site.address() + ADMIN)
    page.get_by_label("Username").fill("boss")
    page.get_by_label("Password").fill("secret")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(site.address() + ADMIN)


def test_staff_mend_what_broke(chromium, site, boss):
    stage = site.stage
    endpoint = stage.endpoint("/hooks")
    stage.receiver.answer("/hooks", 500)
    stage.worker(schedule="0.1")
    stage.emit(ENTRIES)
    wait_until(lambda: DLQEntry.objects.count() == ENTRIES, 90, "all are given up")
    with browsing(chromium, site, viewport={"width": 1280, "height": 900}) as page:
        sign_in(page, site)

        # The dashboard says what is wrong, and leads there.
        expect(page.get_by_role("link", name=re.compile(r"Open in the DLQ 500"))).to_be_visible()
        expect(page.get_by_role("link", name=re.compile(r"Workers alive 1"))).to_be_visible()
        page.get_by_role("table", name="Most failing endpoints").get_by_role("link").first.click()
        expect(page.get_by_role("heading", name="Change endpoint")).to_be_visible()
        expect(page.get_by_text("failing", exact=True).first).to_be_visible()
        endpoint_page = page.url

        # Look at it as the customer does, and change nothing there.
        page.get_by_role("link", name="Open the portal as this tenant").click()
        page.get_by_role("button", name="Open the portal").click()
        page.wait_for_url("**/webhooks/")
        expect(page.get_by_role("link", name=endpoint.url).first).to_be_visible()
        expect(page.get_by_text("You are looking at the portal of acme as staff.")).to_be_visible()
        expect(page.get_by_role("link", name="Add endpoint")).to_be_disabled()
        session = PortalSession.objects.get()
        assert session.opened_as_staff
        assert session.capabilities == ["view"]

        # The receiver is mended: a test shows it.
        stage.receiver.answer("/hooks", 200)
        page.goto(endpoint_page)
        page.get_by_role("link", name="Send a test").click()
        page.get_by_label("Event type").select_option("invoice.paid")
        page.get_by_role("button", name="Send a test").click()
        expect(page.get_by_role("table", name="Why it was matched, or not")).to_be_visible()
        wait_until(lambda: Delivery.objects.filter(state="delivered").count() == 1, 20, "the test arrives")

        # Everything that was given up is sent again, once that is confirmed.
        page.goto(site.address() + ADMIN)
        page.get_by_role("link", name=re.compile("Open in the DLQ")).click()
        page.get_by_role("link", name="Send all of these again…").click()
        expect(page.get_by_text("500 open entries of one tenant.")).to_be_visible()
        page.get_by_role("button", name="Send again: 500").click()
        expect(page.get_by_role("heading", name="View replay")).to_be_visible()
        expect(page.locator("#relay-progress").get_by_text("completed")).to_be_visible(timeout=60_000)
        expect(page.locator("#relay-progress")).to_contain_text("500 of 500")
        wait_until(lambda: Delivery.objects.filter(state="delivered").count() == ENTRIES + 1, 60, "all arrive")
        assert Replay.objects.get().requested_by == f"staff:{boss.pk}"

        # A key is made, shown once, and revoked.
        page.goto(site.address() + ADMIN)
        page.get_by_role("link", name="API keys").click()
        page.get_by_role("link", name="Add API key").click()
        page.get_by_role("textbox", name="Tenant").fill("acme")
        page.get_by_role("button", name="Make the key").click()
        token = page.locator(".relay-shown code").inner_text()
        page.get_by_role("link", name="Go on").click()
        expect(page.get_by_text("live", exact=True)).to_be_visible()
        assert token not in page.content()
        page.get_by_role("link", name="Revoke").click()
        page.get_by_role("button", name="Revoke").click()
        expect(page.get_by_text("revoked", exact=True)).to_be_visible()
        assert ApiKey.objects.get().revoked_at is not None
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert actions == {
        "portal_session.created", "portal_session.used", "endpoint.tested", "replay.created", "api_key.created",
        "api_key.revoked",
    }  # fmt: skip
    assert token not in site.process.output


SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1280, "height": 900}}
PLAIN = (
    "/admin/auth/",
    "/admin/auth/user/",
    "/admin/auth/user/add/",
    "/admin/shop/invoice/",
    "/admin/auth/user/1/change/",
)


def pages() -> list[str]:
    """Return the paths of the admin's own pages, of an example that has a past."""
    entry = DLQEntry.objects.select_related("delivery").first()
    return [
        "", "endpoint/tenants/", "delivery/", "dlqentry/?state=open", "auditentry/", "endpoint/add/",
        f"endpoint/{entry.endpoint_id}/change/", f"endpoint/{entry.endpoint_id}/do/rotate/",
        f"event/{entry.event_id}/change/", f"delivery/{entry.delivery_id}/change/", "dlqentry/all/discard/",
        "apikey/add/", "portalsession/add/", "event/add/", "eventtype/", "erasure/add/?tenant_id=acme",
        f"delivery/{entry.delivery_id}/do/retry/", "replay/", "endpoint/", "event/",
    ]  # fmt: skip


@pytest.mark.parametrize(("size", "scheme"), [("phone", "dark"), ("desk", "light")])
def test_axe_finds_nothing_that_djangos_own_admin_does_not_have(chromium, site, boss, scheme, size):
    history.write()

    def violations() -> list[tuple[str, str]]:
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        return [(each["id"], node["html"]) for each in found for node in each["nodes"]]

    with browsing(chromium, site, color_scheme=scheme, viewport=SIZES[size]) as page:
        sign_in(page, site)
        known = set()
        for path in PLAIN:
            page.goto(site.address() + path)
            known |= {rule for rule, _html in violations()}
        found = []
        for path in pages():
            page.goto(site.address() + ADMIN + path)
            found += [(path, rule, html) for rule, html in violations() if rule not in known or "relay-" in html]
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append((path, "wider than the screen", ""))
        # Django's own search field with a help text has no label but its title.
        assert [each for each in found if each[1] != "label-title-only" or "searchbar" not in each[2]] == []
