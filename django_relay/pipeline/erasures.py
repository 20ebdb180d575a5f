"""Erase a tenant: everything that is stored of it in one application goes, in chunks; a kill leaves nothing half done.

:func:`start` only writes down what is wanted; the workers do it (:func:`advance`), stage by stage, see :data:`STAGES`.
A transaction goes through a limited number of rows by their ids, whosever they are: it needs no index of tenants, and
is short however large the tables.

What is made after it was asked for stays: a host that lets a tenant go makes nothing more for it. The audit, the record
of who did what, stays until its own retention.
"""

import logging
import re
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from django.db import InterfaceError, OperationalError, connections, models, router, transaction

from django_relay.models import (
    ApiKey,
    Application,
    Attempt,
    Delivery,
    DLQEntry,
    Endpoint,
    EndpointHour,
    Erasure,
    Event,
    PortalSession,
    PublishFailure,
    Replay,
    TenantLock,
    statistics,
    writing,
)
from django_relay.models.clock import DatabaseClock
from django_relay.pipeline import wakeup
from django_relay.rules import texts

logger = logging.getLogger(__name__)

_SCANNED = 2_000
"""How many rows of a table one transaction goes through."""
_AT_ONCE = 100
"""How many endpoints one transaction deletes: each is locked and told of by itself."""
_PAUSE = timedelta(minutes=1)
"""How long an erasure rests that failed."""


def start(tenant_id: str, *, application: str = "default", actor: str = "", using: str | None = None) -> Erasure:
    """Have all that is stored of a tenant in an application deleted, and return the erasure; the workers do it.

    It cannot be cancelled. If one is in progress, that one is returned.

    Args:
        tenant_id: whose.
        application: the slug of the application.
        actor: who asked for it; kept in ``requested_by``, and logged.
        using: the database alias.

    Raises:
        UnknownApplication: no application has that slug.
        InvalidInput: ``bad_tenant_id``.
    """
    using = using or router.db_for_write(Erasure)
    owner = _application(tenant_id, application, using)
    return _start(owner, tenant_id, actor, now=DatabaseClock(using)(), using=using)


def count(tenant_id: str, *, application: str = "default", using: str | None = None) -> dict[str, statistics.Capped]:
    """Return how much is stored of a tenant in an application now, by what it is; none is counted without end.

    Attempts are not counted: there is at least one for each delivery that was tried.

    Raises:
        UnknownApplication: no application has that slug.
        InvalidInput: ``bad_tenant_id``.
    """
    using = using or router.db_for_write(Erasure)
    owned = {"application_id": _application(tenant_id, application, using).pk, "tenant_id": tenant_id}
    there = Endpoint.objects.using(using).filter(**owned)
    of_endpoints = {"endpoint_id__in": list(there.values_list("pk", flat=True)[: statistics.COUNTED])}
    tables: tuple[tuple[str, type[models.Model], dict[str, Any]], ...] = (
        ("endpoints", Endpoint, {**owned, "deleted_at": None}),
        ("api_keys", ApiKey, owned),
        ("portal_sessions", PortalSession, owned),
        ("replays", Replay, owned),
        ("events", Event, owned),
        ("deliveries", Delivery, of_endpoints),
        ("dlq_entries", DLQEntry, of_endpoints),
    )
    return {
        name: statistics.count(model._default_manager.using(using).filter(**where)) for name, model, where in tables
    }


def advance(*, now: datetime, using: str) -> int:
    """Do one chunk of one erasure that is in progress; return how many rows it went through, 0 if none can go on now.

    Costs one query when there is none. One that fails is logged, and tried again after a minute.
    """
    rows = Erasure.objects.using(using).in_progress().filter(updated_at__lte=now)
    for erasure_id in rows.order_by("updated_at").values_list("pk", flat=True)[:1]:
        try:
            return _advance(erasure_id, now=now, using=using)
        except (OperationalError, InterfaceError):
            raise  # the database's trouble is the worker's to wait for
        except Exception:
            logger.exception("An erasure failed.", extra={"event": "erasure.failed", "erasure_id": erasure_id})
            rows.filter(pk=erasure_id).update(updated_at=now + _PAUSE)
    return 0


def _application(tenant_id: str, slug: str, using: str) -> Application:
    """Return the application, once both names are checked."""
    texts.validate_text(tenant_id, code="bad_tenant_id")
    return Application.objects.using(using).named(slug)


@writing.in_transaction
def _start(owner: Application, tenant_id: str, actor: str, *, now: datetime, using: str) -> Erasure:
    erasure = Erasure(application=owner, tenant_id=tenant_id, requested_by=actor[:255], created_at=now, updated_at=now)
    if not writing.insert_new([erasure], using=using):
        return Erasure.objects.using(using).in_progress().get(application=owner, tenant_id=tenant_id)
    writing.after_commit(wakeup.wake, using, using=using)
    _log_after_commit("erasure.started", erasure, using)
    return erasure


@writing.in_transaction
def _advance(erasure_id: str, *, now: datetime, using: str) -> int:
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    rows = Erasure.objects.using(using).in_progress().select_for_update(skip_locked=skip_locked)
    erasure = rows.filter(pk=erasure_id).first()
    if erasure is None:
        return 0
    names = list(STAGES)
    erasure.stage = erasure.stage or names[0]
    erasure.state, erasure.started_at, erasure.updated_at = Erasure.State.RUNNING, erasure.started_at or now, now
    seen, is_done = STAGES[erasure.stage](erasure, now, using)
    if is_done:
        left = names[names.index(erasure.stage) + 1 :]
        erasure.stage, erasure.after = left[0] if left else "", ""
        if not left:
            erasure.state, erasure.completed_at = Erasure.State.COMPLETED, now
            _log_after_commit("erasure.completed", erasure, using)
    erasure.save(using=using)
    return seen + is_done


_Done = tuple[int, bool]
"""How many rows a stage went through, and whether it is over."""


def _endpoints(erasure: Erasure, using: str) -> models.QuerySet[Endpoint]:
    """Return the tenant's endpoints, the deleted ones too."""
    return Endpoint.objects.using(using).filter(
        application_id=erasure.application_id, tenant_id=erasure.tenant_id, created_at__lt=erasure.created_at
    )


def _delete_access(erasure: Erasure, now: datetime, using: str) -> _Done:
    """Delete the tenant's API keys and portal sessions first, so that nobody comes back in while the rest goes."""
    whose = {"application_id": erasure.application_id, "tenant_id": erasure.tenant_id}
    seen = 0
    for name, model in (("api_keys", ApiKey), ("portal_sessions", PortalSession)):
        rows = model._default_manager.using(using).filter(**whose, created_at__lt=erasure.created_at)
        found = set(rows.values_list("pk", flat=True)[:_SCANNED])
        seen = max(seen, _note(erasure, name, _delete(model, found, using)))
    return seen, seen < _SCANNED


def _delete_endpoints(erasure: Erasure, now: datetime, using: str) -> _Done:
    batch = list(_endpoints(erasure, using).filter(deleted_at__isnull=True).order_by("pk")[:_AT_ONCE])
    for endpoint in batch:
        endpoint.delete()
    return _note(erasure, "endpoints", len(batch)), len(batch) < _AT_ONCE


def _delete_replays(erasure: Erasure, now: datetime, using: str) -> _Done:
    rows = Replay.objects.using(using).filter(
        application_id=erasure.application_id, tenant_id=erasure.tenant_id, created_at__lt=erasure.created_at
    )
    return _note(erasure, "replays", _delete(Replay, set(rows.values_list("pk", flat=True)), using)), True


def _delete_deliveries(erasure: Erasure, now: datetime, using: str) -> _Done:
    """Delete deliveries with their attempts and DLQ entries; what is in flight is waited for, and settled first."""
    page, is_last = _page(Delivery, erasure, ("endpoint_id", "tenant_id"), using)
    asked = {row[1] for row in page if row[2] == erasure.tenant_id}
    owned = set(_endpoints(erasure, using).filter(pk__in=asked).values_list("pk", flat=True)) if asked else set()
    theirs = [row[0] for row in page if row[1] in owned]
    rows = Delivery.objects.using(using).filter(pk__in=theirs).order_by("pk").select_for_update()
    for pk, leased_until in list(rows.values_list("pk", "leased_until")):
        if leased_until is not None and leased_until > now:
            theirs = theirs[: theirs.index(pk)]
            page, is_last = [row for row in page if row[0] < pk], False
            break
    _note(erasure, "attempts", _delete(Attempt, theirs, using, by="delivery_id"))
    _note(erasure, "dlq_entries", _delete(DLQEntry, theirs, using, by="delivery_id"))
    _note(erasure, "deliveries", _delete(Delivery, theirs, using))
    erasure.after = page[-1][0] if page else erasure.after
    return len(page), is_last


def _delete_entries(erasure: Erasure, now: datetime, using: str) -> _Done:
    rows = DLQEntry.objects.using(using).filter(endpoint_id__in=_endpoints(erasure, using).values("pk"))
    found = set(rows.values_list("pk", flat=True)[:_SCANNED])
    return _note(erasure, "dlq_entries", _delete(DLQEntry, found, using)), len(found) < _SCANNED


def _delete_events(erasure: Erasure, now: datetime, using: str) -> _Done:
    page, is_last = _page(Event, erasure, ("application_id", "tenant_id", "created_at"), using)
    owner = (erasure.application_id, erasure.tenant_id)
    found = {row[0] for row in page if row[1:3] == owner and row[3] < erasure.created_at}
    _note(erasure, "events", _delete(Event, found, using))
    erasure.after = page[-1][0] if page else erasure.after
    return len(page), is_last


def _delete_failures(erasure: Erasure, now: datetime, using: str) -> _Done:
    page, is_last = _page(PublishFailure, erasure, ("tenant_id", "arguments", "created_at"), using)
    slug = erasure.application.slug
    found = {
        row[0]
        for row in page
        if row[1] == erasure.tenant_id and row[3] < erasure.created_at and _application_of(row[2]) == slug
    }
    _note(erasure, "publish_failures", _delete(PublishFailure, found, using))
    erasure.after = page[-1][0] if page else erasure.after
    return len(page), is_last


def _delete_rows(erasure: Erasure, now: datetime, using: str) -> _Done:
    """Delete the endpoints' hours, and when there are none left, the endpoints' own rows."""
    endpoints = _endpoints(erasure, using)
    hours = EndpointHour.objects.using(using).filter(endpoint_id__in=endpoints.values("pk"))
    found = set(hours.values_list("pk", flat=True)[:_SCANNED])
    _note(erasure, "hours", _delete(EndpointHour, found, using))
    if len(found) == _SCANNED:
        return len(found), False
    models.QuerySet.delete(endpoints)  # past Endpoint's own, which keeps the row
    TenantLock.objects.using(using).filter(application_id=erasure.application_id, tenant_id=erasure.tenant_id).delete()
    return len(found), True


STAGES: dict[str, Callable[[Erasure, datetime, str], _Done]] = {
    "access": _delete_access,
    "endpoints": _delete_endpoints,
    "replays": _delete_replays,
    "deliveries": _delete_deliveries,
    "dlq_entries": _delete_entries,
    "events": _delete_events,
    "publish_failures": _delete_failures,
    "rows": _delete_rows,
}
"""What is deleted, in an order in which nothing is made anew behind it."""


def _page(model: type[models.Model], erasure: Erasure, fields: tuple[str, ...], using: str) -> tuple[list[Any], bool]:
    """Return the next rows of a table by their ids, whosever they are, and whether they are the last."""
    rows = model._default_manager.using(using).order_by("pk")
    if erasure.after:
        rows = rows.filter(pk__gt=erasure.after)
    page = list(rows.values_list("pk", *fields)[:_SCANNED])
    return page, len(page) < _SCANNED


def _delete(model: type[models.Model], found: Collection[str], using: str, *, by: str = "pk") -> int:
    deleted, _by_model = model._default_manager.using(using).filter(**{f"{by}__in": found}).delete()
    return deleted


def _note(erasure: Erasure, what: str, number: int) -> int:
    erasure.deleted[what] = erasure.deleted.get(what, 0) + number
    return number


def _application_of(arguments: Any) -> str:
    """Return which application an event that could not be stored was for; the arguments may be kept as a ``repr``."""
    if set(arguments) != {"repr"}:
        return str(arguments.get("application", "default"))
    named = re.search(r"(?:^|, )application='([^']*)'", str(arguments["repr"]))
    return named.group(1) if named else "default"


def _log_after_commit(fact: str, erasure: Erasure, using: str) -> None:
    extra = {
        "event": fact,
        "erasure_id": erasure.pk,
        "tenant_id": erasure.tenant_id,
        "actor": erasure.requested_by,
        "deleted": dict(erasure.deleted),
    }
    transaction.on_commit(lambda: logger.info("%s %s", fact, erasure.pk, extra=extra), using=using, robust=True)
