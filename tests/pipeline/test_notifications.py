"""NOTIFY and LISTEN against a real server, in an empty database of the module's own."""

import contextlib
import itertools
import socket
import struct
import threading
import time
import timeit
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_relay.pipeline import notifications, outbox
from example_project.settings import database
from tests import databases
from tests.factories import INVOICE, USING, make_event
from tests.processes import wait_until
from tests.threads import together

ALIAS = "notified"
PASSWORD = "correct-horse"


def relay(**values):
    """Override single settings of DJANGO_RELAY."""
    from django.conf import settings

    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


@pytest.fixture(scope="module")
def url():
    with databases.fresh("postgres") as url:
        yield url


@contextlib.contextmanager
def configured(url, **values):
    """Make the alias one of the database, with these values in its settings."""
    settings = {**database(url), **values}
    connections.settings[ALIAS] = connections.configure_settings({"default": settings})["default"]
    try:
        yield ALIAS
    finally:
        connections[ALIAS].close()
        del connections[ALIAS]
        del connections.settings[ALIAS]


@pytest.fixture
def alias(url, django_db_blocker):
    with django_db_blocker.unblock(), configured(url) as alias:
        yield alias


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Begin as a process that has sent and said nothing, and make what waits wait for less."""
    for state in ("_notified_at", "_complained_at", "_is_silent"):
        monkeypatch.setattr(notifications, state, {})
    monkeypatch.setattr(notifications, "_PROOF_SECONDS", 1.0)
    monkeypatch.setattr(notifications, "_SHORTEST_PAUSE_SECONDS", 0.05)
    before = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before, 10, "no thread is left")


@pytest.fixture
def ear(url):
    """A session that listens; call it for the payloads that came."""
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("LISTEN django_relay")
        yield lambda: heard(session)


def heard(session):
    session.execute("SELECT 1")  # what was sent before is delivered with its answer
    return [notification.payload for notification in session.notifies(timeout=0)]


def events(caplog):
    return [record.event for record in caplog.records if hasattr(record, "event")]


class Wakes:
    """Counts the calls of ``on_wake``."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1


@contextlib.contextmanager
def listening(alias):
    """A listener that has begun, and what it heard since then."""
    wakes = Wakes()
    with notifications.Listener(alias, wakes) as listener:
        wait_until(lambda: listener.is_listening and wakes.count, 10, "it listens")
        wakes.count = 0
        yield listener, wakes


def sessions(url, columns="pid"):
    """Return these columns of the listeners' sessions in this database."""
    with psycopg.connect(url, autocommit=True) as session:
        return session.execute(
            f"SELECT {columns} FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'django_relay listener'"
        ).fetchall()


class TestNotify:
    def test_is_heard_by_who_listens(self, alias, ear):
        notifications.notify(alias)
        assert ear() == [""]

    def test_at_most_once_in_50_ms(self, alias, ear):
        ends_at = time.monotonic() + 0.4
        began_at = time.monotonic()
        while time.monotonic() < ends_at:
            notifications.notify(alias)
        took = time.monotonic() - began_at
        assert 2 <= len(ear()) <= 1 + took / 0.05

    def test_threads_share_the_limit(self, alias, ear, monkeypatch):
        monkeypatch.setattr(notifications, "_APART_SECONDS", 60)
        together(lambda number: notifications.notify(alias), 8)
        assert ear() == [""]

    def test_a_database_does_not_silence_another(self, alias, ear):
        notifications._notified_at["another"] = time.monotonic()
        notifications.notify(alias)
        assert ear() == [""]

    def test_a_suppressed_one_costs_next_to_nothing(self, alias, monkeypatch):
        monkeypatch.setattr(notifications, "_APART_SECONDS", 60)
        notifications.notify(alias)
        with CaptureQueriesContext(connections[alias]) as queries:
            took = min(timeit.repeat(lambda: notifications.notify(alias), number=1_000, repeat=20)) / 1_000
        assert len(queries) == 0
        assert took < 2e-6

    def test_nothing_inside_a_transaction_and_that_uses_up_no_turn(self, alias, ear):
        with transaction.atomic(alias):
            notifications.notify(alias)
        assert ear() == []
        notifications.notify(alias)
        assert ear() == [""]

    def test_nothing_where_transactions_are_made_by_hand(self, alias, ear):
        connections[alias].set_autocommit(False)
        notifications.notify(alias)
        connections[alias].commit()
        assert ear() == []

    def test_nothing_when_switched_off(self, alias, ear):
        with relay(NOTIFY=False):
            notifications.notify(alias)
        assert ear() == []

    def test_what_fails_is_logged_once_and_goes_no_further(self, url, django_db_blocker, caplog):
        with django_db_blocker.unblock(), configured(url, HOST="/nowhere", PASSWORD=PASSWORD) as alias:
            for _ in range(3):
                notifications.notify(alias)
        assert events(caplog) == ["notify.failed"]
        assert "/nowhere" in caplog.text
        assert PASSWORD not in caplog.text

    def test_an_alias_that_does_not_exist_goes_no_further(self, caplog):
        notifications.notify("no-such-database")
        assert events(caplog) == ["notify.failed"]

    def test_a_process_forked_while_another_thread_held_the_lock_is_not_stuck(self, monkeypatch):
        assert notifications._is_first(ALIAS, time.monotonic())
        with notifications._locks[notifications.os.getpid()]:
            monkeypatch.setattr(notifications.os, "getpid", lambda: -1)
            child = threading.Thread(target=notifications._is_first, args=(ALIAS, time.monotonic()), daemon=True)
            child.start()
            child.join(5)
            assert not child.is_alive()


@pytest.mark.django_db(transaction=True)
class TestEmit:
    """What emit costs its caller, on each database."""

    @pytest.fixture(autouse=True)
    def _warm(self, backend, _impatient):
        self.said = ["NOTIFY"] if backend == "postgres" else []
        with relay(NOTIFY=False):
            make_event()

    @contextlib.contextmanager
    def queries(self):
        found = []
        with CaptureQueriesContext(connection) as queries:
            yield found
        found += [query["sql"].split()[0] for query in queries]

    def test_notifies_after_the_commit_and_not_before(self):
        with self.queries() as after, transaction.atomic(), self.queries() as before:
            make_event()
        assert before == ["INSERT"]
        assert after == ["BEGIN", "INSERT", "COMMIT", *self.said]

    def test_notifies_once_for_many_transactions_in_a_row(self, monkeypatch):
        monkeypatch.setattr(notifications, "_APART_SECONDS", 60)
        with self.queries() as found:
            for _ in range(3):
                make_event()
        assert found == ["INSERT", *self.said, "INSERT", "INSERT"]

    def test_another_session_hears_it_only_once_committed(self, backend):
        if backend == "sqlite":
            pytest.skip("SQLite notifies nobody")
        parameters = connection.get_connection_params()
        names = {"dbname", "user", "password", "host", "port"} & set(parameters)
        with psycopg.connect(**{name: parameters[name] for name in names}, autocommit=True) as session:
            session.execute("LISTEN django_relay")
            with transaction.atomic():
                make_event()
                assert heard(session) == []
                assert session.execute("SELECT count(*) FROM django_relay_event").fetchone() == (1,)
            assert heard(session) == [""]
            assert session.execute("SELECT count(*) FROM django_relay_event").fetchone() == (2,)

    def test_nothing_is_heard_of_what_was_rolled_back(self):
        with self.queries() as found, contextlib.suppress(ZeroDivisionError), transaction.atomic():
            make_event()
            raise ZeroDivisionError
        assert found == ["BEGIN", "INSERT", "ROLLBACK"]

    def test_many_in_one_transaction_notify_once(self):
        with self.queries() as found, transaction.atomic():
            outbox.emit_many([{"event_type": "invoice.paid", "data": INVOICE}] * 3)
            make_event()
        assert found[-1 - len(self.said) :] == ["COMMIT", *self.said]
        assert found.count("NOTIFY") == len(self.said)


class TestListener:
    def test_hears_what_django_notifies(self, alias):
        with listening(alias) as (_listener, wakes):
            notifications.notify(alias)
            wait_until(lambda: wakes.count, 5, "it heard", every=0.001)

    def test_hears_every_one(self, alias):
        with listening(alias) as (_listener, wakes):
            for number in range(20):
                notifications._notified_at.clear()
                notifications.notify(alias)
                wait_until(lambda number=number: wakes.count > number, 5, "it heard", every=0.001)
            assert wakes.count == 20

    def test_is_not_woken_by_the_proofs_of_others(self, alias, ear):
        with listening(alias) as (_listener, wakes):
            with listening(alias):
                pass
            assert len(ear()) == 2  # each proved itself
            time.sleep(0.1)
            assert wakes.count == 0

    def test_has_one_session_of_its_own_that_ends_with_it(self, alias, url):
        with listening(alias):
            assert sessions(url, "state, query") == [("idle", "LISTEN django_relay")]
            assert connections[alias].connection is None
        wait_until(lambda: sessions(url) == [], 5, "its session ended")

    def test_ends_at_once_and_may_be_closed_again(self, alias):
        with listening(alias) as (listener, wakes):
            began_at = time.monotonic()
            listener.close()
            assert time.monotonic() - began_at < 0.4
            assert not listener.is_listening
            listener.close()
            notifications.notify(alias)
            assert wakes.count == 0

    def test_survives_the_end_of_its_session(self, alias, url, caplog):
        with listening(alias) as (listener, wakes):
            [(first,)] = sessions(url)
            sessions(url, "pg_terminate_backend(pid)")
            wait_until(lambda: wakes.count, 10, "it looks for what it may have missed")
            assert listener.is_listening
            [(second,)] = sessions(url)
            assert second != first
            wakes.count = 0
            notifications.notify(alias)
            wait_until(lambda: wakes.count, 5, "it heard")
        assert events(caplog) == ["listener.lost", "listener.back"]

    def test_knows_that_it_hears_nothing_meanwhile(self, alias, url, monkeypatch):
        with listening(alias) as (listener, _wakes):
            monkeypatch.setattr(notifications, "_connect", refuse)
            sessions(url, "pg_terminate_backend(pid)")
            wait_until(lambda: not listener.is_listening, 5, "it noticed")

    def test_tries_less_and_less_often(self, alias, monkeypatch):
        tried_at = []

        def connect(using):
            tried_at.append(time.monotonic())
            refuse(using)

        monkeypatch.setattr(notifications, "_connect", connect)
        with notifications.Listener(alias, Wakes()):
            wait_until(lambda: len(tried_at) == 5, 10, "it tried", every=0.001)
        waits = [later - earlier for earlier, later in itertools.pairwise(tried_at)]
        assert [wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2, 0.4), strict=True)] == [True] * 4

    def test_what_on_wake_raises_does_not_end_it(self, alias):
        calls = []

        def on_wake():
            calls.append(1)
            raise RuntimeError("the worker is broken")

        with notifications.Listener(alias, on_wake):
            wait_until(lambda: len(calls) >= 2, 10, "it goes on")

    def test_keeps_out_of_djangos_pool(self, url):
        with configured(url, OPTIONS={"pool": {"min_size": 1}}) as alias:
            wrapper = type(connections[alias])
            with listening(alias):
                assert alias not in wrapper._connection_pools

    def test_logs_no_secret(self, url, caplog):
        for values in ({"OPTIONS": {PASSWORD: "1"}}, {"HOST": "/nowhere"}):
            notifications._is_silent.clear()
            caplog.clear()
            with configured(url, PASSWORD=PASSWORD, **values) as alias, notifications.Listener(alias, Wakes()):
                wait_until(lambda: caplog.records, 10, "it failed")
            assert events(caplog) == ["listener.lost"]
            assert PASSWORD not in caplog.text
            assert not any(record.exc_info for record in caplog.records)  # its frames hold the parameters

    def test_is_not_there_when_switched_off(self, alias):
        with relay(NOTIFY=False):
            assert has_no_thread(alias)

    def test_is_not_there_with_psycopg2(self, alias, monkeypatch):
        monkeypatch.setattr("django.db.backends.postgresql.psycopg_any.is_psycopg3", False)
        assert has_no_thread(alias)

    @pytest.mark.django_db
    def test_is_there_on_postgresql_alone(self, backend):
        assert has_no_thread(USING) == (backend == "sqlite")

    def test_without_a_descriptor_left_there_is_none(self, alias, monkeypatch, caplog):
        def pipe():
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(notifications.os, "pipe", pipe)
        assert has_no_thread(alias)
        assert events(caplog) == ["listener.lost"]


def refuse(using):
    raise psycopg.OperationalError("refused")


def has_no_thread(alias):
    before = set(threading.enumerate())
    with notifications.Listener(alias, Wakes()):
        return set(threading.enumerate()) == before


class Shared:
    """One of the connections that a pooler leads to the same session of the server."""

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    def close(self):
        """The session lives on for the next."""


class TestPooler:
    def test_a_session_that_others_share_is_not_listened_to(self, alias, url, monkeypatch, caplog):
        with psycopg.connect(url, autocommit=True) as session:
            monkeypatch.setattr(notifications, "_connect", lambda using: Shared(session))
            for _ in range(2):  # as the passes of one process, which come and go
                with notifications.Listener(alias, Wakes()) as listener:
                    wait_until(lambda: caplog.records, 10, "it noticed")
                    assert not listener.is_listening
            assert session.execute("SELECT pg_listening_channels()").fetchall() == []
        assert events(caplog) == ["listener.lost"]

    def test_one_whose_sharing_went_unseen_is_found_out_and_left_as_it_was(self, alias, url, monkeypatch, caplog):
        monkeypatch.setattr(notifications, "_PROOF_SECONDS", 0.3)
        monkeypatch.setattr(notifications, "_is_pooled", lambda connection, other: False)
        with psycopg.connect(url, autocommit=True) as session:
            monkeypatch.setattr(notifications, "_connect", lambda using: Shared(session))
            with notifications.Listener(alias, Wakes()) as listener:
                wait_until(lambda: caplog.records, 10, "it noticed")
                assert not listener.is_listening
            assert session.execute("SELECT pg_listening_channels()").fetchall() == []
        assert events(caplog) == ["listener.lost"]

    def test_where_listen_succeeds_and_nothing_arrives_it_does_not_claim_to_listen(
        self, url, tmp_path, monkeypatch, caplog
    ):
        monkeypatch.setattr(notifications, "_PROOF_SECONDS", 0.3)
        with swallowing(url, tmp_path) as folder, configured_through(url, folder) as alias:
            wakes = Wakes()
            with notifications.Listener(alias, wakes) as listener:
                wait_until(lambda: caplog.records, 10, "it noticed")
                assert not listener.is_listening
                assert wakes.count == 0
                Swallowing.on = False
                wait_until(lambda: listener.is_listening, 10, "it tries again")
        assert events(caplog) == ["listener.lost", "listener.back"]

    def test_closes_soon_while_the_server_does_not_answer(self, url, tmp_path):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / ".s.PGSQL.5432"))
            server.listen()
            with configured_through(url, tmp_path) as alias:
                listener = notifications.Listener(alias, Wakes())
                time.sleep(0.1)
                began_at = time.monotonic()
                listener.close()
                assert time.monotonic() - began_at < 1


class Swallowing:
    on = True


@contextlib.contextmanager
def configured_through(url, folder):
    with configured(url, HOST=str(folder), PORT="5432") as alias:
        yield alias


@contextlib.contextmanager
def swallowing(url, folder):
    """Give a folder with the socket of a proxy that passes on all but notifications, while ``Swallowing.on``."""
    Swallowing.on = True
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / ".s.PGSQL.5432"))
        server.listen()
        threading.Thread(target=accept, args=(server, url), daemon=True).start()
        yield folder
        server.shutdown(socket.SHUT_RDWR)


def accept(server, url):
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            upstream = connect_upstream(url)
            threading.Thread(target=pass_on, args=(client, upstream), daemon=True).start()
            threading.Thread(target=pass_on_but_notifications, args=(upstream, client), daemon=True).start()


def connect_upstream(url):
    parts = urlsplit(url)
    host = dict(parse_qsl(parts.query)).get("host", parts.hostname)
    port = parts.port or 5432
    if host.startswith("/"):
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(str(Path(host) / f".s.PGSQL.{port}"))
        return upstream
    return socket.create_connection((host, port))


def pass_on(source, target):
    with contextlib.suppress(OSError), source, target:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


def pass_on_but_notifications(source, target):
    with contextlib.suppress(OSError, struct.error), source.makefile("rb") as messages:
        while True:
            kind, length = struct.unpack("!ci", head := messages.read(5))
            body = messages.read(length - 4)
            if not (kind == b"A" and Swallowing.on):
                target.sendall(head + body)
