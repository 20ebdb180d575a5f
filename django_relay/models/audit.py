"""How it is recorded who did what: :func:`record`, in the transaction of the change itself."""

import ipaddress
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connections, models, router, transaction
from django.utils import timezone

from django_relay import conf
from django_relay.models import writing
from django_relay.models.audit_entry import ACTIONS, AuditEntry
from django_relay.rules import changes
from django_relay.rules.access import Caller

logger = logging.getLogger(__name__)

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def record(
    action: str,
    row: models.Model,
    *,
    caller: Caller,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    tenant_id: str | None = None,
    application: str | None = None,
    at: datetime | None = None,
    using: str | None = None,
) -> AuditEntry:
    """Store that ``caller`` did ``action`` to ``row``, in the transaction of the change; log it after commit.

    Args:
        action: one of :data:`~django_relay.models.audit_entry.ACTIONS`.
        row: what it was done to.
        caller: who did it, and from which address.
        before: values by field before the change; nothing for what was made.
        after: values by field after it. Of the two the entry keeps what differs, and never a secret
            (see :func:`django_relay.rules.changes.difference`).
        tenant_id: whose row it is, if neither the row nor the caller says.
        application: the slug of its application, likewise.
        at: when; default now.
        using: the database; default the one the row came from.

    Raises:
        ValueError: there is no such action.
        TransactionManagementError: no transaction is open, so the entry might outlive or miss its change.
    """
    values = {"before": before, "after": after, "tenant_id": tenant_id, "application": application}
    return record_all(action, [row], caller=caller, at=at, using=using, **values)[0]


def record_all(
    action: str,
    rows: Sequence[models.Model],
    *,
    caller: Caller,
    at: datetime | None = None,
    using: str | None = None,
    **told: Any,
) -> list[AuditEntry]:
    """Store that ``caller`` did ``action`` to each of the rows, as :func:`record` does, in one statement for all."""
    if action not in ACTIONS:
        raise ValueError(f"There is no action {action!r}: add it to models.audit_entry.ACTIONS.")
    if not rows:
        return []
    using = using or rows[0]._state.db or router.db_for_write(AuditEntry)
    if not connections[using].in_atomic_block:
        raise transaction.TransactionManagementError("Record what was done in the transaction that does it.")
    entries = [_entry(action, row, caller, at or timezone.now(), **told) for row in rows]
    AuditEntry.objects.using(using).bulk_create(entries)
    for entry in entries:
        writing.after_commit(_log, entry, using=using)
    return entries


def _entry(
    action: str,
    row: models.Model,
    caller: Caller,
    at: datetime,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    tenant_id: str | None = None,
    application: str | None = None,
) -> AuditEntry:
    owner, of_application = _owner(row, caller, application)
    return AuditEntry(
        actor=caller.actor,
        action=action,
        object_type=_WORD.sub("_", type(row).__name__).lower(),
        object_id=str(row.pk),
        application=of_application or "",
        tenant_id=owner if tenant_id is None else tenant_id,
        address=_address(caller) if conf.settings.AUDIT_ADDRESSES else None,
        changes=changes.difference(before, after),
        at=at,
    )


def _owner(row: models.Model, caller: Caller, application: str | None) -> tuple[str | None, str | None]:
    """Return tenant and application (its slug) of a row: its own, else the caller's; the application may be known."""
    if not hasattr(row, "application_id"):
        return getattr(row, "tenant_id", caller.tenant_id), caller.application if application is None else application
    if row.application_id is None:
        return None, application
    slug = row.application.slug if application is None else application  # type: ignore[attr-defined]
    return getattr(row, "tenant_id", None), slug


def _address(caller: Caller) -> str | None:
    try:
        return str(ipaddress.ip_address(caller.address))
    except ValueError:
        return None


def _log(entry: AuditEntry) -> None:
    extra = {
        "event": "audit.recorded",
        "action": entry.action,
        "actor": entry.actor,
        "object_id": entry.object_id,
        "tenant_id": entry.tenant_id,
    }
    logger.info("%s %s by %s", entry.action, entry.object_id, entry.actor, extra=extra)
