"""What every answer of the portal has: headers, language, and refusals."""

import re

import pytest
from django.urls import reverse

from django_relay.rules import tokens
from tests.portal.visitors import Visitor

pytestmark = pytest.mark.django_db


def policy(response):
    return dict(part.strip().split(" ", 1) for part in response["Content-Security-Policy"].split(";"))


class TestHeaders:
    def test_let_nothing_in_from_elsewhere(self):
        response = Visitor().get("endpoints")
        found = policy(response)
        assert found["default-src"] == "'none'"
        assert found["script-src"] == found["style-src"] == found["img-src"] == "'self'"
        assert found["frame-ancestors"] == found["base-uri"] == "'none'"
        assert "unsafe" not in response["Content-Security-Policy"]
        assert response["Referrer-Policy"] == "no-referrer"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Cache-Control"] == "no-store"
        assert response["X-Frame-Options"] == "DENY"
        assert response["Cross-Origin-Opener-Policy"] == "same-origin"

    def test_are_on_every_kind_of_answer(self, client):
        visitor = Visitor()
        for response in (
            client.get("/webhooks/"),
            client.get("/webhooks/enter/"),
            visitor.get("event", "evt_x"),
            visitor.client.post("/webhooks/endpoints/add/"),
            visitor.client.put("/webhooks/"),
            visitor.get("stylesheet"),
            visitor.get("export", "csv"),
        ):
            assert policy(response)["default-src"] == "'none'", response.status_code
            assert response["Cache-Control"] == "no-store"

    def test_hold_no_inline_script_or_style(self):
        page = Visitor().page("add_endpoint")
        assert not re.findall(r"<(?:script|style)(?![^>]*\bsrc=)[^>]*>", page)
        assert not re.findall(r"\s(?:style|on[a-z]+)=", page)

    def test_name_where_static_files_are(self, settings):
        settings.STATIC_URL = "https://static.example.com/"
        assert policy(Visitor().get("endpoints"))["script-src"] == "'self' https://static.example.com"


class TestEmbedding:
    def test_is_off(self):
        cookie = Visitor().get("endpoints").wsgi_request and Visitor().client
        response = cookie.get("/webhooks/enter/")
        assert response["X-Frame-Options"] == "DENY"

    def test_names_exactly_the_origins_that_may(self, relay_settings, client):
        relay_settings(PORTAL={"FRAME_ANCESTORS": ["https://app.example.com"]})
        response = client.get("/webhooks/enter/")
        assert policy(response)["frame-ancestors"] == "https://app.example.com"
        assert "X-Frame-Options" not in response

    @pytest.mark.parametrize("spoilt", ["*", "https://*", "http://app.example.com", "https://a.example; script-src *"])
    def test_takes_nothing_that_is_no_origin(self, relay_settings, client, spoilt):
        relay_settings(PORTAL={"FRAME_ANCESTORS": [spoilt]})
        assert policy(client.get("/webhooks/enter/"))["frame-ancestors"] == "'none'"
        assert policy(client.get("/webhooks/enter/"))["script-src"] == "'self'"

    def test_partitions_the_cookie(self, relay_settings, client):
        relay_settings(PORTAL={"FRAME_ANCESTORS": ["https://app.example.com"]})
        written = client.get("/webhooks/enter/").cookies[tokens.PORTAL_COOKIE].OutputString()
        assert {"Secure", "HttpOnly", "SameSite=None", "Partitioned", "Path=/"} <= set(written.split("; "))

    def test_leaves_the_cookie_lax_without_it(self, client):
        written = client.get("/webhooks/enter/").cookies[tokens.PORTAL_COOKIE].OutputString()
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(written.split("; "))
        assert "Partitioned" not in written
        assert tokens.PORTAL_COOKIE.startswith("__Host-")


class TestATheme:
    THEME = {"accent": "#0f766e", "radius": 2, "scheme": "dark", "font": "serif"}

    def test_is_served_as_a_style_sheet(self):
        visitor = Visitor(theme=self.THEME)
        page = visitor.page("endpoints")
        assert reverse("relay_portal:stylesheet") in page
        assert 'data-mode="dark"' in page
        sheet = visitor.get("stylesheet")
        assert sheet["Content-Type"].startswith("text/css")
        assert b"--rl-accent:#0f766e;" in sheet.content
        assert b"--rl-radius:2px;" in sheet.content

    def test_without_any_costs_no_request(self):
        assert reverse("relay_portal:stylesheet") not in Visitor().page("endpoints")

    def test_shows_a_logo_from_where_that_is_allowed(self, relay_settings):
        relay_settings(PORTAL={"LOGO_URLS": ["https://cdn.example.com/logos/"]})
        visitor = Visitor(theme={"logo_url": "https://cdn.example.com/logos/acme.svg"})
        response = visitor.get("endpoints")
        assert policy(response)["img-src"] == "'self' https://cdn.example.com"
        assert 'src="https://cdn.example.com/logos/acme.svg"' in response.content.decode()


class TestTheLanguage:
    @pytest.mark.parametrize(("language", "said"), [("en", "Endpoints"), ("de-DE", "Endpunkte"), ("fr", "Endpoints")])
    def test_is_the_readers(self, language, said):
        response = Visitor().get("endpoints", headers={"Accept-Language": language})
        assert f"<h1>{said}</h1>" in response.content.decode()

    def test_does_not_outlast_the_answer(self):
        visitor = Visitor()
        visitor.get("endpoints", headers={"Accept-Language": "de"})
        assert "Endpunkte" not in visitor.page("endpoints")

    def test_may_run_from_right_to_left(self):
        page = Visitor().get("endpoints", headers={"Accept-Language": "ar"}).content.decode()
        assert '<html lang="ar" dir="rtl"' in page
