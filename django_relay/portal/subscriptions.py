"""Choosing events: the picker's tree of the catalog, and the patterns that a choice stands for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django_relay.models import EventType
from django_relay.portal.visits import Visit
from django_relay.rules import event_names


@dataclass(frozen=True, slots=True)
class Type:
    """One event type in the tree."""

    name: str
    description: str
    deprecated: bool
    chosen: bool
    covered: bool = False
    """A pattern that is chosen beside it selects it."""


@dataclass(frozen=True, slots=True)
class Group:
    """Types under one heading."""

    name: str
    types: Sequence[Type]

    @property
    def all_chosen(self) -> bool:
        """Whether every type is chosen by itself."""
        return all(each.chosen for each in self.types)


def types(visit: Visit) -> list[EventType]:
    """Return the catalog of the visitor's application, without schemas; one query."""
    rows = EventType.objects.using(visit.using).filter(application_id=visit.owner.application_id)
    return list(rows.only("name", "description", "group", "deprecated").order_by("group", "name"))


def tree(found: Iterable[EventType], chosen: Iterable[str], patterns: Sequence[str] = ()) -> list[Group]:
    """Return the catalog in groups. Deprecated types are shown only where they are chosen."""
    names = set(chosen)
    groups: dict[str, list[Type]] = {}
    for row in found:
        if row.deprecated and row.name not in names:
            continue
        heading = row.group or row.name.partition(".")[0]
        groups.setdefault(heading, []).append(
            Type(row.name, row.description, row.deprecated, row.name in names, reaches(patterns, row.name))
        )
    return [Group(name, rows) for name, rows in groups.items()]


def split(patterns: Iterable[str], names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return which patterns are single types of the catalog, and the rest."""
    known = set(names)
    given = list(patterns)
    return [each for each in given if each in known], [each for each in given if each not in known]


def reaches(patterns: Iterable[str], name: str) -> bool:
    """Return whether one of the patterns selects a type."""
    return any(event_names.matches(pattern, name) for pattern in patterns)
