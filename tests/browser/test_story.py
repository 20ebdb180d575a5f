"""The whole story of a customer, by mouse, by keyboard alone, and without scripts."""

import pytest
from playwright.sync_api import Page, expect

from django_relay.models import Delivery, DLQEntry, Endpoint
from tests.browser.conftest import PORTAL, browsing
from tests.browser.hands import Keyboard, Mouse, NoScripts
from tests.processes import wait_until

pytestmark = pytest.mark.process


def enter(page: Page, hands, site):
    link = site.link()
    page.goto(link if hands.scripts else link.partition("#")[0])
    if not hands.scripts:
        hands.write(page.get_by_label("Your link"), link)
        hands.press(page.get_by_role("button", name="Open"))
    page.wait_for_url(site.address() + PORTAL)


def add_endpoint(page: Page, hands, url: str) -> str:
    """Add an endpoint, and return the secret that is shown."""
    hands.press(page.get_by_role("link", name="Add endpoint").first)
    hands.write(page.get_by_label("Endpoint URL"), "https://10.0.0.8/hooks")
    if not hands.scripts:
        hands.press(page.get_by_role("button", name="Add endpoint"))
    expect(page.get_by_text("This address is private or reserved.")).to_be_visible()
    hands.write(page.get_by_label("Endpoint URL"), url)
    if hands.scripts:
        expect(page.get_by_text("This URL can be called.")).to_be_visible()
    hands.choose(page.get_by_label("Only those I choose"))
    if hands.scripts:
        hands.write(page.get_by_label("Search events"), "invoice.paid")
        expect(page.get_by_label("invoice.overdue")).to_be_hidden()
    hands.choose(page.get_by_label("invoice.paid"))
    hands.press(page.get_by_role("button", name="Add endpoint"))
    expect(page.get_by_role("heading", name="Endpoint added")).to_be_visible()
    return page.locator("#secret").inner_text()


def reload_until(page: Page, text: str):
    """Wait for a text that comes by itself with scripts, and else by looking again."""
    wanted = page.get_by_text(text).first

    def is_there() -> bool:
        if wanted.is_visible():
            return True
        page.wait_for_timeout(300)
        page.reload()
        return wanted.is_visible()

    wait_until(is_there, 20, f"“{text}” is on the page")


@pytest.mark.parametrize("kind", [Mouse, Keyboard, NoScripts])
def test_a_customer_looks_after_an_endpoint(chromium, site, kind):
    stage = site.stage
    stage.worker(schedule="0.2,0.2")
    path = "/hooks"
    with browsing(chromium, site, java_script_enabled=kind.scripts, viewport={"width": 1280, "height": 900}) as page:
        hands = kind(page)
        enter(page, hands, site)
        expect(page.get_by_role("heading", name="Hear of what happens, when it happens")).to_be_visible()
        secret = add_endpoint(page, hands, stage.receiver.url(path))
        stage.receiver.know(path, secret)
        if kind.scripts:
            hands.press(page.get_by_role("button", name="Copy").first)
            expect(page.get_by_text("Copied")).to_be_visible()

        hands.press(page.get_by_role("button", name="Send a test event"))
        if kind.scripts:
            expect(page.get_by_role("heading", name="It arrived")).to_be_visible(timeout=20_000)
        else:
            reload_until(page, "It arrived")
        (tested,) = stage.receiver.requests(path)
        assert tested.verified == (0,)

        stage.receiver.answer(path, 500)
        stage.emit(3)
        wait_until(lambda: DLQEntry.objects.count() == 3, 20, "three deliveries are given up")
        stage.receiver.answer(path, 410)
        stage.emit(1)
        wait_until(lambda: not Endpoint.objects.get().enabled, 20, "the endpoint is disabled")
        wait_until(lambda: DLQEntry.objects.count() == 4, 20, "the last delivery is given up")

        hands.press(page.get_by_role("link", name="Endpoints").first)
        expect(page.get_by_text("Disabled: gone")).to_be_visible()
        hands.press(page.get_by_role("link", name=stage.receiver.url(path)))
        expect(page.get_by_text("Disabled, because it answered 410 Gone.")).to_be_visible()
        hands.press(page.get_by_role("link", name="Attempts", exact=True))
        expect(page.get_by_role("cell", name="500").first).to_be_visible()

        stage.receiver.answer(path, 200)
        hands.press(page.get_by_role("button", name="Enable"))
        expect(page.get_by_text("Disabled, because it answered 410 Gone.")).to_be_hidden()
        page.goto(page.url + "replay/?kind=failed")
        if not hands.scripts:
            hands.press(page.get_by_role("button", name="Count"))
        expect(page.get_by_text("4 events would be sent again")).to_be_visible()
        hands.press(page.get_by_role("button", name="Send 4 events"))
        expect(page.get_by_role("heading", name="Recovering what failed")).to_be_visible()
        if kind.scripts:
            expect(page.get_by_text("Done: everything was attempted.")).to_be_visible(timeout=20_000)
        else:
            reload_until(page, "Done: everything was attempted.")

        recovered = {row.event_id for row in DLQEntry.objects.all()}
        assert Delivery.objects.filter(event_id__in=recovered, state="delivered").count() == 4
        arrived = {request.id for request in stage.receiver.requests(path) if request.answer == 200}
        assert recovered < arrived
        assert all(request.verified == (0,) for request in stage.receiver.requests(path))
        hands.press(page.get_by_role("link", name="Failed").first)
        expect(page.get_by_text("Nothing has failed for good")).to_be_visible()


def test_a_link_that_was_used_leads_nobody_in(chromium, site):
    link = site.link()
    with browsing(chromium, site) as page:
        page.goto(link)
        page.wait_for_url(site.address() + PORTAL)
        assert "rl" not in page.url.rpartition("/")[2]
    with browsing(chromium, site) as page:
        page.goto(link)
        expect(page.get_by_role("heading", name="This link was used already")).to_be_visible()


def test_focus_stays_while_a_part_of_the_page_changes(chromium, site):
    stage = site.stage
    for name in ("one", "two"):
        stage.endpoint(f"/{name}")
    with browsing(chromium, site) as page:
        page.goto(site.link())
        search = page.get_by_label("Search", exact=True)
        search.press_sequentially("one")
        expect(page.get_by_role("row", name="/two")).to_be_hidden()
        expect(search).to_be_focused()
        expect(search).to_have_value("one")
        page.wait_for_url("**/?q=one*")
        page.go_back()
        page.wait_for_url(site.address() + PORTAL)
