"""The documents lead nowhere that is not there, and name nothing that is not there."""

import re
from functools import cache

import pytest
from django.conf import global_settings

from django_relay import conf
from tests.docs import pages

_NOT_OURS = {"DJANGO_RELAY", "DJANGO_SETTINGS_MODULE", "ALT_CLUSTERS", "HOOK_EVENTS", "OPERATOR_KEY", "REMOTE_ADDR"}
"""What django-q2 and drf-hooks call theirs, and names of variables."""

_LINK = re.compile(r"""\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"\s]+)\"""")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def links(page: str) -> list[str]:
    prose = _FENCE.sub("", pages.read(page))
    return [first or second for first, second in _LINK.findall(prose)]


@cache
def anchors(page: str) -> frozenset[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", pages.read(page)), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return frozenset(kept)


@pytest.mark.parametrize("page", pages.documents())
class TestLinks:
    def test_lead_somewhere(self, page):
        for link in links(page):
            if re.match(r"[a-z]+:", link):
                continue
            path, _hash, anchor = link.partition("#")
            target = (pages.ROOT / page).parent / path if path else pages.ROOT / page
            assert target.exists(), f"{page} links to {link}"
            if anchor:
                assert anchor in anchors(str(target.resolve().relative_to(pages.ROOT))), f"{page} links to {link}"

    def test_the_page_is_linked_from_the_index(self, page):
        folder = pages.ROOT / "docs"
        listed = {str((folder / link).resolve().relative_to(pages.ROOT)) for link in links("docs/index.md")}
        assert page in {*listed, "docs/index.md"}


class TestNames:
    def test_settings_that_are_named_are_settings(self):
        known = {*conf.annotations(), *conf.Portal.__annotations__}
        for page in pages.documents():
            for name in re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", pages.read(page)):
                assert name in known | _NOT_OURS or hasattr(global_settings, name), f"{page} names {name}"

    def test_commands_that_are_named_are_commands(self):
        folder = pages.ROOT / "django_relay" / "management" / "commands"
        commands = {path.stem for path in folder.glob("relay_*.py")}
        for page in pages.documents():
            assert set(re.findall(r"manage\.py (relay_\w+)", pages.read(page))) <= commands, page
        listed = re.findall(r"^\| `(relay_\w+)` \|", pages.read("docs/reference/commands-and-checks.md"), re.MULTILINE)
        assert set(listed) == commands

    def test_checks_that_are_listed_are_those_that_there_are(self):
        listed = re.findall(r"`([EW]\d{3})`", pages.read("docs/reference/commands-and-checks.md"))
        sources = (pages.ROOT / "django_relay").rglob("*.py")
        there = {number for path in sources for number in re.findall(r"django_relay\.([EW]\d{3})", path.read_text())}
        assert sorted(listed) == sorted(there)

    def test_tables_that_are_listed_are_those_that_there_are(self):
        from django.apps import apps

        text = pages.read("docs/explanation/architecture.md")
        shown = text.split("<!-- tables -->")[1].split("<!-- /tables -->")[0]
        listed = re.findall(r"^\| `(\w+)` \|", shown, re.MULTILINE)
        assert sorted(listed) == sorted(model.__name__ for model in apps.get_app_config("django_relay").get_models())

    def test_error_kinds_are_shown_as_they_are(self):
        from django_relay.transport.base import ERROR_KINDS

        text = pages.read("docs/reference/delivery.md")
        shown = text.split("<!-- kinds -->")[1].split("<!-- /kinds -->")[0]
        listed = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", shown, re.MULTILINE))
        assert listed == {"error_kind": "says", **ERROR_KINDS}
