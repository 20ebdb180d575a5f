"""Whether an endpoint that subscribes by patterns and filters wants an event: the one place that says so."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django_relay.rules import event_names, filters


class Refusal(NamedTuple):
    """Why an event is not wanted: no ``pattern`` selects its type, or the ``filter`` called ``name`` is not passed."""

    reason: str
    name: str = ""


_NO_PATTERN = Refusal("pattern")


def refusal(
    patterns: Sequence[str],
    wanted: Mapping[str, Any],
    *,
    event_type: str,
    attributes: Mapping[str, Any],
) -> Refusal | None:
    """Return why an endpoint with these patterns and filters does not want an event; ``None`` if it does.

    Quick with a tuple of patterns seen before.
    """
    if not _selects(patterns if isinstance(patterns, tuple) else tuple(patterns), event_type):
        return _NO_PATTERN
    name = filters.refused_by(wanted, attributes) if wanted else None
    return None if name is None else Refusal("filter", name)


@functools.lru_cache(maxsize=65_536)
def _selects(patterns: tuple[str, ...], name: str) -> bool:
    return any(event_names.matches(pattern, name) for pattern in patterns)
