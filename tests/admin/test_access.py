"""Keys and portal sessions: what is wrong in their forms, and what to do while the portal is not mounted."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import override_settings
from django.urls import include, path
from django.utils import timezone

from django_relay.models import ApiKey, AuditEntry, PortalSession
from example_project.urls import admin
from tests.admin.conftest import make_staff
from tests.factories import make_endpoint

pytestmark = pytest.mark.django_db

BASE = "/admin/django_relay/"
urlpatterns = [path("admin/", admin.site.urls), path("api/", include("django_relay.api.urls"))]  # and no portal


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "tenant_id"),
        ({"tenant_id": "acme", "operator": "on"}, "tenant_id"),
        ({"tenant_id": "acme", "scopes": ["portal"]}, "scopes"),
        ({"tenant_id": "acme", "scopes": ["everything"]}, "scopes"),
        ({"tenant_id": "acme", "scopes": []}, "scopes"),
        ({"tenant_id": "acme", "application": "nobody's"}, "application"),
        ({"tenant_id": "acme", "expires_at": "tomorrow"}, "expires_at"),
        ({"tenant_id": "acme", "expires_at": "2020-01-01T10:00"}, "expires_at"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_a_key_that_cannot_be_is_refused_beside_its_field(boss, client, values, field):
    response = client.post(f"{BASE}apikey/add/", {"application": "default", "scopes": ["read"], **values})
    assert response.status_code == 409
    assert field in response.context["form"].errors
    assert ApiKey.objects.count() == AuditEntry.objects.count() == 0


def test_a_key_is_shown_once_and_stored_nowhere(boss, client):
    expires = f"{timezone.localtime() + timedelta(days=1):%Y-%m-%dT%H:%M}"
    given = {"application": "default", "tenant_id": "acme", "scopes": ["read"], "expires_at": expires}
    response = client.post(f"{BASE}apikey/add/", given)
    (shown,) = response.context["done"].shown
    key = ApiKey.objects.get()
    assert shown.value.startswith(key.prefix)
    for name in ("", f"{key.pk}/change/"):
        assert shown.value not in client.get(f"{BASE}apikey/{name}").content.decode()
    assert shown.value not in str(AuditEntry.objects.get().changes)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"application": "nobody's"}, "application"),
        ({"tenant_id": "a" * 256}, "tenant_id"),
        ({"capabilities": ["everything"]}, "capabilities"),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, dict) else None,
)
def test_a_session_that_cannot_be_is_refused_beside_its_field(boss, client, values, field):
    given = {"application": "default", "tenant_id": "acme", "link": "1", **values}
    response = client.post(f"{BASE}portalsession/add/", given)
    assert response.status_code == 409
    assert field in response.context["form"].errors
    assert PortalSession.objects.count() == 0


def test_nobody_gives_more_than_they_have(client):
    user = make_staff("opener")
    user.user_permissions.set(Permission.objects.filter(codename__in=["open_portal", "replay_delivery"]))
    client.force_login(user)
    offered = client.get(f"{BASE}portalsession/add/").context["form"].fields["capabilities"].choices
    assert [name for name, _said in offered] == ["replay"]
    given = {"application": "default", "tenant_id": "acme", "capabilities": ["secrets"], "link": "1"}
    assert client.post(f"{BASE}portalsession/add/", given).status_code == 409


@override_settings(ROOT_URLCONF=__name__)
def test_while_the_portal_is_not_mounted_it_says_what_to_do(boss, client):
    make_endpoint()
    for name in ("endpoint/tenants/", "portalsession/add/"):
        page = client.get(BASE + name).content.decode()
        assert "put include(&#x27;django_relay.portal.urls&#x27;) into the URLconf" in page, name
    given = {"application": "default", "tenant_id": "acme", "open": "1"}
    assert client.post(f"{BASE}portalsession/add/", given).status_code == 409
    assert PortalSession.objects.count() == 0
