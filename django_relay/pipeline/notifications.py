"""How PostgreSQL tells the workers that there is work: NOTIFY after a commit, LISTEN on a connection of its own.

The channel belongs to the database, so emitters and workers of one database meet there. A notification is a hint that
carries nothing: one that is lost or never sent costs a poll interval. Other databases have none; there the workers
poll.
"""

import logging
import os
import selectors
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Self

from django.db import connections

from django_relay import conf

if TYPE_CHECKING:
    from psycopg import Connection

logger = logging.getLogger(__name__)

CHANNEL = "django_relay"
"""The channel's name. An empty payload says that there may be work; any other is a listener's proof to itself."""
APPLICATION_NAME = "django_relay listener"
"""How the listeners' sessions are told from others in ``pg_stat_activity``."""

_APART_SECONDS = 0.05
_COMPLAINTS_APART_SECONDS = 60.0
_PROOF_SECONDS = 2.0
_SHORTEST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_JOIN_SECONDS = 0.5
_NEVER = float("-inf")

# A peer that vanished without a word is noticed by the kernel within a minute, at the cost of no query. What the
# project's OPTIONS say comes first.
_PATIENCE = {"connect_timeout": 5, "keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3}

_notified_at: dict[str, float] = {}
_complained_at: dict[str, float] = {}
# By process: a lock that is held while another thread forks stays held in the child.
_locks: dict[int, threading.Lock] = {}
# What was logged last of an alias: a process may have many listeners, one after the other.
_is_silent: dict[str, bool] = {}


def notify(using: str) -> None:
    """Send a NOTIFY over Django's connection, at most one in 50 ms a process and database. Never raises.

    Call it after the commit: inside a transaction it does nothing, since it would make commits wait for each other.
    One that is suppressed is made up for by the workers, who look again and again for 200 ms after each.
    """
    now = time.monotonic()
    if now - _notified_at.get(using, _NEVER) < _APART_SECONDS:
        return
    try:
        connection = connections[using]
        if (
            connection.vendor == "postgresql"
            and conf.settings.NOTIFY
            and connection.get_autocommit()  # never in a transaction: atomic() turns it off
            and _is_first(using, now)
        ):
            with connection.cursor() as cursor:
                cursor.execute(f"NOTIFY {CHANNEL}")
    except Exception as error:  # noqa: BLE001 - whatever it is, the event is committed and will be found
        if now - _complained_at.get(using, _NEVER) >= _COMPLAINTS_APART_SECONDS:
            _complained_at[using] = now
            logger.warning(
                "A NOTIFY could not be sent; the workers' next look finds the work: %s",
                _reason(error),
                extra={"event": "notify.failed", "database": using},
            )


def _is_first(using: str, now: float) -> bool:
    """Return whether this thread is the one to notify; then the others are not for a while."""
    with _locks.setdefault(os.getpid(), threading.Lock()):
        if now - _notified_at.get(using, _NEVER) < _APART_SECONDS:
            return False
        _notified_at[using] = now
        return True


class Listener:
    """Calls ``on_wake`` when somebody notified; listens from its making until :meth:`close`, or as a context manager.

    A daemon thread listens on a connection of its own, made from Django's parameters but outside its pool. Whatever
    fails there is logged, once for each change, and tried again; it never reaches the caller. Where there is nothing to
    hear (SQLite, psycopg2, ``NOTIFY`` off) there is no thread. Make it after a fork, never before.

    Args:
        using: the database alias.
        on_wake: called in the thread for each notification, several at once may count as one, and whenever listening
            began: what was notified before that is unheard. Must be quick and thread-safe.
    """

    def __init__(self, using: str, on_wake: Callable[[], None]) -> None:
        self.using = using
        self.is_listening = False
        """Whether notifications are known to arrive. It is not enough that LISTEN succeeded: behind a pooler that
        gives sessions away by transaction they go to nobody."""
        self._on_wake = on_wake
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        if not _can_listen(using):
            return
        try:
            self._stop_reader, self._stop_writer = os.pipe()
            thread = threading.Thread(target=self._run, name=APPLICATION_NAME, daemon=True)
            thread.start()
            self._thread = thread
        except (OSError, RuntimeError) as error:  # no descriptor or no thread left
            _note(using, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and its connection. Returns within a second; may be called again."""
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is None:
            return
        os.write(self._stop_writer, b"x")
        thread.join(_JOIN_SECONDS)
        if not thread.is_alive():  # else it is busy connecting, ends by itself after that, and still needs the pipe
            os.close(self._stop_reader)
            os.close(self._stop_writer)

    def _run(self) -> None:
        pause = _SHORTEST_PAUSE_SECONDS
        while not self._stopping.is_set():
            try:
                with closing(_connect(self.using)) as connection, selectors.DefaultSelector() as selector:
                    selector.register(connection.fileno(), selectors.EVENT_READ)
                    selector.register(self._stop_reader, selectors.EVENT_READ)
                    self._begin(connection, selector)
                    if self.is_listening:
                        pause = _SHORTEST_PAUSE_SECONDS
                    while not self._stopping.is_set():
                        selector.select()
                        if "" in _heard(connection):
                            self._on_wake()
            except Exception as error:  # noqa: BLE001 - a thread that ends would leave the worker deaf for good
                if not self._stopping.is_set():
                    _note(self.using, error)
            finally:
                self.is_listening = False
            self._stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _begin(self, connection: "Connection[Any]", selector: selectors.BaseSelector) -> None:
        """Listen, and prove that what another session notifies arrives here while this one is idle.

        Proven once a connection: what stands between it and the server does not change while it lives, and that it
        died is seen by the kernel. Only a notification from elsewhere proves anything: a pooler hands on what a session
        says to itself.

        Raises:
            _DeafError: it does not.
        """
        with closing(_connect(self.using)) as other:
            if _is_pooled(connection, other):
                raise _DeafError("a pooler gives its session to others between two transactions")
            connection.execute("SET idle_session_timeout = 0")  # being idle is what it is for
            connection.execute(f"LISTEN {CHANNEL}")
            proof = uuid.uuid4().hex
            other.execute("SELECT pg_notify(%s, %s)", [CHANNEL, proof])
        ends_at = time.monotonic() + _PROOF_SECONDS
        while not self._stopping.is_set():
            selector.select(max(ends_at - time.monotonic(), 0.0))
            if proof in _heard(connection):
                self.is_listening = True
                _note(self.using, None)
                self._on_wake()
                return
            if time.monotonic() >= ends_at:
                with suppress(Exception):  # a session that outlives this connection would go on to tell others
                    connection.execute("UNLISTEN *")
                raise _DeafError(f"a notification took longer than {_PROOF_SECONDS:g} s")


class _DeafError(Exception):
    """Listening succeeded and notifications do not arrive."""


def _can_listen(using: str) -> bool:
    connection = connections[using]
    if not conf.settings.NOTIFY or connection.vendor != "postgresql" or os.name != "posix":
        return False  # elsewhere than on POSIX a pipe cannot be waited for
    from django.db.backends.postgresql import psycopg_any  # noqa: PLC0415 - fails without a PostgreSQL driver

    return bool(psycopg_any.is_psycopg3)


def _connect(using: str) -> "Connection[Any]":
    """Open a connection beside Django's: same server, same rights, no pool, no transaction."""
    import psycopg  # noqa: PLC0415 - a project on SQLite does not have it

    parameters = connections[using].get_connection_params()
    for name in ("context", "cursor_factory"):  # how Django reads values; the pool it has already left out
        parameters.pop(name, None)
    fixed: dict[str, Any] = {"autocommit": True, "application_name": APPLICATION_NAME}
    connection: Connection[Any] = psycopg.connect(**{**_PATIENCE, **parameters, **fixed})
    return connection


def _is_pooled(connection: "Connection[Any]", other: "Connection[Any]") -> bool:
    """Return whether both share the server's sessions, as behind PgBouncer in transaction mode.

    Found out before LISTEN: a shared session that listens would send notifications to whoever has it next.
    """
    before = _session(connection)
    with other.transaction():
        return _session(other) == before or _session(connection) != before


def _session(connection: "Connection[Any]") -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


def _heard(connection: "Connection[Any]") -> set[str]:
    """Return the payloads that have come. Asks libpq: what psycopg does with notifications differs by version.

    Raises:
        psycopg.OperationalError: the connection is lost.
    """
    connection.pgconn.consume_input()
    payloads = set()
    while (notification := connection.pgconn.notifies()) is not None:
        payloads.add(notification.extra.decode())
    connection.fileno()  # raises if the server said goodbye in what was just read
    return payloads


def _note(using: str, error: Exception | None) -> None:
    """Log that notifications stopped to arrive, or arrive again: once for each change."""
    if _is_silent.get(using, False) == (error is not None):
        return
    _is_silent[using] = error is not None
    if error is None:
        logger.info("Notifications arrive again.", extra={"event": "listener.back", "database": using})
    else:
        logger.warning(
            "Notifications do not arrive, the worker polls instead: %s",
            _reason(error),
            extra={"event": "listener.lost", "database": using},
        )


def _reason(error: Exception) -> str:
    """Say what failed in words that hold no secret: the server's own, and never what a parameter's refusal quotes."""
    names = [kind.__name__ for kind in type(error).__mro__]
    is_told = isinstance(error, _DeafError) or "OperationalError" in names
    return f"{names[0]}: {error}" if is_told else names[0]
