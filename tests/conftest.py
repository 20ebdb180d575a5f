"""Every test that touches the database runs twice in one session: on SQLite and on PostgreSQL.

A database test is parametrised with ``[sqlite]`` and ``[postgres]``; before its fixtures are set up the connection
``default`` is made to be the one or the other, so that the code under test never knows.
"""

import logging
import signal

import pytest
from django.core.cache import cache
from django.core.servers.basehttp import ThreadedWSGIServer
from django.db import connections
from django.test.utils import setup_databases, teardown_databases

from django_relay.catalog import lookup

BACKENDS = ("sqlite", "postgres")
_DATABASE_FIXTURES = {"db", "transactional_db"}

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Shells start background jobs deaf to Ctrl-C, and processes inherit that: those of the tests have to hear it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


ThreadedWSGIServer.request_queue_size = 128  # tests send more than ten requests at once to Django's live server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = metafunc.definition.get_closest_marker("django_db") is not None
    if "backend" in metafunc.fixturenames or marked or _DATABASE_FIXTURES & set(metafunc.fixturenames):
        if "backend" not in metafunc.fixturenames:
            metafunc.fixturenames.append("backend")
        metafunc.parametrize("backend", BACKENDS, scope="function")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _use(_backend(item))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    _use("sqlite")


def _backend(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("backend", "sqlite") if callspec else "sqlite"


def _use(backend: str) -> None:
    """Make the connection ``default`` (of this and of new threads) one to ``backend``; ``postgres`` is then the other."""
    current = connections.settings["default"]["ENGINE"]
    if ("postgresql" in current) == (backend == "postgres"):
        return
    for alias in ("default", "postgres"):
        connections[alias].close()
        del connections[alias]
    settings = connections.settings
    settings["default"], settings["postgres"] = settings["postgres"], settings["default"]


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment, django_db_blocker, django_db_modify_db_settings):
    """Make the test database of both, whatever the tests' marks name."""
    first = "sqlite" if "sqlite" in connections.settings["default"]["ENGINE"] else "postgres"
    _use("sqlite")  # Django notes each database's name by alias: as it is now, so it must be at the end
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, serialized_aliases=set())
    _use(first)
    yield
    _use("sqlite")
    with django_db_blocker.unblock():
        teardown_databases(made, verbosity=0)


@pytest.fixture(autouse=True)
def _forget_caches() -> None:
    lookup.clear()
    cache.clear()


@pytest.fixture(autouse=True)
def _logs_propagate(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="django_relay")
