"""A database that does not answer the connection under test: held by another, or gone."""

import sqlite3
from contextlib import closing, contextmanager

import psycopg
from django.db import connection


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
