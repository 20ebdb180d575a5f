"""The portal in a frame of another site, over HTTPS; and of one that may not."""

from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Site, browsing
from tests.processes import wait_until

pytestmark = pytest.mark.process

CUSTOMER, STRANGER = "app.customer.test", "app.stranger.test"


@pytest.fixture
def embedded(staged, certificate):
    """A site whose portal the customer's application may embed, and no other."""
    port = Site(staged, certificate=certificate).stop()
    origin = f"https://{CUSTOMER}:{port}"
    return Site(staged, certificate=certificate, port=port, PORTAL={"FRAME_ANCESTORS": [origin]})


def framed(page, site, parent, url):
    page.goto(f"{site.address(parent)}/parent#{quote(url, safe='')}")
    return page.frame_locator("iframe")


def test_the_portal_works_in_a_frame_of_another_site(chromium, embedded):
    with browsing(chromium, embedded) as page:
        embedded.complaints_from(CUSTOMER, "portal.shop.test")
        frame = framed(page, embedded, CUSTOMER, embedded.link("portal.shop.test"))
        frame.get_by_role("link", name="Add endpoint").first.click()
        frame.get_by_label("Endpoint URL").fill(embedded.stage.receiver.url("/framed"))
        frame.get_by_role("button", name="Add endpoint").click()
        expect(frame.get_by_role("heading", name="Endpoint added")).to_be_visible()
        page.wait_for_function("document.title.startsWith('height ')")
        assert page.title().endswith(f" of {embedded.address('portal.shop.test')}")
        frame.get_by_role("link", name="To the endpoint").click()
        expect(frame.get_by_role("heading", name=embedded.stage.receiver.url("/framed"))).to_be_visible()
        frame.get_by_role("link", name="Attempts", exact=True).click()
        expect(frame.get_by_role("heading", name="No attempts")).to_be_visible()
        page.evaluate("history.back()")
        expect(frame.get_by_role("heading", name="Nothing was sent yet")).to_be_visible()
        page.evaluate("history.forward()")
        expect(frame.get_by_role("heading", name="No attempts")).to_be_visible()
        cookies = {each["name"]: each for each in page.context.cookies()}
        assert cookies["__Host-relay_portal"]["sameSite"] == "None"
        assert cookies["__Host-relay_portal"]["httpOnly"]


def test_a_parent_that_is_not_listed_sees_nothing(chromium, embedded):
    with browsing(chromium, embedded) as page:
        embedded.complaints_from(STRANGER, "portal.shop.test")
        frame = framed(page, embedded, STRANGER, embedded.link("portal.shop.test"))
        wait_until(lambda: any("frame-ancestors" in text for text in embedded.complaints), 10, "the browser refuses")
        assert frame.get_by_role("heading").count() == 0
        embedded.complaints.clear()
