"""From a change of a row to its events, stored in the change's own transaction.

Within one transaction a declaration tells of a row once, as it is at the end:

======================  ===============================================================================================
in one transaction      events
======================  ===============================================================================================
created, then updated   ``created``, with the last state
updated, then updated   ``updated``, with the last state, and what was before the first; none if all is as it was
created, then deleted   none, not even of transitions in between
updated, then deleted   ``deleted``
deleted, then created   both
a named transition      its own event each time that it happens; the same one again says the last state
======================  ===============================================================================================

The first change inserts an event, a later one updates or deletes that row, which nobody else can have seen yet. What is
remembered is in :mod:`django_relay.sources.journal`, and so forgotten with what a roll-back undoes.

No error in here breaks the write that it is about: all that happens is inside a savepoint, and what fails is logged and
kept as a ``PublishFailure``.
"""

import copy
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import models, transaction

from django_relay import context
from django_relay.models import savepoints
from django_relay.pipeline import outbox, publish_failures
from django_relay.sources import differences, journal
from django_relay.sources.conditions import UNKNOWN
from django_relay.sources.declarations import CREATED, DELETED, UPDATED, Declaration

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """One change of one row, as one declaration is told of it."""

    declaration: Declaration
    kind: str
    instance: models.Model
    """The row as it is in the database after the change; for ``deleted`` before it."""
    was: dict[str, Any] = field(default_factory=dict)
    """Old values of what was changed, by attribute name; ``UNKNOWN`` where nobody knows."""
    written: Collection[str] | None = None
    """Attributes that were written; ``None``: the row holds nothing but what is in the database."""
    added: dict[str, set[Any]] = field(default_factory=dict)
    removed: dict[str, set[Any]] = field(default_factory=dict)
    """Primary keys by many-to-many field."""

    @property
    def key(self) -> tuple[Declaration, Any]:
        """What it is a change of."""
        return self.declaration, self.declaration.key_of(self.instance)


@dataclass(frozen=True)
class _Told:
    """What the open transaction has told of a row so far."""

    kind: str = ""
    event_id: str | None = None
    was: dict[str, Any] = field(default_factory=dict)
    now: dict[str, Any] = field(default_factory=dict)
    """The values that were given to what was changed, for instances that know nothing of it."""
    added: dict[str, Any] = field(default_factory=dict)
    removed: dict[str, Any] = field(default_factory=dict)
    transitions: dict[str, Any] = field(default_factory=dict)
    """Event type → id."""
    below: "_Told | None" = None
    """What was told of the row of the same key that was deleted before."""


@dataclass
class _Step:
    """What to do to the outbox for one change: events by slot, ``""`` or the name of a transition."""

    change: Change
    told: _Told
    stored: dict[str, str | None]
    """Slot → the id of its event of this transaction, if it has one."""
    wanted: dict[str, dict[str, Any]]
    """Slot → arguments of ``emit``."""
    unwanted: list[str]
    """Slots whose event is to go."""


def tell(changes: Sequence[Change], *, using: str) -> None:
    """Store the events of changes that were just made in the open transaction of a database. Never raises."""
    if context.is_suppressed():
        return
    changes = [change for change in changes if _matters(change, using)]
    if not changes:
        return
    try:
        with savepoints.guarded(using):
            _tell(changes, using)
    except Exception as error:  # noqa: BLE001 - that is its promise
        if len(changes) == 1:
            _keep(changes[0], error, using)
            return
        for change in changes:
            tell([change], using=using)


def has_told(declaration: Declaration, *, using: str) -> bool:
    """Return whether the open transaction has told of any row of a declaration, and may have to revise it."""
    return declaration.coalesce and any(key[0] is declaration for key in journal.keys(using))


def _matters(change: Change, using: str) -> bool:
    declaration = change.declaration
    if change.kind != UPDATED or change.added or change.removed or declaration.heeds_writes_of(change.was):
        return True
    return bool(change.was) and declaration.coalesce and journal.read(using, change.key) is not None


def _tell(changes: Sequence[Change], using: str) -> None:
    """Do the steps of changes; those of one row one after the other."""
    batch: dict[Any, _Step] = {}
    for change in changes:
        if change.key in batch:
            _take(list(batch.values()), using)
            batch.clear()
        told = (journal.read(using, change.key) if change.declaration.coalesce else None) or _Told()
        step = _step(change, told)
        if step is not None:
            batch[change.key] = step
    steps = list(batch.values())
    if len(changes) == 1 and sum(map(_writes, steps)) == 1:
        savepoints.expect_one(using)
    _take(steps, using)


def _writes(step: _Step) -> int:
    return len(step.wanted) + len(_gone(step))


def _gone(step: _Step) -> list[str]:
    """Return the ids of the events that are to go."""
    return [event_id for slot in step.unwanted if (event_id := step.stored.get(slot)) is not None]


def _step(change: Change, told: _Told) -> _Step | None:
    match change.kind:
        case "created":
            below = told if told.kind == DELETED else None
            return _first_step(change, _Told(CREATED, below=below), CREATED)
        case "deleted":
            return _deleted(change, told)
    if told.kind == DELETED:
        return None
    return _updated(change, told)


def _first_step(change: Change, told: _Told, kind: str) -> _Step:
    return _Step(change, told, {"": None}, _event(change, kind), [])


def _deleted(change: Change, told: _Told) -> _Step | None:
    if told.kind == DELETED:
        return None
    stored = {"": told.event_id, **told.transitions}
    if told.kind == CREATED:
        return _Step(change, told.below or _Told(), stored, {}, list(stored))
    wanted = _event(change, DELETED)
    return _Step(change, replace(told, kind=DELETED), stored, wanted, [] if wanted else [""])


def _updated(change: Change, told: _Told) -> _Step | None:
    change = _with_what_others_wrote(change, told)
    stored = {"": told.event_id, **told.transitions}
    transitions = _transitions(change)
    now = replace(told, now={**told.now, **{name: getattr(change.instance, name) for name in change.was}})
    if told.kind == CREATED:
        wanted, is_news = _event(change, CREATED), True
    else:
        merged = _merged(change, told)
        is_news = bool(merged.was or merged.added or merged.removed) or change.declaration.unchanged
        now = replace(now, kind=UPDATED, was=merged.was, added=merged.added, removed=merged.removed)
        wanted = _event(merged, UPDATED) if is_news else {}
    if not is_news and not transitions and told.event_id is None:
        return None
    return _Step(change, now, stored, {**wanted, **transitions}, [] if wanted else [""])


def _with_what_others_wrote(change: Change, told: _Told) -> Change:
    """Return the change with the row as it is, where the transaction wrote it by another instance, too."""
    if change.written is None or not told.now:
        return change
    instance, fields = change.instance, differences.fields_of(type(change.instance))
    stale = {
        name: value
        for name, value in told.now.items()
        if name not in change.written and not differences.is_same(fields[name], value, getattr(instance, name))
    }
    if not stale:
        return change
    instance = copy.copy(instance)
    for name, value in stale.items():
        setattr(instance, name, value)
    return replace(change, instance=instance)


def _merged(change: Change, told: _Told) -> Change:
    """Return all that has changed since the transaction began, of what the declaration watches."""
    watched, instance = change.declaration.watched, change.instance
    was = {name: old for name, old in change.was.items() if name in watched} | dict(told.was)
    fields = differences.fields_of(type(instance))
    for name, old in list(was.items()):
        if old is not UNKNOWN and differences.is_same(fields[name], old, getattr(instance, name)):
            del was[name]
    added, removed = {}, {}
    for name in {*change.added, *change.removed, *told.added, *told.removed} & change.declaration.many:
        more, less = change.added.get(name, set()), change.removed.get(name, set())
        before, gone = told.added.get(name, set()), told.removed.get(name, set())
        if found := (before | (more - gone)) - less:
            added[name] = found
        if lost := (gone | (less - before)) - more:
            removed[name] = lost
    return replace(change, was=was, added=added, removed=removed)


# --- what events say ---


def _event(change: Change, kind: str) -> dict[str, dict[str, Any]]:
    """Return the arguments of a life-cycle event, if that is declared and the row is one that it is about."""
    declaration = change.declaration
    name = declaration.names.get(kind)
    if name is None or not declaration.takes(change.instance):
        return {}
    return {"": _arguments(change, name, says_what_changed=kind == UPDATED)}


def _transitions(change: Change) -> dict[str, dict[str, Any]]:
    declaration, instance = change.declaration, change.instance
    if not change.was:
        return {}
    found = [
        name
        for name, (condition, attribute) in declaration.transitions.items()
        if condition.holds(instance, change.was, attribute)
    ]
    if not found or not declaration.takes(instance):
        return {}
    shown = declaration.watched | {attribute for _condition, attribute in declaration.transitions.values()}
    change = replace(change, was={name: old for name, old in change.was.items() if name in shown})
    return {name: _arguments(change, name, says_what_changed=True) for name in found}


def _arguments(change: Change, name: str, *, says_what_changed: bool) -> dict[str, Any]:
    declaration = change.declaration
    data = declaration.payload.of(change.instance)
    if says_what_changed:
        previous = differences.shown(type(change.instance), change.was, data)
        changed = {*previous, *change.added, *change.removed}
        data = {**data, "changed": sorted(changed)}
        data["previous"] = {key: value for key, value in previous.items() if value is not UNKNOWN}
        for key, many in (("added", change.added), ("removed", change.removed)):
            if many:
                data[key] = {name: sorted(keys, key=_place) for name, keys in sorted(many.items())}
    return {**_about(change, name), "tenant_id": declaration.tenant.of(change.instance), "data": data}


def _place(key: Any) -> Any:
    """Return what primary keys of one kind are put in order by: any kind, and numbers as numbers."""
    return key if isinstance(key, int) else str(key)


def _about(change: Change, name: str) -> dict[str, Any]:
    return {
        "event_type": name,
        "application": change.declaration.application,
        "attributes": dict(context.current_attributes()),
        "subject": change.declaration.subject(change.key[1]),
    }


# --- what the outbox is told ---


def _take(steps: Sequence[_Step], using: str) -> None:
    """Write what the steps want: at most one INSERT and one DELETE for all, and one UPDATE for each event revised."""
    inserts: list[tuple[_Step, str]] = []
    for step in steps:
        for slot, arguments in step.wanted.items():
            event_id = step.stored.get(slot)
            # An event that is not there any more went with a savepoint that was rolled back by hand.
            if event_id is None or not outbox.revise(event_id, arguments, using=using):
                inserts.append((step, slot))
    if gone := [event_id for step in steps for event_id in _gone(step)]:
        outbox.withdraw(gone, using=using)
    events = outbox.emit_many([step.wanted[slot] for step, slot in inserts], using=using) if inserts else []
    for (step, slot), event in zip(inserts, events, strict=True):
        step.stored[slot] = None if event is None else event.pk
    for step in steps:
        if step.change.declaration.coalesce:
            journal.write(journal.Note(using, step.change.key, _after(step)))


def _after(step: _Step) -> _Told:
    if step.change.kind == DELETED and step.told.kind != DELETED:
        return step.told
    stored = {slot: None if slot in step.unwanted else event_id for slot, event_id in step.stored.items()}
    event_id = stored.pop("", None)
    return replace(step.told, event_id=event_id, transitions={slot: found for slot, found in stored.items() if found})


def _keep(change: Change, error: Exception, using: str) -> None:
    """Keep what would have been told, as far as it can be known."""
    for name in _concerned(change):
        arguments = _about(change, name)
        logger.error(
            "No %s could be stored for %s.",
            name,
            arguments["subject"],
            exc_info=error,
            extra={"event": "event.not_stored", "event_type": name, "subject": arguments["subject"]},
        )
        kept = {**_with_data(change, name, arguments, using), "using": using}
        publish_failures.keep(kept, error, change.declaration.place)


def _concerned(change: Change) -> list[str]:
    """Return the event types that the change would have made, as far as that is known."""
    declaration = change.declaration
    names = [declaration.names[change.kind]] if change.kind in declaration.names else []
    if change.kind != UPDATED:
        return names
    if not (change.added or change.removed or declaration.unchanged or declaration.watched & set(change.was)):
        names = []
    for name, (condition, attribute) in declaration.transitions.items():
        try:
            holds = condition.holds(change.instance, change.was, attribute)
        except Exception:  # noqa: BLE001 - a predicate of the host's
            holds = True
        names += [name] if holds else []
    return names


def _with_data(change: Change, name: str, arguments: dict[str, Any], using: str) -> dict[str, Any]:
    try:
        with transaction.atomic(using):
            return _arguments(change, name, says_what_changed=change.kind == UPDATED)
    except Exception:  # noqa: BLE001 - it is what failed, and is told already
        return arguments
