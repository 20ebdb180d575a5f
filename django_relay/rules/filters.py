"""Attributes of an event, and the filters of an endpoint that choose by them what it receives.

Both map a name to scalars: text, numbers, true or false. A filter passes when one of its values is
among the event's (OR within a key); all filters must pass (AND across keys). Nothing here looks
into the payload, and there is no language to evaluate: what a tenant writes costs one set look-up a
value.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from django_relay import exceptions
from django_relay.rules import texts

Scalar: TypeAlias = str | int | float | bool
NormalForm: TypeAlias = dict[str, list[Scalar]]
"""Every name with the list of its values."""

MAX_KEYS = 20
MAX_KEY_LENGTH = 64
MAX_VALUES = 50
MAX_TEXT_LENGTH = 256


def validate(filters: object) -> NormalForm:
    """Return an endpoint's filters in normal form.

    A single value becomes a list of one; None means no filters.

    Raises:
        InvalidFilter: it is no mapping of names to scalars or lists of scalars, or it is beyond the
            limits; the message names the key.
    """
    return _normal_form(filters, exceptions.InvalidFilter)


def validate_attributes(attributes: object) -> NormalForm:
    """Return an event's attributes in normal form.

    A single value becomes a list of one; None means no attributes.

    Raises:
        InvalidEvent: ``bad_attributes``, as for :func:`validate`; the message names the key.
    """

    def refuse(message: str) -> exceptions.InvalidEvent:
        return exceptions.InvalidEvent(message, code="bad_attributes")

    return _normal_form(attributes, refuse)


def accepts(
    filters: Mapping[str, Sequence[Scalar] | Scalar],
    attributes: Mapping[str, Sequence[Scalar] | Scalar],
) -> bool:
    """Say whether an event with these attributes passes these filters.

    A key without values passes; a key that the event lacks, or has without values, fails. ``True``
    is not ``1``, but ``1`` is ``1.0``, as in JSON.
    """
    return refused_by(filters, attributes) is None


def refused_by(
    filters: Mapping[str, Sequence[Scalar] | Scalar],
    attributes: Mapping[str, Sequence[Scalar] | Scalar],
) -> str | None:
    """Return the name of the first filter that an event with these attributes does not pass, ``None`` if it passes all.

    What passes is said at :func:`accepts`.
    """
    for name, values in filters.items():
        wanted = _comparable(values)
        if wanted and wanted.isdisjoint(_comparable(attributes.get(name, ()))):
            return name
    return None


def _comparable(values: Sequence[Scalar] | Scalar) -> set[tuple[bool, Scalar]]:
    """Return the values as a set in which True and 1 are different."""
    several = values if isinstance(values, list | tuple) else (values,)
    return {(isinstance(value, bool), value) for value in several}


def _normal_form(given: object, refuse: Callable[[str], exceptions.InvalidInput]) -> NormalForm:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise refuse("A mapping of names to values is wanted.")
    if len(given) > MAX_KEYS:
        raise refuse(f"At most {MAX_KEYS} names are allowed.")
    normal: NormalForm = {}
    for name, values in given.items():
        problem = _name_problem(name)
        if problem:
            raise refuse(problem)
        normal[name] = list(values) if isinstance(values, list | tuple) else [values]
        if len(normal[name]) > MAX_VALUES:
            raise refuse(f"{name!r} has more than {MAX_VALUES} values.")
        for value in normal[name]:
            problem = _value_problem(value)
            if problem:
                raise refuse(f"{name!r} has a value that {problem}.")
    return normal


def _name_problem(name: object) -> str:
    if not isinstance(name, str):
        return f"A name must be a string, not {type(name).__name__}."
    problem = "is empty" if not name else _text_problem(name, MAX_KEY_LENGTH)
    return problem and f"The name {name[:MAX_KEY_LENGTH]!r} {problem}."


def _value_problem(value: object) -> str:
    """Say what is wrong with a value as the end of a sentence, or return an empty string."""
    if isinstance(value, str):
        return _text_problem(value, MAX_TEXT_LENGTH)
    if isinstance(value, float):
        return "" if math.isfinite(value) else "is not a finite number"
    if isinstance(value, int):
        # Databases and receivers keep 64 bits; Python refuses to print an integer of 5,000 digits.
        return "" if -(2**63) <= value < 2**63 else "is an integer of more than 64 bits"
    return "is neither text nor a number nor true or false"


def _text_problem(text: str, limit: int) -> str:
    if len(text) > limit:
        return f"is longer than {limit} characters"
    return "" if texts.is_storable(text) else "holds a NUL or half of a surrogate pair"
