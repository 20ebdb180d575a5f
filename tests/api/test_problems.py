"""What is not the caller's fault and mends itself: a database that is locked, or gone."""

import sqlite3
from contextlib import closing, contextmanager

import psycopg
import pytest
from django.db import connection

from django_relay.models import AuditEntry, Endpoint, writing
from tests.api.callers import code_of, tenant
from tests.factories import make_endpoint
from tests.people import ALICE

BODY = {"url": ALICE.url, "event_types": ["*"]}


def another(**options):
    return psycopg.connect(**{**connection.get_connection_params(), "cursor_factory": psycopg.Cursor, **options})


@contextmanager
def held_by_another():
    """Let another connection hold the lock that writes of endpoints need; ours waits for 50 ms."""
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA busy_timeout = 50")
            with closing(sqlite3.connect(name, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                yield
        else:
            cursor.execute("SET lock_timeout = '50ms'")
            with another() as other:
                other.execute("LOCK TABLE django_relay_endpoint IN EXCLUSIVE MODE")
                yield
    connection.close()  # the next one waits as long as it should


def lose(monkeypatch):
    """Let the database be gone for the connection under test."""
    if connection.vendor == "sqlite":
        connection.close()
        monkeypatch.setitem(connection.settings_dict, "NAME", "/nowhere/gone.sqlite3")
        return
    with another(autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])


@pytest.mark.django_db(transaction=True)
class TestADatabase:
    def test_that_is_locked_is_a_503_and_nothing_was_done(self, caplog):
        alice, endpoint = tenant(), make_endpoint()
        with held_by_another():
            answers = [
                alice.post("endpoints", BODY),
                alice.patch(f"endpoints/{endpoint.pk}", {"description": "new"}),
                alice.delete(f"endpoints/{endpoint.pk}"),
            ]
            looked = alice.get(f"endpoints/{endpoint.pk}")
        for answer in answers:
            assert (answer.status_code, code_of(answer)) == (503, "database_busy")
            assert answer.headers["Retry-After"] == "5"
            assert "Try again" in answer.data["detail"]
        assert looked.status_code == 200
        assert Endpoint.objects.get().description == ""
        assert not AuditEntry.objects.filter(action__startswith="endpoint").exists()
        assert {record.event for record in caplog.records if record.name.endswith("api.problems")} == {
            "api.database_busy"
        }
        assert alice.post("endpoints", BODY).status_code == 201

    def test_that_is_gone_is_a_503_until_it_is_back(self, monkeypatch):
        alice = tenant()
        with monkeypatch.context() as patch:
            lose(patch)
            answer = alice.get("endpoints")
            assert (answer.status_code, code_of(answer)) == (503, "database_busy")
        connection.close()
        assert alice.get("endpoints").status_code == 200


@pytest.mark.django_db
def test_a_statement_that_is_wrong_is_a_fault_of_ours():
    with pytest.raises(Exception) as caught, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM no_such_table")
    assert not writing.is_unavailable(caught.value)
