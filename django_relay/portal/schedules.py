"""Retry schedules as people read and write them: ``5 s, 5 min, 2 h``, and the few that most choose among."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.utils import formats
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_relay.models import endpoint_choices

CUSTOM = "custom"
PRESETS: Mapping[str, tuple[Promise, Sequence[float] | None]] = {
    "usual": (gettext_lazy("Usual"), None),
    "quick": (gettext_lazy("Quick"), (5, 30, 120, 600)),
    "day": (gettext_lazy("Over a day"), (30, 300, 1_800, 7_200, 21_600, 43_200)),
    "once": (gettext_lazy("Once, and never again"), ()),
}
"""What can be chosen by name. ``None`` is the project's schedule, whatever that is then."""

_WAIT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([^\W\d_]*)\.?")
_UNITS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to be sent again."""

    key: str
    name: str
    waits: str
    """Its waits in words, and how many attempts they make; empty where there are none to say."""


def choices() -> list[Choice]:
    """Return what can be chosen, in the reader's language."""
    found = [
        Choice(key, str(name), describe(endpoint_choices.schedule_of(waits))) for key, (name, waits) in PRESETS.items()
    ]
    return [*found, Choice(CUSTOM, _("Waits of your own"), "")]


def keys() -> list[tuple[str, str]]:
    """Return what a form takes."""
    return [(key, key) for key in (*PRESETS, CUSTOM)]


def key_of(schedule: Sequence[float] | None) -> str:
    """Return which choice an endpoint's own schedule is."""
    own = None if schedule is None else tuple(schedule)
    return next((key for key, (_name, waits) in PRESETS.items() if waits == own), CUSTOM)


def describe(schedule: Sequence[float]) -> str:
    """Say a schedule in words: its waits, and how many attempts they make."""
    if not schedule:
        return ""
    attempts = ngettext("%(number)s attempt", "%(number)s attempts", len(schedule) + 1) % {"number": len(schedule) + 1}
    return _("after %(waits)s: %(attempts)s in %(span)s") % {
        "waits": write(schedule),
        "attempts": attempts,
        "span": span(sum(schedule)),
    }


def write(schedule: Sequence[float]) -> str:
    """Write a schedule so that :func:`read` reads it: ``5 s, 5 min, 2 h``."""
    return ", ".join(map(wait, schedule))


def read(text: str) -> list[float]:
    """Return the seconds of waits such as ``5 s, 5 min, 2 h``; a number alone is seconds.

    Whether they are waits that an endpoint may have, the endpoint's own rule says.

    Raises:
        ValidationError: a wait is no number with a unit.
    """
    joined = re.sub(r"(?<=[0-9]) +(?=[^\W\d_])", "", text.strip().casefold())
    units = {**_UNITS, **{_unit(name): size for name, size in _sizes()}}
    waits: list[float] = []
    for piece in filter(None, re.split(r"[,;\s]+", joined)):
        match = _WAIT.fullmatch(piece)
        if match is None or match[2] not in units:
            raise ValidationError(
                _("“%(wait)s” is no wait. Write waits like 5 s, 5 min, 2 h, 1 d, with commas between them.")
                % {"wait": piece[:20]},
                code="bad_wait",
            )
        seconds = float(match[1]) * units[match[2]]
        waits.append(int(seconds) if seconds.is_integer() else seconds)
    return waits


def wait(seconds: float) -> str:
    """Write a wait, exactly: ``5 s``, ``90 min``, ``2 h``, ``3 d``."""
    for name, size in reversed(_sizes()):
        if seconds >= size and seconds % size == 0 and (size < 86_400 or seconds >= 172_800):
            return f"{formats.number_format(round(seconds / size), use_l10n=True, force_grouping=False)} {name}"
    return f"{seconds:g} {_sizes()[0][0]}"


def span(seconds: float) -> str:
    """Write a stretch of time in a sentence, roughly: ``5 days``, ``12 hours``."""
    if seconds >= 172_800:
        number = round(seconds / 86_400)
        return ngettext("%(number)s day", "%(number)s days", number) % {"number": number}
    if seconds >= 5_400:
        number = round(seconds / 3_600)
        return ngettext("%(number)s hour", "%(number)s hours", number) % {"number": number}
    number = max(round(seconds / 60), 1)
    return ngettext("%(number)s minute", "%(number)s minutes", number) % {"number": number}


def _sizes() -> list[tuple[str, int]]:
    return [(_("s"), 1), (_("min"), 60), (_("h"), 3_600), (_("d"), 86_400)]


def _unit(name: str) -> str:
    return name.casefold().rstrip(".")
