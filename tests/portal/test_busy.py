"""The portal while the database is locked, or gone."""

import pytest
from django.db import connection

from django_relay.models import AuditEntry, Endpoint
from django_relay.rules import tokens
from tests.factories import make_endpoint
from tests.portal.visitors import Visitor, text_of
from tests.unavailable import held_by_another, lose

pytestmark = pytest.mark.django_db(transaction=True)


def is_calm(response):
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert "One moment, please" in text_of(response)
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert tokens.PORTAL_COOKIE not in response.cookies
    return True


def test_what_cannot_be_stored_was_not_done_and_the_page_says_to_look(caplog):
    visitor, endpoint = Visitor(theme={"scheme": "dark"}), make_endpoint()
    with held_by_another():
        answers = [
            visitor.post("edit_endpoint", endpoint.pk, url=endpoint.url, subscribe="all", format="raw"),
            visitor.post("disable_endpoint", endpoint.pk),
            visitor.post("delete_endpoint", endpoint.pk),
        ]
        looked = visitor.get("endpoint", endpoint.pk)
    for answer in answers:
        assert is_calm(answer)
        assert "look whether it was done" in text_of(answer)
        assert 'data-mode="dark"' in text_of(answer)
    assert looked.status_code == 200
    stored = Endpoint.objects.get()
    assert (stored.format, stored.enabled, stored.deleted_at) == ("standard", True, None)
    assert not AuditEntry.objects.filter(object_id=endpoint.pk).exists()
    logged = [record for record in caplog.records if record.name.endswith("portal.frame")]
    assert {record.event for record in logged} == {"portal.database_busy"}
    assert not any("\n" in record.getMessage() for record in logged)
    assert visitor.post("disable_endpoint", endpoint.pk).status_code == 303


def test_what_cannot_be_read_is_there_again_with_the_same_cookie(monkeypatch, client):
    visitor, endpoint = Visitor(), make_endpoint()
    with monkeypatch.context() as patch:
        lose(patch)
        response = visitor.get("endpoint", endpoint.pk, span="7d")
        assert is_calm(response)
        assert f'href="/webhooks/endpoints/{endpoint.pk}/?span=7d"' in text_of(response)
    connection.close()
    assert visitor.get("endpoint", endpoint.pk).status_code == 200


def test_a_part_of_a_page_stays_as_it_is(monkeypatch):
    visitor = Visitor()
    with monkeypatch.context() as patch:
        lose(patch)
        response = visitor.get("endpoints", headers={"HX-Request": "true"})
    connection.close()
    assert (response.status_code, response["HX-Reswap"]) == (503, "none")
