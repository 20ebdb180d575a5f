"""Step 1: an event is stored in the caller's transaction, or not at all.

``emit`` costs one INSERT and no other query once the catalog is warm. After the commit the workers are woken; should
that wake be lost, they find the event by themselves.
"""

import hashlib
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.db import models, router, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from django_relay import conf, context, exceptions, ids
from django_relay.catalog import lookup
from django_relay.models import Event, PublishFailure, savepoints, writing
from django_relay.pipeline import publish_failures, wakeup
from django_relay.rules import filters, schemas, texts

logger = logging.getLogger(__name__)

_REQUIRED = {"event_type", "data"}
_ARGUMENTS = {
    *_REQUIRED, "tenant_id", "application", "event_id", "idempotency_key", "attributes", "occurred_at", "subject",
}  # fmt: skip
_REVISED = (
    "application_id", "tenant_id", "event_type", "schema_version", "payload", "payload_hash", "attributes",
    "occurred_at", "subject", "origin",
)  # fmt: skip
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def emit(
    event_type: str,
    data: Any,
    *,
    tenant_id: str = "",
    application: str = "default",
    event_id: str | None = None,
    idempotency_key: str = "",
    attributes: Mapping[str, Any] | None = None,
    occurred_at: datetime | None = None,
    subject: str = "",
    using: str | None = None,
) -> Event | None:
    """Store an event in the current transaction; it is delivered once, and only if, that commits.

    Args:
        event_type: the name of a declared event type.
        data: what happened, as JSON values; ``Decimal`` and ``UUID`` become strings, aware datetimes and dates ISO
            8601.
        tenant_id: whose endpoints may get it; ``""`` is the global tenant.
        application: the slug of the application whose catalog and endpoints are meant.
        event_id: an id of :func:`~django_relay.deterministic_event_id`; the same id stores one event.
        idempotency_key: up to 255 printable ASCII characters; the same key of a tenant stores one event.
        attributes: values that endpoints' filters look at.
        occurred_at: when it happened (aware); default now. The ``timestamp`` of the webhook.
        subject: what it is about, such as ``billing.Invoice:42``.
        using: the database alias; default the one that writes go to.

    Returns:
        The event; the first one if the same was emitted before; ``None`` while the kill switch is off.

    Raises:
        UnknownApplication, UnknownEventType, DeprecatedEventType: the catalog does not have it.
        InvalidPayload: ``data`` is no JSON, too large, too deep, or not what the schema promises.
        InvalidEvent: another argument cannot be used.
        IdempotencyConflict: the key or id was used for something else.

    Use :func:`emit_many` for a list, and :func:`emit_best_effort` after something that cannot be undone.
    """
    using = using or router.db_for_write(Event)
    if not is_enabled():
        return None
    event = build(
        event_type=event_type,
        data=data,
        tenant_id=tenant_id,
        application=application,
        event_id=event_id,
        idempotency_key=idempotency_key,
        attributes=attributes,
        occurred_at=occurred_at,
        subject=subject,
        using=using,
    )
    return store([event], using=using)[0]


class Sent(NamedTuple):
    """What became of a request to store an event."""

    event: Event
    is_new: bool
    """Whether this request stored it, and not one before."""


def send(events: Sequence[Mapping[str, Any]], *, using: str) -> list[Sent]:
    """Store events as :func:`emit_many` does, for those who must be told what became of each.

    Raises:
        SendingDisabled: the kill switch is off.
        RelayError: what :func:`emit` raises; then none of them is stored.
    """
    if not is_enabled():
        raise exceptions.SendingDisabled
    rows = [build(**_checked(event), using=using) for event in events]
    with transaction.atomic(using):
        stored = store(rows, using=using)
    return [Sent(found, found is row) for row, found in zip(rows, stored, strict=True)]


def emit_many(events: Iterable[Mapping[str, Any]], *, using: str | None = None) -> list[Event | None]:
    """Store many events in one INSERT; each is a mapping of :func:`emit`'s arguments.

    Returns the events in the order given. Raises what :func:`emit` raises; then none of them is stored.
    """
    using = using or router.db_for_write(Event)
    if not is_enabled():
        return [None for _ in events]
    rows = [build(**_checked(event), using=using) for event in events]
    if len(rows) < 2:
        return [*store(rows, using=using)]
    with transaction.atomic(using):  # a conflict of one must undo the others
        return [*store(rows, using=using)]


def _checked(event: Mapping[str, Any]) -> Mapping[str, Any]:
    if not _REQUIRED <= set(event) <= _ARGUMENTS:
        raise exceptions.InvalidEvent("Each event is a mapping of emit()'s arguments; event_type and data are needed.")
    return event


def store(rows: list[Event], *, using: str) -> list[Event]:
    """Store what :func:`build` made, and return it, each that was stored before as it is stored."""
    inserted = writing.insert_new(rows, using=using)
    if inserted:
        writing.after_commit(wakeup.wake, using, using=using)
    first_of_id: dict[str, Event] = {}
    for row in rows:
        first_of_id.setdefault(row.id, row)
    return [row if row.id in inserted and first_of_id[row.id] is row else _first(row, using=using) for row in rows]


async def aemit(event_type: str, data: Any, **arguments: Any) -> Event | None:
    """Store an event from asynchronous code; takes, returns and raises what :func:`emit` does.

    Django's transactions are synchronous: put the business change and :func:`emit` into one function run by
    ``sync_to_async`` where both must commit together.
    """
    return await sync_to_async(emit)(event_type, data, **arguments)


def emit_best_effort(event_type: str, data: Any, **arguments: Any) -> Event | None:
    """Store an event if that is possible, and never raise: for facts that can no longer be undone.

    What fails leaves the caller's transaction as it was and is kept as a ``PublishFailure``; if that fails too, it is
    logged. Takes and returns what :func:`emit` does.
    """
    try:
        using = arguments.get("using") or router.db_for_write(Event)
        with savepoints.guarded(using):
            savepoints.expect_one(using)
            return emit(event_type, data, **arguments)
    except Exception as error:  # noqa: BLE001 - that is its promise
        frame = sys._getframe(1)
        caller = f"{frame.f_globals.get('__name__', '')}:{frame.f_lineno}"
        publish_failures.keep({"event_type": event_type, "data": data, **arguments}, error, caller)
        return None


def emit_again(failure: PublishFailure, *, using: str) -> Event | None:
    """Emit what could not be stored, as if it were then, at most once.

    The failure is marked (``emitted_at``) in the transaction of its event. Returns ``None``, and leaves it as it was,
    if it was emitted meanwhile or while the kill switch is off.

    Raises:
        InvalidEvent: ``incomplete``, the arguments that were kept are not all that ``emit`` needs.
        RelayError, DatabaseError: it fails again, as ``emit`` says why.
    """
    arguments = publish_failures.arguments_of(failure)
    unsent = PublishFailure.objects.using(using).filter(pk=failure.pk, emitted_at__isnull=True)
    now = timezone.now()
    with transaction.atomic(using):
        if not is_enabled() or not unsent.update(emitted_at=now, updated_at=now):
            return None
        return emit(**arguments, using=using)


def revise(event_id: str, arguments: Mapping[str, Any], *, using: str) -> bool:
    """Let an event that the current transaction has stored say something else: a mapping of :func:`emit`'s arguments.

    It keeps its id. Only for events that no other transaction can have seen. Returns whether it was there. Raises what
    :func:`emit` raises.
    """
    row = build(**_checked(arguments), using=using)
    return writing.rewrite(row, _REVISED, where={"id": event_id, "status": Event.Status.PENDING}, using=using)


def withdraw(event_ids: Iterable[str], *, using: str) -> int:
    """Delete events that the current transaction has stored, and no other can have seen; return how many those were."""
    found, _by_model = Event.objects.using(using).pending().filter(pk__in=list(event_ids)).delete()
    return found


def is_enabled() -> bool:
    """Return whether events are taken: the kill switch, the setting ``ENABLED``."""
    switch: bool | str | Callable[[], bool] = conf.settings.ENABLED
    if isinstance(switch, str):
        switch = import_string(switch)
    return bool(switch() if callable(switch) else switch)


def build(
    *,
    using: str,
    event_type: str,
    data: Any,
    tenant_id: str = "",
    application: str = "default",
    event_id: str | None = None,
    idempotency_key: str = "",
    attributes: Mapping[str, Any] | None = None,
    occurred_at: datetime | None = None,
    subject: str = "",
) -> Event:
    """Return the event, checked and not stored; takes and raises what :func:`emit` does."""
    entry = lookup.find(event_type, application=application, using=using)
    payload = publish_failures.encode(data)
    _check_schema(entry, payload)
    now = timezone.now()
    event = writing.make(
        Event,
        application_id=entry.application_id,
        tenant_id=_text("tenant_id", tenant_id),
        event_type=entry.name,
        schema_version=entry.schema_version,
        payload=payload,
        payload_hash=hashlib.sha256(payload.encode()).hexdigest(),
        attributes=filters.validate_attributes(attributes or {}),
        idempotency_key=_key(idempotency_key),
        occurred_at=now if occurred_at is None else _moment(occurred_at),
        created_at=now,
        subject=_text("subject", subject),
        origin=context.current_origin(),
    )
    if event_id is not None:
        event.id = _event_id(event_id)
    return event


def _event_id(value: object) -> str:
    try:
        ids.to_uuid(str(value), prefix="evt_")
    except ValueError as error:
        raise exceptions.InvalidEvent(
            f"event_id must come from deterministic_event_id(). {error}", code="bad_event_id"
        ) from error
    return str(value)


def _key(value: object) -> str:
    if value == "" or (isinstance(value, str) and _KEY.fullmatch(value)):
        return str(value)
    raise exceptions.InvalidEvent("idempotency_key must be 1 to 255 printable ASCII characters.", code="bad_key")


def _moment(value: object) -> datetime:
    # Year 1 and year 9999 leave what a database can hold once they are turned to another time zone.
    if isinstance(value, datetime) and timezone.is_aware(value) and 1900 <= value.year <= 9000:
        return value
    raise exceptions.InvalidEvent(
        "occurred_at must be an aware datetime of the years 1900 to 9000.", code="bad_occurred_at"
    )


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > 255 or not texts.is_storable(value):
        raise exceptions.InvalidEvent(
            f"{name} must be text of at most 255 characters, without NUL.", code=f"bad_{name}"
        )
    return value


def _check_schema(entry: lookup.Entry, payload: str) -> None:
    mode = conf.settings.SCHEMA_VALIDATION
    if mode == "off" or entry.validator is None:
        return
    found = schemas.errors(entry.validator, json.loads(payload))
    if not found:
        return
    message = f"The data of {entry.name} does not fit its schema: {'; '.join(found)}"
    if mode == "block":
        raise exceptions.InvalidPayload(message, code="schema_mismatch")
    logger.warning(
        "Emitted %s although its data does not fit its schema.",
        entry.name,
        extra={"event": "event.schema_mismatch", "event_type": entry.name},
    )


def _first(row: Event, *, using: str) -> Event:
    """Return the event that stands in the way of ``row`` if it is the same one."""
    same = models.Q(pk=row.pk)
    if row.idempotency_key:
        same |= models.Q(idempotency_key=row.idempotency_key)
    found = Event.objects.using(using).filter(same, application_id=row.application_id, tenant_id=row.tenant_id)
    first = found.first()
    if first is None or (first.event_type, first.payload_hash) != (
        row.event_type,
        row.payload_hash,
    ):
        raise exceptions.IdempotencyConflict(
            "The idempotency key or event id was already used for another event type or other data."
        )
    return first
