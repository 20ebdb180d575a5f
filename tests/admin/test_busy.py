"""The admin while the database is locked, or gone."""

import pytest
from django.db import connection

from django_relay.models import AuditEntry, Endpoint
from tests.admin.conftest import make_staff
from tests.factories import make_endpoint
from tests.unavailable import held_by_another, lose

pytestmark = pytest.mark.django_db(transaction=True)

BASE = "/admin/django_relay/"


def is_calm(response):
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert "The database is busy" in response.content.decode()
    return True


def test_what_cannot_be_stored_was_not_done(boss, client, caplog):
    endpoint = make_endpoint()
    with held_by_another():
        assert is_calm(client.post(f"{BASE}endpoint/{endpoint.pk}/do/disable/", {"why": ""}))
        assert is_calm(client.post(f"{BASE}endpoint/{endpoint.pk}/do/delete/"))
        assert client.get(f"{BASE}endpoint/{endpoint.pk}/change/").status_code == 200
    assert Endpoint.objects.get().enabled
    assert not AuditEntry.objects.exists()
    assert {record.event for record in caplog.records if record.name.endswith("admin.busy")} == {"admin.database_busy"}
    assert client.post(f"{BASE}endpoint/{endpoint.pk}/do/disable/", {"why": ""}).status_code == 303


def test_what_cannot_be_read_is_there_again_without_a_new_login(client, monkeypatch):
    client.force_login(make_staff("boss", superuser=True))
    pages = ("endpoint/", "endpoint/tenants/", "application/", "eventtype/")
    for page in pages:
        with monkeypatch.context() as patch:
            lose(patch)
            assert is_calm(client.get(BASE + page)), page
        connection.close()
        assert client.get(BASE + page).status_code == 200, page
