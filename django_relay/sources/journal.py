"""What a transaction has done so far, remembered for exactly as long as the database remembers it.

Each note hangs on the transaction as an ``on_commit`` callback. Django drops a savepoint's callbacks when it is rolled
back, and all of them when the transaction is: so a note is there if, and only if, the writes made beside it are. What
is newer goes before what is older, and when the newer is dropped the older counts again, as in the database.

A note is ``pending`` while its transaction is open, then *kept* (committed) or gone. Django calls callbacks one by one
after the commit; while it does so, notes that it has not come to yet count as kept.
"""

import weakref
from collections.abc import Hashable
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

Key = Hashable


class Note:
    """What was done to one thing, in one transaction of one connection."""

    __slots__ = ("__weakref__", "is_kept", "key", "savepoints", "scope", "using", "value")

    def __init__(self, using: str, key: Key = None, value: Any = None) -> None:
        connection = connections[using]
        self.using = using
        self.key = key
        self.value = value
        self.scope = _scope(connection)
        self.savepoints = tuple(connection.savepoint_ids)
        self.is_kept = False

    def __call__(self) -> None:
        """Learn that the transaction was committed."""
        self.is_kept = True

    def counts(self) -> bool:
        """Return whether what it notes is in the database, as this thread's connection sees it."""
        return self.is_kept or id(self) in _index(self.using).pending


class _Index:
    """What can be found among a connection's callbacks without going through all of them each time."""

    def __init__(self) -> None:
        self._entries: list[Any] = []
        self._first: Any = None
        self._seen = 0
        self.pending: dict[int, Note] = {}
        self.newest: dict[Key, Note] = {}

    def catch_up(self, connection: BaseDatabaseWrapper) -> None:
        entries: list[Any] = connection.run_on_commit
        if entries is not self._entries:  # Django makes a new list when it rolls back, and when it has committed
            if self._is_being_called():
                for note in self.pending.values():
                    note.is_kept = True
            self._entries, self._seen, self.pending, self.newest = entries, 0, {}, {}
        for _savepoints, callback, *_robust in entries[self._seen :] if self._seen else entries:
            if isinstance(callback, Note):
                self.pending[id(callback)] = callback
                if callback.key is not None:
                    self.newest[callback.key] = callback
        self._seen = len(entries)
        self._first = entries[0] if entries else None

    def _is_being_called(self) -> bool:
        """Return whether the list was taken to be called after a commit: Django then takes from its beginning."""
        return self._first is not None and (not self._entries or self._entries[0] is not self._first)


_indexes: "weakref.WeakKeyDictionary[BaseDatabaseWrapper, _Index]" = weakref.WeakKeyDictionary()


def write(note: Note) -> None:
    """Let the transaction remember a note. Outside of one there is nothing that could be undone: it is kept."""
    transaction.on_commit(note, using=note.using, robust=True)


def read(using: str, key: Key) -> Any:
    """Return what the open transaction last noted under a key, ``None`` if nothing."""
    connection = connections[using]
    if not connection.run_on_commit:
        return None
    note = _index(using).newest.get(key)
    if note is None or note.scope is None or note.scope != _scope(connection):
        return None
    return note.value


def keys(using: str) -> list[Any]:
    """Return the keys of all that the open transaction has noted."""
    connection = connections[using]
    scope = _scope(connection) if connection.run_on_commit else None
    return [] if scope is None else [key for key, note in _index(using).newest.items() if note.scope == scope]


def _index(using: str) -> _Index:
    connection = connections[using]
    index = _indexes.get(connection)
    if index is None:
        index = _indexes[connection] = _Index()
    index.catch_up(connection)
    return index


def _scope(connection: BaseDatabaseWrapper) -> Hashable:
    """Return what the host takes for its transaction; ``None`` outside of any.

    Django's ``TestCase`` opens a transaction that no code under test knows of: there it is the savepoint that stands
    for one.
    """
    blocks: list[Any] = connection.atomic_blocks
    if not blocks:
        return None
    if not _is_of_testcase(blocks[0]):
        return "transaction"
    for number, block in enumerate(blocks):
        if not _is_of_testcase(block):
            savepoint: str | None = connection.savepoint_ids[number - len(blocks)]
            return savepoint or block
    return None


def _is_of_testcase(block: Any) -> bool:
    return bool(getattr(block, "_from_testcase", False))
