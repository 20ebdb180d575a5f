"""What a replay matches, for one endpoint, in an order that can be gone on with from any place.

=========== ============================================================================================ ==============
kind        matches, of one endpoint                                                                     in the order
=========== ============================================================================================ ==============
``failed``  its DLQ entries that are open and failed in the window                                       of their ids
``discard`` the same
``missing`` events of the window that it wants as it is now, and never got a delivery of                 of their time
``all``     events of the window that it wants as it is now, but those on their way to it
``event``   the events named, whether it wants them or not, but those on their way to it
=========== ============================================================================================ ==============

Pending events are fanned out by themselves, and test events are nobody's but the test's: none is ever matched.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypedDict

from django.db import models
from django.utils import timezone

from django_relay import exceptions, ids
from django_relay.models import Application, Delivery, DLQEntry, Endpoint, Event, Replay
from django_relay.models.delivery import FIRST, WAYS, DeliveryQuerySet
from django_relay.rules import event_names, filters, subscribing, texts

MAX_IDS = 1_000
"""The most ids that one replay can be asked for."""
_BULK = (Replay.Kind.FAILED, Replay.Kind.MISSING, Replay.Kind.ALL, Replay.Kind.DISCARD)
_OF_EVENTS = (Replay.Kind.MISSING, Replay.Kind.ALL)


class Wanted(TypedDict, total=False):
    """The filter of a bulk replay."""

    since: datetime | None
    """The window's beginning (aware): when the delivery was given up; for ``missing`` and ``all``, which need it, when
    the event was emitted."""
    until: datetime | None
    """The window's end, exclusive; default, and at most, now."""
    event_types: Sequence[str] | None
    """Patterns such as ``invoice.*``; default all."""
    endpoint_ids: Sequence[str] | None
    """Endpoints of the tenant; default all that are not deleted. What is for a disabled one is held."""
    entry_ids: Sequence[str] | None
    """DLQ entries, for ``failed`` and ``discard``; those that are not open are left out."""


class Found(NamedTuple):
    """An event that is to be sent again."""

    event_id: str
    replay_of_id: str | None
    """The delivery that the new one repeats, if there is one."""
    entry_id: str | None = None
    """The DLQ entry it was found by."""


class Matches(Protocol):
    """The matches of one endpoint."""

    def count(self) -> int:
        """Return how many there are, exactly."""

    def page(self, after: str, limit: int) -> tuple[list[str], str]:
        """Return the ids of the next candidates behind a place (``""`` is the beginning), and the place reached.

        An empty place says that there are no more. Not all candidates are matches, :meth:`take` says which are; so a
        page is soon found however little matches.
        """

    def take(self, candidates: Sequence[str]) -> list[Found]:
        """Lock what still matches of these candidates until the transaction ends, and return it."""


def asked(
    kind: str,
    tenant_id: str,
    application: str,
    *,
    now: datetime,
    using: str,
    since: datetime | None = None,
    until: datetime | None = None,
    event_types: Sequence[str] | None = None,
    endpoint_ids: Sequence[str] | None = None,
    entry_ids: Sequence[str] | None = None,
) -> Replay:
    """Return the replay that is asked for, checked and not stored; raises what ``replays.start`` says."""
    if kind not in _BULK:
        raise exceptions.InvalidReplay(f"kind must be one of {', '.join(_BULK)}.", code="bad_kind")
    owner = Application.objects.using(using).named(application)
    texts.validate_text(tenant_id, code="bad_tenant_id")
    wanted: dict[str, Any] = _asked_window(kind, since, until, now)
    if event_types is not None:
        wanted["event_types"] = event_names.validate_patterns(event_types)
    if entry_ids is not None:
        if kind in _OF_EVENTS:
            raise exceptions.InvalidReplay("entry_ids are for failed and discard.", code="bad_ids")
        wanted["ids"] = valid_ids(entry_ids, "dlq_")
    replay = Replay(application=owner, tenant_id=tenant_id, kind=kind, filter=wanted, created_at=now, updated_at=now)
    if endpoint_ids is not None:
        wanted["endpoint_ids"] = valid_ids(endpoint_ids, "ep_")
        named_endpoints(replay, using=using)
        replay.endpoint_id = wanted["endpoint_ids"][0] if len(wanted["endpoint_ids"]) == 1 else None
    return replay


def _asked_window(kind: str, since: datetime | None, until: datetime | None, now: datetime) -> dict[str, str]:
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and timezone.is_naive(moment):
            raise exceptions.InvalidReplay(f"{name} must be an aware datetime.", code="bad_window")
    if since is None and kind in _OF_EVENTS:
        raise exceptions.InvalidReplay("Say from when on, by since.", code="since_required")
    until = now if until is None else min(until, now)
    if since is not None and since >= until:
        raise exceptions.InvalidReplay("since must be before until, and in the past.", code="bad_window")
    window = {"until": until.isoformat()}
    return window if since is None else {"since": since.isoformat(), **window}


def valid_ids(given: Sequence[str], prefix: str) -> list[str]:
    """Return ids without repeats.

    Raises:
        InvalidReplay: ``bad_ids``, there is none, there are more than :data:`MAX_IDS`, or they are no such ids.
    """
    if isinstance(given, str) or not 1 <= len(given) <= MAX_IDS:
        raise exceptions.InvalidReplay(f"Give a list of 1 to {MAX_IDS} ids.", code="bad_ids")
    for value in given:
        try:
            ids.to_uuid(value, prefix=prefix)
        except (ValueError, TypeError, AttributeError) as error:
            raise exceptions.InvalidReplay(f"{prefix}… ids are wanted.", code="bad_ids") from error
    return list(dict.fromkeys(given))


def named_endpoints(replay: Replay, *, using: str) -> list[Endpoint]:
    """Return the endpoints that a replay is for, enabled or not; deleted ones are none.

    Raises:
        InvalidReplay: ``unknown_endpoint``, one that is named is not there.
    """
    rows = Endpoint.objects.using(using).filter(
        application_id=replay.application_id, tenant_id=replay.tenant_id, deleted_at__isnull=True
    )
    named = replay.filter.get("endpoint_ids")
    found = list((rows if named is None else rows.filter(pk__in=named)).order_by("pk"))
    if named is not None and len(found) < len(named):
        missing = ", ".join(sorted(set(named) - {endpoint.pk for endpoint in found}))
        raise exceptions.InvalidReplay(f"The tenant has no endpoint {missing}.", code="unknown_endpoint")
    return found


def count(replay: Replay, *, using: str) -> int:
    """Return how much a replay matches, exactly."""
    return sum(of(replay, endpoint, using=using).count() for endpoint in named_endpoints(replay, using=using))


def of(replay: Replay, endpoint: Endpoint, *, using: str) -> Matches:
    """Return what a replay matches of an endpoint of its tenant's."""
    in_dlq = replay.kind in (Replay.Kind.FAILED, Replay.Kind.DISCARD)
    return Entries(replay, endpoint, using) if in_dlq else Events(replay, endpoint, using)


def wants(endpoint: Endpoint, event: Event) -> bool:
    """Return whether an endpoint would get the event, were it fanned out now to one that is enabled."""
    refusal = subscribing.refusal(
        endpoint.event_types, endpoint.filters, event_type=event.event_type, attributes=event.attributes
    )
    return refusal is None


class Entries:
    """Open DLQ entries."""

    def __init__(self, replay: Replay, endpoint: Endpoint, using: str) -> None:
        rows = DLQEntry.objects.using(using).open().filter(endpoint_id=endpoint.pk)
        rows = rows.filter(_window("failed_at", replay), _named(replay.filter.get("event_types")))
        ids = replay.filter.get("ids")
        self.rows = (rows if ids is None else rows.filter(pk__in=ids)).order_by("pk")

    def count(self) -> int:
        """See :class:`Matches`."""
        return self.rows.count()

    def page(self, after: str, limit: int) -> tuple[list[str], str]:
        """See :class:`Matches`."""
        rows = self.rows.filter(pk__gt=after) if after else self.rows
        found = list(rows.values_list("pk", flat=True)[: limit + 1])
        return found[:limit], found[limit - 1] if len(found) > limit else ""

    def take(self, candidates: Sequence[str]) -> list[Found]:
        """See :class:`Matches`."""
        rows = self.rows.filter(pk__in=candidates).select_for_update()
        return [Found(*row) for row in rows.values_list("event_id", "delivery_id", "pk")]


class Events:
    """Events by what the endpoint wants, or by id."""

    def __init__(self, replay: Replay, endpoint: Endpoint, using: str) -> None:
        rows = Event.objects.using(using).exclude(status=Event.Status.PENDING)
        rows = rows.filter(application_id=replay.application_id, tenant_id=replay.tenant_id, only_endpoint__isnull=True)
        self.filters = {}
        if replay.kind == Replay.Kind.EVENT:
            rows = rows.filter(pk__in=replay.filter["ids"])
        else:
            rows = rows.filter(_window("created_at", replay), _named(replay.filter.get("event_types")))
            rows = rows.filter(_named(endpoint.event_types))
            self.filters = endpoint.filters
        got = Delivery.objects.using(using).all()
        self.lacking = _never(got, endpoint.pk) if replay.kind == Replay.Kind.MISSING else _idle(got, endpoint.pk)
        self.firsts = got.filter(FIRST, endpoint_id=endpoint.pk)
        self.rows = rows.order_by("created_at", "pk")

    def count(self) -> int:
        """See :class:`Matches`."""
        rows = self.rows.filter(*self.lacking).order_by()
        if not self.filters:
            return rows.count()
        given = rows.values_list("attributes", flat=True).iterator()
        return sum(filters.accepts(self.filters, attributes) for attributes in given)

    def page(self, after: str, limit: int) -> tuple[list[str], str]:
        """See :class:`Matches`."""
        rows = self.rows
        if after:
            moment, _, key = after.partition("|")
            at = datetime.fromisoformat(moment)
            behind = models.Q(created_at__gt=at) | models.Q(created_at=at, pk__gt=key)
            rows = rows.filter(behind, created_at__gte=at)
        found = list(rows.values_list("pk", "created_at")[: limit + 1])
        place = ""
        if len(found) > limit:
            key, at = found[limit - 1]
            place = f"{at.isoformat()}|{key}"
        return [key for key, _at in found[:limit]], place

    def take(self, candidates: Sequence[str]) -> list[Found]:
        """See :class:`Matches`."""
        # Looked at again once they are locked: of two replays at once the second one sees what the first one made.
        locked = Event.objects.using(self.rows.db).filter(pk__in=self._taken(candidates)).order_by("pk")
        taken = self._taken(list(locked.select_for_update(no_key=True).values_list("pk", flat=True)))
        firsts = dict(self.firsts.filter(event_id__in=taken).values_list("event_id", "pk"))
        return [Found(key, firsts.get(key)) for key in taken]

    def _taken(self, candidates: Sequence[str]) -> list[str]:
        rows = self.rows.filter(*self.lacking, pk__in=candidates).values_list("pk", "attributes")
        return [key for key, attributes in rows if filters.accepts(self.filters, attributes)] if candidates else []


def _window(field: str, replay: Replay) -> models.Q:
    since, until = replay.filter.get("since"), replay.filter.get("until")
    window = models.Q(**{f"{field}__lt": datetime.fromisoformat(until)}) if until else models.Q()
    return window & models.Q(**{f"{field}__gte": datetime.fromisoformat(since)}) if since else window


def _named(patterns: Iterable[str] | None) -> models.Q:
    return (
        models.Q() if patterns is None or "*" in patterns else models.Q(event_type__regex=event_names.regex(patterns))
    )


def _never(got: DeliveryQuerySet, endpoint_id: str) -> list[models.Q]:
    """Return the conditions that none of these deliveries is the event's to the endpoint; one for each index of them.

    What repeats a delivery of its own is not looked for: there is that one.
    """
    mine = got.filter(event_id=models.OuterRef("pk"), endpoint_id=endpoint_id)
    return [~models.Q(models.Exists(mine.filter(FIRST))), ~models.Q(models.Exists(mine.filter(replay__isnull=False)))]


def _idle(got: DeliveryQuerySet, endpoint_id: str) -> list[models.Q]:
    """Return the conditions that no delivery of the event to the endpoint is pending; one for each index of them."""
    pending = got.pending().filter(event_id=models.OuterRef("pk"), endpoint_id=endpoint_id)
    return [~models.Q(models.Exists(pending.filter(way))) for way in WAYS]
