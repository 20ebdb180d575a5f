"""Conditions: which change of a row is a named transition, such as ``invoice.paid``.

::

    changed("status")                          the field has another value
    changed("status", to="paid")               … and now this one
    changed("status", "open", "void")          … from this one to that one
    changed("status", to=("paid", "settled"))  … to one of these (a list, a tuple or a set)
    changed("status", to="paid", when=is_big)  … and is_big(invoice) is true
    is_big                                     something changed, and is_big(invoice) is true

In settings, where nothing of this can be imported, ``{"field": "status", "to": "paid"}`` says the second, and a dotted
path names a predicate.

A row that comes into being has changed nothing: its ``created`` says what it is. Where the value before is not known
(the field was deferred, the instance was made by hand), a field that was written counts as changed, but not as changed
*from* something.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.utils.module_loading import import_string

from django_relay import exceptions

Predicate = Callable[[Any], Any]


class _Unsaid:
    def __repr__(self) -> str:
        return "…"


ANYTHING: Any = _Unsaid()
"""Said of a value that may be any."""
UNKNOWN: Any = _Unsaid()
"""Stands for a value that nobody knows."""


@dataclass(frozen=True)
class Condition:
    """A change of a field, a predicate of the row, or both. Make it with :func:`changed`."""

    field: str | None = None
    before: Any = ANYTHING
    to: Any = ANYTHING
    when: Predicate | None = None

    def holds(self, instance: models.Model, was: Mapping[str, Any], attribute: str | None) -> bool:
        """Return whether it holds for a row as it is now, given what its changed attributes were before."""
        if attribute is not None:
            if attribute not in was:
                return False
            if not (_is_one_of(was[attribute], self.before) and _is_one_of(getattr(instance, attribute), self.to)):
                return False
        return self.when is None or bool(self.when(instance))


def changed(field: str, before: Any = ANYTHING, to: Any = ANYTHING, *, when: Predicate | None = None) -> Condition:
    """Return the condition that a field has changed: from ``before`` to ``to`` if said, and when ``when(row)`` is true.

    Raises:
        InvalidDeclaration: ``when`` cannot be called.
    """
    if when is not None and not callable(when):
        raise exceptions.InvalidDeclaration("when must be a callable that takes the row.")
    return Condition(field, before, to, when)


def make(given: object) -> Condition:
    """Return a condition from what a declaration names: a condition, its arguments, a predicate or a path to one.

    Raises:
        InvalidDeclaration: it is none of these.
    """
    if isinstance(given, Condition):
        return given
    if isinstance(given, Mapping):
        said = dict(given)
        when = said.pop("when", None)
        if set(said) <= {"field", "before", "to"} and isinstance(said.get("field"), str):
            return Condition(**said, when=None if when is None else predicate(when))
    elif callable(given) or isinstance(given, str):
        return Condition(when=predicate(given))
    raise exceptions.InvalidDeclaration(
        "a condition must be changed(…), a callable that takes the row, or in settings "
        f"{{'field': …, 'before': …, 'to': …}}, not {given!r}."
    )


def predicate(given: object) -> Predicate:
    """Return a callable that takes a row, from itself or its dotted path.

    Raises:
        InvalidDeclaration: it is none.
    """
    if isinstance(given, str):
        try:
            given = import_string(given)
        except ImportError as error:
            raise exceptions.InvalidDeclaration(f"the predicate {given!r} cannot be imported: {error}.") from error
    if not callable(given):
        raise exceptions.InvalidDeclaration(f"a predicate must be a callable that takes the row, not {given!r}.")
    return given


def _is_one_of(value: Any, said: Any) -> bool:
    if said is ANYTHING:
        return True
    if value is UNKNOWN:
        return False
    return value in said if isinstance(said, list | tuple | set | frozenset) else bool(value == said)
