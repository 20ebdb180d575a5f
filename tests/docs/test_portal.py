"""Every example of docs/portal.md, done as it is written."""

import re
import sys
import types

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from django_relay import conf
from django_relay.checks import access as checks
from django_relay.models import PortalSession
from tests.docs.pages import ROOT, blocks
from tests.factories import make_endpoint
from tests.portal.conftest import relay_settings
from tests.portal.visitors import Visitor

__all__ = ["relay_settings"]

pytestmark = pytest.mark.django_db

PAGE = "docs/portal.md"


def run(kind: str) -> dict:
    """Run a block of Python, and return its names."""
    ((_name, text),) = blocks(kind, PAGE)
    names: dict = {}
    exec(compile(text, PAGE, "exec"), names)
    return names


@pytest.fixture
def portal(relay_settings):
    relay_settings(PORTAL=run("settings")["DJANGO_RELAY"]["PORTAL"])


def test_settings_are_right(portal):
    assert checks.check_portal(None) == []
    assert {**conf.settings.PORTAL}.keys() == run("settings")["DJANGO_RELAY"]["PORTAL"].keys()


def test_it_is_mounted():
    assert run("urls")["urlpatterns"][0].urlconf_module.app_name == "relay_portal"


def test_a_link_lets_somebody_in(portal, rf):
    request = rf.get("/settings/webhooks")
    request.user = get_user_model()(username="ada")
    url = run("link")["webhooks"](request)["Location"]
    assert url.startswith("https://app.example.com/webhooks/enter/#rlp_")
    session, _token = PortalSession.objects.exchange(url.partition("#")[2], now=timezone.now())
    assert session.tenant_id == "acme"
    assert session.return_url == "https://app.example.com/settings"


def test_a_command_prints_a_link_and_sessions_are_taken_back(portal, capsys):
    from django.core.management import call_command

    ((_name, text),) = blocks("command", PAGE)
    call_command(*text.split()[2:])
    (url,) = capsys.readouterr().out.split()
    assert url.startswith("https://app.example.com/webhooks/enter/#rlp_")
    visitor = Visitor()
    run("revoke")
    assert visitor.get("endpoints").status_code == 401


def test_own_login_lets_people_in(relay_settings, monkeypatch):
    ((name, _text),) = blocks("resolver", PAGE)
    module = types.ModuleType("billing.tenants")
    module.__dict__.update(run("resolver"))
    monkeypatch.setitem(sys.modules, "billing", types.ModuleType("billing"))
    monkeypatch.setitem(sys.modules, name.removesuffix(".py").replace("/", "."), module)
    relay_settings(TENANT_RESOLVER="billing.tenants.of_request")
    client = Client()
    assert client.get("/webhooks/").status_code == 401
    client.force_login(get_user_model().objects.create_user("ada"))
    assert client.get("/webhooks/").status_code == 200


def test_it_is_embedded_by_whom_it_names(portal):
    response = Visitor().get("endpoints")
    assert "frame-ancestors https://app.example.com" in response["Content-Security-Policy"]
    assert "X-Frame-Options" not in response
    ((_name, text),) = blocks("frame", PAGE)
    assert 'source: "django_relay"' in script()
    assert {"source", "height"} == set(re.findall(r"event\.data\??\.(\w+)", text))


def script() -> str:
    from django.contrib.staticfiles import finders

    with open(finders.find("django_relay/portal.js")) as file:
        return file.read()


def test_templates_and_style_sheets_are_replaced(settings, tmp_path):
    for name, text in blocks("template", PAGE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    make_endpoint()
    page = Visitor().page("endpoints")
    for said in ("Acme webhooks", "https://status.acme.example/", "/static/acme/portal.css", "portal.js"):
        assert said in page, said
    assert "Times are shown" not in page


def test_the_style_sheet_sets_what_there_is():
    from django.contrib.staticfiles import finders

    ((_name, text),) = blocks("css", PAGE)
    with open(finders.find("django_relay/portal.css")) as file:
        ours = set(re.findall(r"(--rl-[a-z-]+):", file.read()))
    found = set(re.findall(r"(--rl-[a-z-]+):", text))
    assert found | {f"--rl-{size}" for size in ("xs", "sm", "md", "lg", "xl")} == ours


def test_the_blocks_are_those_of_the_frame():
    from django.template.loader import get_template

    with open(get_template("django_relay/portal/base.html").origin.name) as file:
        there = set(re.findall(r"{% block (\w+) %}", file.read()))
    section = _page().partition("| Block | |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == there


def _page() -> str:
    return (ROOT / PAGE).read_text()
