"""What ``emit`` asks the catalog, answered from memory once warm.

Each process reads the applications and event types of a database once and trusts them for ``CATALOG_REFRESH_SECONDS``;
saving or deleting one in this process is seen at once.
"""

import difflib
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.db import connections, transaction
from django.db.models.signals import post_delete, post_save

from django_relay import conf, exceptions
from django_relay.catalog import registry
from django_relay.models import Application, EventType
from django_relay.rules import event_names, schemas


@dataclass
class Entry:
    """One event type, ready for use."""

    application_id: str
    name: str
    schema: Any = None
    schema_version: str = ""
    deprecated: bool = False
    replaced_by: str = ""

    @cached_property
    def validator(self) -> schemas.Validator | None:
        """The compiled schema, if there is one."""
        return None if self.schema is None else schemas.compile(self.schema)


@dataclass
class _Snapshot:
    read_at: float
    applications: dict[str, str] = field(default_factory=dict)
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)


_snapshots: dict[str, _Snapshot] = {}
_SHOWN_CHARACTERS = 128
_LOOK_AGAIN_SECONDS = 1.0  # an unknown name makes us look again, but not more often than this


def find(name: str, *, application: str, using: str) -> Entry:
    """Return the entry of an event type that takes events.

    Raises:
        UnknownApplication: no such application.
        UnknownEventType: neither code nor the database knows the type.
        DeprecatedEventType: the type takes no new events.
        InvalidEventName: ``wrong_type``, the name is no text; ``reserved_event_type``, it begins with ``relay.``.
    """
    if not isinstance(name, str):
        raise exceptions.InvalidEventName("An event type's name must be text.", code="wrong_type")
    if name.startswith(event_names.RESERVED):
        event_names.validate_own_name(name[: event_names.MAX_LENGTH])
    if not isinstance(application, str):
        raise exceptions.UnknownApplication("An application is named by its slug, which is text.")
    entry = _entry(_snapshot(using, conf.settings.CATALOG_REFRESH_SECONDS), application, name)
    if entry is None:
        snapshot = _snapshot(using, _LOOK_AGAIN_SECONDS)
        entry = _entry(snapshot, application, name)
        if entry is None:
            raise _unknown(snapshot, application, name)
    if entry.deprecated:
        instead = f" Use {entry.replaced_by} instead." if entry.replaced_by else ""
        raise exceptions.DeprecatedEventType(f"The event type {name} is deprecated and takes no new events.{instead}")
    return entry


def clear(*, using: str = "", **kwargs: Any) -> None:
    """Forget what was read; until the transaction that changed it ends, what it reads is not kept either."""
    _snapshots.clear()
    if using and connections[using].in_atomic_block:
        transaction.on_commit(_committed, using=using)


def _committed() -> None:
    """Mark, by standing in a connection's list of callbacks, a transaction that changed the catalog."""
    _snapshots.clear()


def _is_changing(using: str) -> bool:
    return any(callback[1] is _committed for callback in connections[using].run_on_commit)


def connect() -> None:
    """Forget what was read whenever this process changes it."""
    for model in (Application, EventType):
        post_save.connect(clear, sender=model, dispatch_uid=f"django_relay.lookup.{model.__name__}")
        post_delete.connect(clear, sender=model, dispatch_uid=f"django_relay.lookup.{model.__name__}")


def _entry(snapshot: _Snapshot, application: str, name: str) -> Entry | None:
    entry = snapshot.entries.get((application, name))
    if entry is None and application in snapshot.applications:
        declared = registry.find(application, name)
        if declared is not None:
            entry = Entry(snapshot.applications[application], name, declared.schema, declared.schema_version)
            snapshot.entries[(application, name)] = entry
    return entry


def _unknown(snapshot: _Snapshot, application: str, name: str) -> exceptions.RelayError:
    if application not in snapshot.applications:
        return exceptions.UnknownApplication(f"There is no application {application!r}.")
    known = {entry for owner, entry in snapshot.entries if owner == application}
    known |= {item.name for item in registry.definitions() if item.application == application}
    name = name[:_SHOWN_CHARACTERS]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else " Declare it in an app's webhooks.py."
    return exceptions.UnknownEventType(f"There is no event type {name!r} in {application!r}.{hint}")


def _snapshot(using: str, trusted_seconds: float) -> _Snapshot:
    snapshot = _snapshots.get(using)
    if snapshot is None or time.monotonic() - snapshot.read_at > trusted_seconds:
        snapshot = _Snapshot(read_at=time.monotonic())
        slugs = dict(Application.objects.using(using).values_list("id", "slug"))
        snapshot.applications = {slug: application_id for application_id, slug in slugs.items()}
        rows = EventType.objects.using(using).values_list(
            "application_id", "name", "schema", "schema_version", "deprecated", "replaced_by"
        )
        for row in rows:
            if row[0] in slugs:
                snapshot.entries[(slugs[row[0]], row[1])] = Entry(*row)
        if not _is_changing(using):
            _snapshots[using] = snapshot
    return snapshot
