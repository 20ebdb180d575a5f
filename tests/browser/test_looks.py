"""Every screen, light and dark, on a phone and on a desk: accessible, silent, at home, and light to load."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from django_relay.models import DLQEntry, Endpoint
from django_relay.pipeline import endpoint_tests, replays
from example_project.demo import history
from tests.browser.conftest import PORTAL, browsing

pytestmark = pytest.mark.process

SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1280, "height": 900}}
FIRST_PAGE_BYTES, FIRST_PAGE_REQUESTS = 60_000, 8


def screens() -> list[str]:
    """Return the paths of all screens, of an example that has a past."""
    endpoints = {row.description: row.pk for row in Endpoint.objects.filter(tenant_id="acme")}
    good, dead, failing = (endpoints[name] for name in ("Books invoices into the ledger", "Nightly reports", "CRM"))
    event_id = DLQEntry.objects.filter(endpoint_id=failing).values_list("event_id", flat=True)[0]
    replay = replays.start("failed", tenant_id="acme", endpoint_ids=[dead])
    test = endpoint_tests.send(Endpoint.objects.get(pk=good), "invoice.paid")
    of_endpoint = ["", "attempts/", "edit/", "secret/", "testing/", "delete/", "replay/?kind=failed&preset=7d"]
    return [
        "",
        "?q=nothing+like+it",
        "endpoints/add/",
        *[f"endpoints/{failing}/{each}" for each in of_endpoint],
        f"endpoints/{dead}/",
        f"endpoints/{good}/?span=30d",
        f"endpoints/{good}/testing/{test.pk}/",
        f"replays/{replay.pk}/",
        f"events/{event_id}/",
        "events/evt_nothing/",
        "logs/",
        "logs/?q=evt_nothing",
        "dlq/",
        "dlq/?state=discarded",
        "catalog/",
        "catalog/order.shipped/",
        "activity/",
    ]


@pytest.fixture
def past(staged):
    history.write()
    return screens()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_on_any_screen(chromium, site, past, scheme, size):
    with browsing(chromium, site, color_scheme=scheme, viewport=SIZES[size]) as page:
        page.goto(site.link())
        page.wait_for_url(site.address() + PORTAL)
        found = []
        for path in past:
            page.goto(site.address() + PORTAL + path)
            for more in page.locator("details:not([open]):not(.menu) > summary").all()[:3]:
                if more.is_visible():
                    more.click()
            violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            found += [
                f"{path}: {each['id']} {node['target']} {node['failureSummary']}"
                for each in violations
                for node in each["nodes"]
            ]
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{path}: wider than the screen")
        assert found == []


def test_the_entrance_and_its_refusals_are_accessible(chromium, site):
    with browsing(chromium, site) as page:
        for path in ("enter/", "", "enter/#rlp_x"):
            page.goto(site.address() + PORTAL + path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert Axe().run(page).response["violations"] == []


def test_the_first_page_is_light_and_does_not_move(chromium, site, past):
    with browsing(chromium, site, viewport=SIZES["desk"]) as page:
        page.goto(site.link())
        page.wait_for_url(site.address() + PORTAL)
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        sizes = []
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        page.goto(site.address() + PORTAL, wait_until="networkidle")
        shifts = page.evaluate(
            """() => new Promise((done) => {
                let sum = 0;
                new PerformanceObserver((list) => { for (const each of list.getEntries()) sum += each.value; })
                    .observe({ type: "layout-shift", buffered: true });
                setTimeout(() => done(sum), 300);
            })"""
        )
        assert sum(sizes) <= FIRST_PAGE_BYTES
        assert len(sizes) <= FIRST_PAGE_REQUESTS
        assert shifts < 0.01


def test_a_theme_shows_and_stays_readable(chromium, site, past):
    theme = {"accent": "#facc15", "radius": 12, "font": "rounded", "scheme": "light"}
    with browsing(chromium, site, color_scheme="dark") as page:
        page.goto(site.link(theme=theme))
        page.wait_for_url(site.address() + PORTAL)
        button = page.get_by_role("link", name="Add endpoint")
        assert button.evaluate("(it) => getComputedStyle(it).backgroundColor") == "rgb(250, 204, 21)"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert Axe().run(page).response["violations"] == []


def test_what_is_chosen_among_what_failed_is_counted(chromium, site, past):
    with browsing(chromium, site) as page:
        page.goto(site.link())
        page.wait_for_url(site.address() + PORTAL)
        page.goto(site.address() + PORTAL + "dlq/")
        some, everything = page.get_by_role("button", name="Send chosen"), page.get_by_role("button", name="Send all")
        expect(some).to_be_hidden()
        expect(everything).to_be_visible()
        page.locator("tbody input[type=checkbox]").nth(1).check()
        expect(page.get_by_text("1 chosen")).to_be_visible()
        expect(some).to_be_visible()
        expect(everything).to_be_hidden()
        page.get_by_label("All on this page").check()
        expect(page.get_by_text(f"{page.locator('tbody tr').count()} chosen")).to_be_visible()


def test_times_are_the_readers_and_exact_in_utc(chromium, site, past):
    with browsing(chromium, site, timezone_id="Asia/Kolkata") as page:
        page.goto(site.link())
        page.wait_for_url(site.address() + PORTAL)
        page.goto(site.address() + PORTAL + "logs/")
        first = page.locator("tbody time").first
        title = first.get_attribute("title")
        assert title.endswith(" UTC")
        hour, minute = (int(part) for part in title.split(" ")[1].split(":")[:2])
        local = (hour * 60 + minute + 330) % 1440
        expect(first).to_contain_text(f"{local // 60:02}:{local % 60:02}")


def test_motion_is_still_for_who_asks(chromium, site):
    with browsing(chromium, site, reduced_motion="reduce") as page:
        page.goto(site.address() + PORTAL + "enter/")
        moving = page.evaluate(
            "[...document.querySelectorAll('*')].filter((it) => getComputedStyle(it).transitionDuration !== '0s').length"
        )
        assert moving == 0


def test_pages_from_right_to_left_fit_and_mirror(chromium, site, past):
    edges = """(selector) => {
        const found = document.querySelector(selector), range = document.createRange();
        range.selectNodeContents(found);
        const text = range.getBoundingClientRect(), around = found.parentElement.getBoundingClientRect();
        return Math.round(around.right - text.right);
    }"""
    with browsing(chromium, site, locale="ar", viewport=SIZES["phone"]) as page:
        page.goto(site.link())
        page.wait_for_url(site.address() + PORTAL)
        expect(page.locator("html")).to_have_attribute("dir", "rtl")
        for path in past:
            page.goto(site.address() + PORTAL + path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert abs(page.evaluate(edges, "h1")) <= 40, path
        page.goto(site.address() + PORTAL + "activity/")
        oldest, newest = (
            page.locator("g[data-at]").first.bounding_box(),
            page.locator("g[data-at]").nth(23).bounding_box(),
        )
        assert newest["x"] < oldest["x"]
        expect(page.locator(".axis time").first).to_have_css("direction", "rtl")
