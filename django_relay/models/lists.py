"""The lists of a tenant's history: events, deliveries, attempts and DLQ entries, newest first, by the page.

Every list begins with its :class:`Owner`. Deliveries, attempts and DLQ entries are found by their endpoints' indexes,
so that nothing more has to be written for each delivery than one index entry; a tenant's own list is its endpoints'
lists merged. Times are those in the ids, to a millisecond, except those of events, whose ids may say nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from django.db import models
from django.utils import timezone

from django_relay import conf, exceptions, ids
from django_relay.fields import PrefixedIdField
from django_relay.models import paging
from django_relay.models.attempt import Attempt
from django_relay.models.delivery import Delivery
from django_relay.models.dlq_entry import DLQEntry
from django_relay.models.endpoint import Endpoint
from django_relay.models.event import Event

ENDPOINTS = 100
"""How many endpoints' lists are merged into one; the list of a tenant that had more is read through everybody's, and
its pages may be sparse."""
DELIVERIES = 250
"""Of how many of an event's deliveries, the newest, its attempts are listed."""

STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx", "none")
ENTRY_STATES = ("open", "replayed", "discarded")

M = TypeVar("M", bound=models.Model)


class Owner(NamedTuple):
    """Whose rows: an application's id, and a tenant, or ``None`` for every tenant of the application."""

    application_id: str
    tenant_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a list is narrowed down to; what is empty narrows nothing."""

    endpoint_id: str = ""
    event_id: str = ""
    delivery_id: str = ""
    state: str = ""
    """A delivery's state, an event's status, or ``open``, ``replayed`` or ``discarded`` of a DLQ entry."""
    event_type: str = ""
    status_class: str = ""
    """One of :data:`STATUS_CLASSES`: of the (last) status code."""
    error_kinds: tuple[str, ...] = ()
    """One of these: of the (last) attempt."""
    since: datetime | None = None
    until: datetime | None = None
    """Before it."""


NO_FILTERS = Filters()
WAYS: tuple[Mapping[str, Any], ...] = (
    {"replay_of_id": None, "replay_id": None},
    {"replay_id": paging.ANY},
    {"replay_of_id": paging.ANY, "replay_id": None},
)
"""How an event's deliveries come about, as arms: those of ``delivery.WAYS``."""
_EVERYBODY: list[Mapping[str, Any]] = [{}]
"""The one arm of a list that is read through everybody's."""


def deliveries(
    owner: Owner, filters: Filters = NO_FILTERS, *, wanted: paging.Wanted, using: str
) -> paging.Page[Delivery]:
    """Return a page of deliveries, each with its endpoint and event (without payload; the event may be gone).

    Raises:
        InvalidCursor: the cursor is another list's.
    """
    states = [filters.state] if filters.state else list(Delivery.State.values)
    arms: list[Mapping[str, Any]]
    if filters.event_id:
        arms = [{"event_id": key, **made} for key in _event(owner, filters, using) for made in WAYS]
    else:
        found = _endpoints(owner, filters, using)
        arms = (
            _EVERYBODY if found is None else [{"endpoint_id": key, "state": state} for key in found for state in states]
        )
    wanted_rows = _by_status("last_status_code", filters) & models.Q(state__in=states)
    if filters.error_kinds:
        wanted_rows &= models.Q(last_error_kind__in=filters.error_kinds)
    if filters.event_type:
        wanted_rows &= models.Q(event__event_type=filters.event_type)
    if filters.endpoint_id:
        wanted_rows &= models.Q(endpoint_id=filters.endpoint_id)
    rows = _owned(Delivery.objects.using(using).filter(wanted_rows), owner, arms)
    rows = rows.prefetch_related(_endpoint(using), _events("event", using))
    exact = (
        arms != _EVERYBODY
        and not filters.event_id
        and not (filters.status_class or filters.error_kinds or filters.event_type)
    )
    return _page(rows, arms, ("id",), owner, filters, wanted, exact=exact)


def attempts(owner: Owner, filters: Filters = NO_FILTERS, *, wanted: paging.Wanted, using: str) -> paging.Page[Attempt]:
    """Return a page of attempts, each with its delivery and event (without payload; it may be gone).

    Raises:
        InvalidCursor: the cursor is another list's.
    """
    arms: list[Mapping[str, Any]]
    if filters.delivery_id:
        of_owner = Delivery.objects.using(using).filter(_of("endpoint", owner), pk=filters.delivery_id)
        arms = [{"delivery_id": key} for key in of_owner.values_list("pk", flat=True)]
    elif filters.event_id:
        arms = [
            {"delivery_id": key}
            for event_id in _event(owner, filters, using)
            for key in deliveries_of(event_id, using=using)
        ]
    else:
        found = _endpoints(owner, filters, using)
        arms = _EVERYBODY if found is None else [{"endpoint_id": key} for key in found]
    wanted_rows = _by_status("status_code", filters)
    if filters.error_kinds:
        wanted_rows &= models.Q(error_kind__in=filters.error_kinds)
    if filters.event_type:
        wanted_rows &= models.Q(delivery__event__event_type=filters.event_type)
    rows = _owned(Attempt.objects.using(using).filter(wanted_rows), owner, arms)
    rows = rows.prefetch_related("delivery").prefetch_related(_events("delivery__event", using))
    exact = arms != _EVERYBODY and not (filters.status_class or filters.error_kinds or filters.event_type)
    return _page(rows, arms, ("id",), owner, filters, wanted, exact=exact)


def events(owner: Owner, filters: Filters = NO_FILTERS, *, wanted: paging.Wanted, using: str) -> paging.Page[Event]:
    """Return a page of events (without payload), in the order in which they were emitted.

    Raises:
        InvalidCursor: the cursor is another list's.
    """
    arms = _EVERYBODY
    if owner.tenant_id is not None:
        arms = [{"application_id": owner.application_id, "tenant_id": owner.tenant_id}]
    wanted_rows = models.Q(application_id=owner.application_id)
    if filters.event_type:
        wanted_rows &= models.Q(event_type=filters.event_type)
    if filters.state:
        wanted_rows &= models.Q(status=filters.state)
    rows = Event.objects.using(using).filter(wanted_rows).defer("payload")
    exact = arms != _EVERYBODY and not (filters.event_type or filters.state)
    return _page(rows, arms, ("created_at", "id"), owner, filters, wanted, exact=exact)


def dlq_entries(
    owner: Owner, filters: Filters = NO_FILTERS, *, wanted: paging.Wanted, using: str
) -> paging.Page[DLQEntry]:
    """Return a page of DLQ entries.

    Raises:
        InvalidCursor: the cursor is another list's.
    """
    found = _endpoints(owner, filters, using)
    state: Mapping[str, Any] = {"replayed_at": None, "discarded_at": None} if filters.state == "open" else {}
    arms: list[Mapping[str, Any]] = _EVERYBODY if found is None else [{"endpoint_id": key, **state} for key in found]
    wanted_rows = _by_status("last_status_code", filters)
    if filters.event_type:
        wanted_rows &= models.Q(event_type=filters.event_type)
    if filters.error_kinds:
        wanted_rows &= models.Q(error_kind__in=filters.error_kinds)
    entries = DLQEntry.objects.using(using)
    entries = entries.in_state(filters.state) if filters.state else entries.all()
    rows = _owned(entries.filter(wanted_rows), owner, arms)
    exact = (
        arms != _EVERYBODY
        and filters.state in {"", "open"}
        and not (filters.status_class or filters.error_kinds or filters.event_type)
    )
    return _page(rows.prefetch_related(_endpoint(using)), arms, ("id",), owner, filters, wanted, exact=exact)


def deliveries_of(event_id: str, *, using: str) -> list[str]:
    """Return the ids of an event's deliveries, the newest :data:`DELIVERIES`."""
    found = Delivery.objects.using(using).of_events([event_id]).values_list("pk", flat=True)
    return sorted(found, reverse=True)[:DELIVERIES]


def _endpoints(owner: Owner, filters: Filters, using: str) -> list[str] | None:
    """Return the endpoints whose lists make up this one; ``None`` if there are too many.

    Deleted ones count while anything of theirs may be stored.
    """
    rows = Endpoint.objects.using(using).filter(_of("", owner))
    if filters.endpoint_id:
        return list(rows.filter(pk=filters.endpoint_id).values_list("pk", flat=True))
    if owner.tenant_id is None:
        return None
    days = max(conf.settings.DELIVERY_RETENTION_DAYS, conf.settings.DLQ_RETENTION_DAYS, 30) + 30
    kept = models.Q(deleted_at__isnull=True) | models.Q(deleted_at__gte=timezone.now() - timedelta(days=days))
    found = list(rows.filter(kept).values_list("pk", flat=True)[: ENDPOINTS + 1])
    return found if len(found) <= ENDPOINTS else None


def _event(owner: Owner, filters: Filters, using: str) -> list[str]:
    """Return the id of the event that is filtered by, if it is the owner's."""
    rows = Event.objects.using(using).filter(_of("", owner), pk=filters.event_id)
    return list(rows.values_list("pk", flat=True))


def _events(path: str, using: str) -> "models.Prefetch[Any]":
    # Not by a join: events are kept for a shorter time than deliveries.
    return models.Prefetch(path, Event.objects.using(using).defer("payload"))


def _endpoint(using: str) -> "models.Prefetch[Any]":
    return models.Prefetch("endpoint", Endpoint.objects.using(using).defer("headers"))


def _owned(rows: models.QuerySet[M], owner: Owner, arms: Sequence[Mapping[str, Any]]) -> models.QuerySet[M]:
    """Narrow rows down to the owner's, unless the arms are."""
    return rows if arms != _EVERYBODY else rows.filter(_of("endpoint", owner))


def _of(path: str, owner: Owner) -> models.Q:
    before = path and f"{path}__"
    owned = models.Q(**{f"{before}application_id": owner.application_id})
    return owned if owner.tenant_id is None else owned & models.Q(**{f"{before}tenant_id": owner.tenant_id})


def _by_status(name: str, filters: Filters) -> models.Q:
    if not filters.status_class:
        return models.Q()
    if filters.status_class == "none":
        return models.Q(**{f"{name}__isnull": True})
    first = int(filters.status_class[0]) * 100
    return models.Q(**{f"{name}__gte": first, f"{name}__lt": first + 100})


def _page(
    rows: models.QuerySet[M],
    arms: Sequence[Mapping[str, Any]],
    order: Sequence[str],
    owner: Owner,
    filters: Filters,
    wanted: paging.Wanted,
    *,
    exact: bool,
) -> paging.Page[M]:
    """Return the page of what fits in ``rows``; ``exact`` says that everything in ``arms`` does."""
    limit = paging.validate_limit(wanted.limit)
    of = {"list": rows.model._meta.model_name, "owner": owner, "filters": asdict(filters)}
    bounds = _bounds(rows.model, order, filters)
    if wanted.cursor is not None:
        key = _key(rows.model, order, paging.unseal(wanted.cursor, of=of))
        bounds = bounds._replace(last=key if bounds.last is None else min(key, list(bounds.last)))
    window = limit + 1 if exact else paging.LOOKS * limit
    seen = paging.looked_at(rows.model, arms, order=order, bounds=bounds, window=window, using=rows.db)
    newest = rows.filter(pk__in=seen).order_by(*(f"-{name}" for name in order))
    found = list(newest[: limit + 1])
    data = found[:limit]
    if len(found) > limit:
        return paging.Page(data, paging.seal([getattr(data[-1], name) for name in order], of=of))
    if len(seen) == window:
        # Rows of a list may be gone by now; those seen last go on from their key all the same.
        last = rows.model._default_manager.using(rows.db).filter(pk=seen[-1]).values_list(*order).first()
        return paging.Page(data, None if last is None else paging.seal(last, of=of))
    return paging.Page(data)


def _bounds(model: type[models.Model], order: Sequence[str], filters: Filters) -> paging.Bounds:
    moments = (filters.since, filters.until)
    if order[0] == "created_at":
        return paging.Bounds(*(None if moment is None else [moment] for moment in moments))
    prefix = PrefixedIdField.of(model).prefix
    return paging.Bounds(*(None if moment is None else [ids.earliest(moment, prefix=prefix)] for moment in moments))


def _key(model: type[models.Model], order: Sequence[str], key: Sequence[str]) -> list[Any]:
    try:
        return [paging.field_of(model, name).to_python(part) for name, part in zip(order, key, strict=True)]
    except (ValueError, TypeError) as error:
        raise exceptions.InvalidCursor from error
