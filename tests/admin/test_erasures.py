"""A tenant erased from the admin: asked about with counts, its name typed again, on record, its progress shown."""

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission
from django.utils import timezone

from django_relay.models import AuditEntry, Endpoint, Erasure, Event
from django_relay.pipeline import erasures
from tests.factories import USING, make_api_key, make_dlq_entry, make_endpoint
from tests.people import CHARLIE

pytestmark = pytest.mark.django_db

BASE = "/admin/django_relay/"
ADD = f"{BASE}erasure/add/"
WANTED = {"application": "default", "tenant_id": "acme", "confirmation": "acme"}


def text_of(response):
    return response.content.decode()


def test_the_tenants_page_leads_to_it_and_it_says_how_much_goes(boss, client):
    make_dlq_entry()
    make_api_key()
    make_endpoint(CHARLIE)
    page = text_of(client.get(f"{BASE}endpoint/tenants/"))
    assert f'href="{ADD}?application=default&amp;tenant_id=acme"' in page
    asked = client.get(f"{ADD}?application=default&tenant_id=acme")
    assert dict(asked.context["counts"]) == {
        "API keys": "1", "portal sessions": "0", "endpoints": "1", "replays": "0", "events": "1", "deliveries": "1",
        "DLQ entries": "1",
    }  # fmt: skip
    assert Erasure.objects.count() == 0


def test_it_begins_once_the_name_is_typed_again_and_shows_how_far_it_is(boss, client):
    make_dlq_entry()
    kept = make_endpoint(CHARLIE)
    response = client.post(ADD, WANTED)
    erasure = Erasure.objects.get()
    assert (response.status_code, response["Location"]) == (303, f"{BASE}erasure/{quote(erasure.pk)}/change/")
    assert (erasure.tenant_id, erasure.requested_by) == ("acme", f"staff:{boss.pk}")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.tenant_id, entry.actor) == ("tenant.erased", "acme", f"staff:{boss.pk}")
    assert "data-relay-refresh" in text_of(client.get(response["Location"]))
    erasures.advance(now=timezone.now(), using=USING)
    assert "deleting: endpoints" in text_of(client.get(response["Location"]))
    while erasures.advance(now=timezone.now(), using=USING):
        pass
    page = text_of(client.get(response["Location"]))
    assert "data-relay-refresh" not in page
    assert "DLQ entries" in page
    assert list(Endpoint.objects.all()) == [kept]
    assert Event.objects.count() == 0


@pytest.mark.parametrize("typed", ["", "Acme", "acme2", "globex"])
def test_another_name_erases_nobody(boss, client, typed):
    make_endpoint()
    response = client.post(ADD, {**WANTED, "confirmation": typed})
    assert response.status_code == 409
    assert Erasure.objects.count() == AuditEntry.objects.count() == 0
    assert dict(response.context["counts"])["endpoints"] == "1"
    assert 'class="errorlist"' in text_of(response)


def test_the_global_tenant_is_named_as_the_page_names_it(boss, client):
    assert client.post(ADD, {**WANTED, "tenant_id": "", "confirmation": ""}).status_code == 409
    assert client.post(ADD, {**WANTED, "tenant_id": "", "confirmation": "(global)"}).status_code == 303


@pytest.mark.parametrize("given", [{"application": "nobody's"}, {"tenant_id": "a\x00b", "confirmation": "a\x00b"}])
def test_what_cannot_be_is_said_beside_the_form(boss, client, given):
    assert client.post(ADD, {**WANTED, **given}).status_code == 409
    assert Erasure.objects.count() == 0


def test_it_has_a_permission_of_its_own(support, client):
    client.force_login(support)
    assert client.get(f"{ADD}?tenant_id=acme").status_code == 403
    assert client.post(ADD, WANTED).status_code == 403
    names = ["view_erasure", "add_erasure", "view_endpoint", "view_delivery", "view_dlqentry"]
    support.user_permissions.set(Permission.objects.filter(codename__in=names))
    make_endpoint()
    assert client.post(ADD, WANTED).status_code == 303
    assert ADD in text_of(client.get(f"{BASE}endpoint/tenants/"))
