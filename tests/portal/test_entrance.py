"""Getting in by a one-time link, and out."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_relay.models import AuditEntry, PortalSession
from django_relay.portal import create_session
from django_relay.rules import tokens
from django_relay.rules.access import Member
from tests.people import ALICE, CHARLIE
from tests.portal.visitors import Visitor, text_of

pytestmark = pytest.mark.django_db

ENTER = "/webhooks/enter/"
HOME = "/webhooks/"


def browser():
    """Return a client that has opened the link's page, and the CSRF token that stands on it."""
    client = Client()
    page = client.get(ENTER)
    csrf = page.content.decode().split('name="csrf" value="')[1].split('"')[0]
    return client, csrf


def exchange(token, **headers):
    client, csrf = browser()
    return client, client.post(ENTER, {"token": token, "csrf": csrf}, headers=headers)


def token_of(link):
    return link.url.partition("#")[2]


@pytest.fixture
def link():
    return create_session(tenant_id=ALICE.tenant_id)


class TestALink:
    def test_opens_the_portal_and_leaves_a_clean_address(self, link):
        client, response = exchange(token_of(link))
        assert (response.status_code, response["Location"]) == (303, HOME)
        assert client.get(HOME).status_code == 200

    def test_carries_its_token_where_no_server_sees_it(self, link):
        path, _, fragment = link.url.partition("#")
        assert path == ENTER
        assert fragment.startswith(tokens.PORTAL_LINK)
        assert fragment not in repr(link)

    def test_may_be_pasted_whole(self, link):
        _client, response = exchange(f"  https://shop.example{link.url} ")
        assert response.status_code == 303

    def test_is_not_used_up_by_being_looked_at(self, link):
        client = Client()
        for _ in range(3):
            assert client.head(ENTER).status_code == client.get(ENTER).status_code == 200
        assert exchange(token_of(link))[1].status_code == 303

    def test_opens_once(self, link):
        exchange(token_of(link))
        _client, response = exchange(token_of(link))
        assert response.status_code == 401
        assert "used already" in text_of(response)

    def test_that_is_too_old_says_so_and_leads_back(self, relay_settings):
        relay_settings(PORTAL={"RETURN_URLS": ["https://shop.example"]})
        link = create_session(tenant_id="acme", return_url="https://shop.example/account")
        PortalSession.objects.filter(pk=link.session.pk).update(link_expires_at=timezone.now() - timedelta(seconds=1))
        _client, response = exchange(token_of(link))
        assert response.status_code == 401
        assert "too old" in text_of(response)
        assert 'href="https://shop.example/account"' in text_of(response)

    def test_that_was_withdrawn_says_so(self, link):
        link.session.revoke()
        assert "withdrawn" in text_of(exchange(token_of(link))[1])

    @pytest.mark.parametrize("token", ["", "rlp_x", "eyJhbGciOiJIUzI1NiJ9.e30.x", "\x00", "x" * 5_000])
    def test_that_is_none_is_not_known(self, token):
        _client, response = exchange(token)
        assert response.status_code == 401
        assert "not known" in text_of(response)

    def test_with_one_letter_changed_is_not_known(self, link):
        token = token_of(link)
        assert exchange(token[:-1] + ("a" if token[-1] != "a" else "b"))[1].status_code == 401

    def test_is_not_exchanged_for_another_site(self, link):
        assert Client().post(ENTER, {"token": token_of(link)}).status_code == 403
        client, csrf = browser()
        other, _csrf = browser()
        assert other.post(ENTER, {"token": token_of(link), "csrf": csrf}).status_code == 403
        refused = client.post(ENTER, {"token": token_of(link), "csrf": csrf}, headers={"Sec-Fetch-Site": "cross-site"})
        assert refused.status_code == 403
        assert exchange(token_of(link))[1].status_code == 303

    def test_gives_the_browser_a_new_cookie(self, link):
        client, csrf = browser()
        fixed = client.cookies[tokens.PORTAL_COOKIE].value
        client.post(ENTER, {"token": token_of(link), "csrf": csrf})
        assert client.cookies[tokens.PORTAL_COOKIE].value != fixed
        assert client.cookies[tokens.PORTAL_COOKIE].value.startswith(tokens.PORTAL_SESSION)

    def test_guesses_are_throttled_and_nobody_else_is(self, relay_settings, link):
        relay_settings(API_THROTTLES={"failed": "3/minute"})
        client, csrf = browser()
        statuses = [client.post(ENTER, {"token": "rlp_x", "csrf": csrf}).status_code for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert exchange(token_of(link))[1].status_code == 303

    def test_gets_its_host_from_the_request_or_the_settings(self, rf, relay_settings):
        assert create_session(tenant_id="acme", request=rf.get("/")).url.startswith(
            "http://testserver/webhooks/enter/#"
        )
        relay_settings(PORTAL={"ORIGIN": "https://app.example.com/"})
        assert create_session(tenant_id="acme").url.startswith("https://app.example.com/webhooks/enter/#rlp_")


class TestTheCommand:
    def test_prints_the_url_alone(self, capsys):
        call_command("relay_portal_link", "--tenant", "acme", "--capabilities", "view,endpoints")
        printed, told = capsys.readouterr()
        assert "ORIGIN" in told
        assert exchange(printed.strip())[1].status_code == 303
        session = PortalSession.objects.get()
        assert session.capabilities == ["view", "endpoints"]
        assert session.created_by == "command:relay_portal_link"

    def test_prints_a_whole_url_where_the_settings_know_the_host(self, capsys, relay_settings):
        relay_settings(PORTAL={"ORIGIN": "https://app.example.com"})
        call_command("relay_portal_link", "--tenant", "acme")
        printed, told = capsys.readouterr()
        assert printed.startswith("https://app.example.com/webhooks/enter/#rlp_")
        assert told == ""

    def test_says_what_is_wrong(self):
        with pytest.raises(CommandError, match="capability"):
            call_command("relay_portal_link", "--tenant", "acme", "--capabilities", "fly")
        with pytest.raises(CommandError, match="application"):
            call_command("relay_portal_link", "--tenant", "acme", "--application", "none")


class TestASession:
    def test_that_is_none_says_what_to_do(self, client):
        response = client.get(HOME)
        assert response.status_code == 401
        assert "needs a link" in text_of(response)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"seen_at": timezone.now() - timedelta(minutes=31)}, "has ended"),
            ({"expires_at": timezone.now() - timedelta(seconds=1)}, "has ended"),
            ({"revoked_at": timezone.now()}, "withdrawn"),
        ],
        ids=["idle", "too old", "revoked"],
    )
    def test_that_is_over_says_so(self, change, said):
        visitor = Visitor()
        PortalSession.objects.filter(pk=visitor.session.pk).update(**change)
        response = visitor.get("endpoints")
        assert response.status_code == 401
        assert said in text_of(response)
        assert response.cookies[tokens.PORTAL_COOKIE].value == ""

    def test_that_is_over_reloads_the_page_when_only_a_part_was_asked_for(self):
        visitor = Visitor()
        visitor.session.revoke()
        assert visitor.get("endpoints", headers={"HX-Request": "true"})["HX-Refresh"] == "true"

    def test_ends_when_its_person_leaves(self):
        visitor = Visitor()
        assert visitor.post("leave").status_code == 200
        visitor.client.cookies[tokens.PORTAL_COOKIE] = visitor.token
        assert visitor.get("endpoints").status_code == 401
        assert AuditEntry.objects.filter(action="portal_session.revoked").exists()

    def test_is_no_staff(self):
        visitor = Visitor()
        response = visitor.client.get("/admin/")
        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]

    def test_says_that_staff_look_in(self):
        visitor = Visitor()
        PortalSession.objects.filter(pk=visitor.session.pk).update(opened_as_staff=True)
        assert "as staff" in visitor.page("endpoints")


def resolve(request):
    """Return the tenant of the host's user: a resolver as a host writes one."""
    tenant = request.headers.get("X-Tenant")
    return Member(tenant, capabilities=["view", "endpoints"]) if tenant else None


class TestTheHostsOwnLogin:
    @pytest.fixture(autouse=True)
    def _resolver(self, relay_settings):
        relay_settings(TENANT_RESOLVER=resolve)

    def test_lets_its_people_in(self, client):
        assert client.get(HOME, headers={"X-Tenant": "acme"}).status_code == 200
        assert client.get(HOME).status_code == 401

    def test_lets_them_change_things_from_its_own_pages_alone(self, client):
        headers = {"X-Tenant": "acme"}
        page = client.get(reverse("relay_portal:add_endpoint"), headers=headers).content.decode()
        csrf = page.split('name="csrf" value="')[1].split('"')[0]
        data = {"url": "https://alice.example/", "subscribe": "all", "format": "standard"}
        url = reverse("relay_portal:add_endpoint")
        assert client.post(url, data, headers=headers).status_code == 403
        assert Client().post(url, {**data, "csrf": csrf}, headers=headers).status_code == 403
        assert client.post(url, {**data, "csrf": csrf}, headers=headers).status_code == 201

    def test_counts_for_nothing_beside_a_session(self):
        visitor = Visitor(CHARLIE)
        visitor.session.revoke()
        assert visitor.get("endpoints", headers={"X-Tenant": "acme"}).status_code == 401


def test_settings_name_no_cookie_of_ours():
    assert settings.SESSION_COOKIE_NAME != tokens.PORTAL_COOKIE
