"""From declarations to rows: after ``migrate``, by ``manage.py relay_sync_catalog``, and at run time."""

from collections import Counter
from typing import Any

from django.apps import AppConfig
from django.db import connections, router, transaction

from django_relay import exceptions
from django_relay.catalog import registry
from django_relay.models import Application, EventType
from django_relay.models.event_type import DEFINITION_FIELDS


def after_migrate(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """Make the ``default`` application and the declared event types, once the tables are there."""
    if not router.allow_migrate_model(using, EventType):
        return
    tables = connections[using].introspection.table_names()
    if EventType._meta.db_table in tables and Application._meta.db_table in tables:
        sync(using=using)


def sync(*, using: str) -> Counter[str]:
    """Write every declaration to its row, and count how many were ``created``, ``updated`` and ``unchanged``.

    Rows that code does not declare stay as they are.
    A type that staff deprecated stays deprecated: a deployment must not undo their decision.
    """
    counts: Counter[str] = Counter()
    with transaction.atomic(using):
        _application("default", using=using)
        for definition in registry.definitions():
            _row, change = _write(definition, using=using)
            counts[change] += 1
    return counts


def register_event_type(definition: registry.WebhookDefinition, *, using: str | None = None) -> EventType:
    """Create or update an event type at run time, revive it if it was deprecated, and return its row.

    For types known when the code is written, :func:`django_relay.register` in ``webhooks.py`` is the better place.

    Raises:
        InvalidEventName, InvalidSchema, InvalidDefinition: the definition cannot be used; nothing is written.
    """
    definition.check()
    using = using or router.db_for_write(EventType)
    with transaction.atomic(using):
        row, _change = _write(definition, using=using)
        if row.deprecated:
            row.deprecated, row.deprecated_at = False, None
            row.save(update_fields=["deprecated", "deprecated_at", "updated_at"])
    return row


def create_event_type(definition: registry.WebhookDefinition, *, using: str | None = None) -> EventType:
    """Create an event type at run time and return its row; :func:`register_event_type` also takes one there is.

    Raises:
        AlreadyExists: the application has it, deprecated or not.
        InvalidEventName, InvalidSchema, InvalidDefinition: the definition cannot be used; nothing is written.
    """
    definition.check()
    using = using or router.db_for_write(EventType)
    with transaction.atomic(using):
        row, change = _write(definition, using=using)
        if change != "created":  # the transaction takes back what was changed
            raise exceptions.AlreadyExists(f"There is an event type {definition.name} already; change it by PUT.")
    return row


def _write(definition: registry.WebhookDefinition, *, using: str) -> tuple[EventType, str]:
    application = _application(definition.application, using=using)
    values = {name: getattr(definition, name) for name in DEFINITION_FIELDS}
    values["metadata"] = dict(definition.metadata or {})
    row, created = EventType.objects.using(using).get_or_create(
        application=application, name=definition.name, defaults=values
    )
    if created:
        return row, "created"
    changed = [name for name, value in values.items() if getattr(row, name) != value]
    if not changed:
        return row, "unchanged"
    for name in changed:
        setattr(row, name, values[name])
    row.save(update_fields=[*changed, "updated_at"])
    return row, "updated"


def _application(slug: str, *, using: str) -> Application:
    application, _created = Application.objects.using(using).get_or_create(
        slug=slug, defaults={"name": slug.replace("-", " ").capitalize()}
    )
    return application
