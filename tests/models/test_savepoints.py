"""Guarded blocks: what they undo is what Django's do, and what they send is less."""

from contextlib import contextmanager, suppress

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from django_relay.models import Application, savepoints, writing
from tests.factories import USING
from tests.wrappers import telling

pytestmark = pytest.mark.django_db(transaction=True)


def write(slug):
    Application.objects.create(slug=slug, name=slug)


def read():
    return list(Application.objects.order_by("slug").exclude(slug="default").values_list("slug", flat=True))


# --- what is undone ---


def nothing(block, heard):
    pass


def reads(block, heard):
    read()


def writes(block, heard):
    write("inside")


def raises(block, heard):
    raise ZeroDivisionError


def writes_and_raises(block, heard):
    transaction.on_commit(lambda: heard.append("inside"))
    write("inside")
    transaction.on_commit(lambda: heard.append("inside"))
    raise ZeroDivisionError


def has_hooks(block, heard):
    transaction.on_commit(lambda: heard.append("inside"))


def fails_in_the_database(block, heard):
    write("inside")
    write("before")


def fails_at_once_in_the_database(block, heard):
    write("before")


def swallows_an_error_of_the_database(block, heard):
    with suppress(IntegrityError):
        write("before")


def mends_an_error_of_the_database(block, heard):
    with suppress(IntegrityError), transaction.atomic():
        write("before")
    write("inside")


def swallows_in_a_block_without_savepoint(block, heard):
    write("inside")
    with suppress(ZeroDivisionError), transaction.atomic(savepoint=False):
        raise ZeroDivisionError


def swallows_before_anything_is_sent(block, heard):
    with suppress(ZeroDivisionError), transaction.atomic(savepoint=False):
        raise ZeroDivisionError
    write("inside")


def begins_in_a_block_without_savepoint(block, heard):
    with transaction.atomic(savepoint=False):
        write("inside")
    write("inside too")


def asks_to_be_undone(block, heard):
    write("inside")
    transaction.set_rollback(True)


def nests(block, heard):
    with block():
        write("inner")
    write("inside")


def nests_and_raises(block, heard):
    with block():
        write("inner")
    raise ZeroDivisionError


def nests_what_raises(block, heard):
    write("inside")
    with suppress(ZeroDivisionError), block():
        write("inner")
        raise ZeroDivisionError


def nests_what_raises_first(block, heard):
    with suppress(ZeroDivisionError), block():
        write("inner")
        raise ZeroDivisionError
    write("inside")


def sets_savepoints_by_hand(block, heard):
    point = transaction.savepoint()
    write("undone")
    transaction.savepoint_rollback(point)
    write("inside")
    transaction.savepoint_commit(point)


def iterates_over_a_cursor_of_the_server(block, heard):
    heard.append(len(list(Application.objects.iterator(chunk_size=1))))
    write("inside")
    raise ZeroDivisionError


SCENES = [
    nothing, reads, writes, raises, writes_and_raises, has_hooks, fails_in_the_database, fails_at_once_in_the_database,
    swallows_an_error_of_the_database, mends_an_error_of_the_database, swallows_in_a_block_without_savepoint,
    swallows_before_anything_is_sent, begins_in_a_block_without_savepoint, asks_to_be_undone, nests, nests_and_raises,
    nests_what_raises, nests_what_raises_first, sets_savepoints_by_hand, iterates_over_a_cursor_of_the_server,
]  # fmt: skip


def play(block, scene):
    """Return what there is, and what was heard, after a scene in a block of a transaction that goes on."""
    heard = []
    with transaction.atomic():
        write("before")
        transaction.on_commit(lambda: heard.append("before"))
        try:
            with block():
                scene(block, heard)
        except (ZeroDivisionError, DatabaseError) as error:
            heard.append(type(error).__name__)
        states = (connection.needs_rollback, list(connection.savepoint_ids), len(connection.execute_wrappers))
        assert states == (False, [], 0)
        write("after")
    found = read()
    Application.objects.exclude(slug="default").delete()
    return found, heard


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_undoes_what_djangos_own_block_undoes(scene):
    expected = play(transaction.atomic, scene)
    assert expected[0][:2] == ["after", "before"]
    assert play(lambda: savepoints.guarded(USING), scene) == expected


def test_outside_of_a_transaction_is_one():
    with suppress(ZeroDivisionError), savepoints.guarded(USING):
        write("inside")
        raise ZeroDivisionError
    assert read() == []


def test_a_transaction_that_is_to_be_rolled_back_stays_so():
    with transaction.atomic():
        transaction.set_rollback(True)
        with savepoints.guarded(USING):
            pass
        assert connection.needs_rollback


# --- what is sent ---


def insert(slug):
    return bool(writing.insert_new([Application(slug=slug, name=slug)], using=USING))


def store(slug):
    """Write a row as the only thing that a block does."""
    savepoints.expect_one(USING)
    return insert(slug)


@contextmanager
def sending():
    """Give a guarded block of a transaction that goes on, and a list that holds at the end what was sent."""
    verbs = []
    with transaction.atomic():
        write("before")
        failing = suppress(ZeroDivisionError, DatabaseError)
        with CaptureQueriesContext(connection) as captured, failing, savepoints.guarded(USING):
            yield verbs
        write("after")
    verbs += [" ".join(part.split()[0] for part in query["sql"].split("; ")) for query in captured if query["sql"]]


IN_ONE_GO = "SAVEPOINT INSERT RELEASE"


class TestWhatIsSent:
    @pytest.fixture(autouse=True)
    def _on_postgres(self):
        if connection.vendor == "sqlite":
            pytest.skip("SQLite's savepoints are Django's: they cost no round trip")

    def test_is_nothing_where_nothing_is_done(self):
        with sending() as verbs:
            pass
        assert verbs == []

    def test_is_nothing_where_it_raises_before_it_has_done_anything(self):
        with sending() as verbs:
            raise ZeroDivisionError
        assert verbs == []

    def test_is_the_savepoint_with_the_first_statement(self):
        with sending() as verbs:
            read()
            write("inside")
        assert verbs == ["SAVEPOINT", "SELECT", "INSERT", "RELEASE"]
        assert read() == ["after", "before", "inside"]

    def test_is_one_round_trip_for_one_write(self):
        with sending() as verbs:
            assert store("inside")
        assert verbs == [IN_ONE_GO]
        assert read() == ["after", "before", "inside"]

    def test_is_one_round_trip_for_a_row_that_is_there(self):
        with sending() as verbs:
            assert not store("before")
        assert verbs == [IN_ONE_GO]
        assert read() == ["after", "before"]

    def test_undoes_a_write_that_fails(self):
        with sending() as verbs:
            store("x" * 1_000)
        assert verbs == [IN_ONE_GO, "ROLLBACK", "RELEASE"]
        assert read() == ["after", "before"]

    def test_undoes_what_came_after_something_else(self):
        with sending() as verbs:
            read()
            store("inside")
            raise ZeroDivisionError
        assert verbs == ["SAVEPOINT", "SELECT", "INSERT", "ROLLBACK", "RELEASE"]
        assert read() == ["after", "before"]

    def test_guards_what_comes_after_the_one_write(self):
        with sending() as verbs:
            store("inside")
            write("undone")
            raise ZeroDivisionError
        assert verbs == [IN_ONE_GO, "SAVEPOINT", "INSERT", "ROLLBACK", "RELEASE"]
        assert read() == ["after", "before", "inside"]

    def test_is_one_round_trip_once_and_no_other_time(self):
        with sending() as verbs:
            store("inside")
            insert("undone")
            raise ZeroDivisionError
        assert verbs == [IN_ONE_GO, "SAVEPOINT", "INSERT", "ROLLBACK", "RELEASE"]
        assert read() == ["after", "before", "inside"]

    def test_is_as_ever_where_something_was_read_first_after_all(self):
        with sending() as verbs:
            savepoints.expect_one(USING)
            read()
            insert("undone")
            raise ZeroDivisionError
        assert verbs == ["SAVEPOINT", "SELECT", "INSERT", "ROLLBACK", "RELEASE"]
        assert read() == ["after", "before"]

    def test_is_nothing_in_a_block_that_is_to_be_undone(self):
        with sending() as verbs:
            with suppress(ZeroDivisionError), transaction.atomic(savepoint=False):
                raise ZeroDivisionError
            with suppress(transaction.TransactionManagementError):
                store("undone")
        assert verbs == []
        assert read() == ["after", "before"]

    def test_lets_a_block_around_undo_the_one_write_of_a_block_within(self):
        with sending() as verbs:
            with savepoints.guarded(USING):
                store("inside")
            raise ZeroDivisionError
        assert verbs == ["SAVEPOINT", IN_ONE_GO, "ROLLBACK", "RELEASE"]
        assert read() == ["after", "before"]

    def test_is_as_ever_where_parameters_go_beside_the_statement(self, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"server_side_binding": True})
        connection.close()
        with sending() as verbs:
            store("inside")
        connection.close()
        assert verbs == ["SAVEPOINT", "INSERT", "RELEASE"]
        assert read() == ["after", "before", "inside"]

    def test_says_nothing_is_usable_when_the_session_is_lost(self):
        with suppress(DatabaseError), transaction.atomic():
            with suppress(DatabaseError), savepoints.guarded(USING), connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            assert connection.needs_rollback
        write("again")
        assert read() == ["again"]

    @pytest.mark.parametrize("is_beside", [True, False])
    def test_is_undone_where_statements_are_prepared(self, monkeypatch, is_beside):
        options = {"prepare_threshold": 0, "server_side_binding": is_beside}
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
        connection.close()
        with sending():
            write("inside")
            raise ZeroDivisionError
        with transaction.atomic():
            assert read() == ["after", "before"]
        connection.close()

    def test_leaves_a_connection_that_the_block_closed_to_django(self):
        with suppress(DatabaseError), transaction.atomic():
            with savepoints.guarded(USING):
                connection.close()
            assert connection.needs_rollback

    def test_leaves_wrappers_alone_that_the_block_put_beside(self):
        with transaction.atomic():
            with savepoints.guarded(USING):
                connection.execute_wrappers.append(telling)
            assert connection.execute_wrappers == [telling]
            connection.execute_wrappers.clear()

    def test_says_what_is_wrong_where_there_is_nothing_to_go_back_to(self):
        with transaction.atomic():
            with pytest.raises(psycopg.errors.DivisionByZero), savepoints.guarded(USING):
                connection.connection.execute("SELECT 1 / 0")  # past Django
            with pytest.raises(transaction.TransactionManagementError):
                read()
            transaction.set_rollback(True)


class TestUnderWrappersOfTheHosts:
    """They see, change, refuse or fail what is sent; what we send must bear it as what Django sends does."""

    def test_one_write_is_stored_and_counted(self):
        with transaction.atomic(), connection.execute_wrapper(telling), savepoints.guarded(USING):
            assert store("inside")
        with transaction.atomic(), connection.execute_wrapper(telling), savepoints.guarded(USING):
            assert not store("inside")
        assert read() == ["inside"]

    def test_many_are(self):
        rows = [Application(slug=slug, name=slug) for slug in "abc"]
        with connection.execute_wrapper(telling):
            assert len(writing.insert_new(rows, using=USING)) == 3
        assert read() == ["a", "b", "c"]

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_write_that_they_fail_is_undone(self, when):
        def fail(execute, sql, *rest):
            if "INSERT" not in sql:
                return execute(sql, *rest)
            if when == "after":
                execute(sql, *rest)
            raise ZeroDivisionError

        with transaction.atomic():
            with suppress(ZeroDivisionError), connection.execute_wrapper(fail), savepoints.guarded(USING):
                store("undone")
            write("after")
        assert read() == ["after"]
