"""Themes: how an operator dresses the portal for one session. Every value has a strict form, for it ends up in CSS."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django_relay import exceptions
from django_relay.rules import origins

SCHEMES = ("light", "dark", "auto")
FONTS = ("system", "humanist", "geometric", "rounded", "serif", "monospace")
"""Stacks of fonts that machines have: none is fetched."""
MAX_RADIUS = 24

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}", re.ASCII)


def validate(theme: object, *, logo_urls: Iterable[object]) -> dict[str, Any]:
    """Return a theme: any of ``accent`` (``#rrggbb``), ``logo_url``, ``scheme``, ``radius`` (pixels) and ``font``.

    ``logo_urls`` is the allow list of logos; see :func:`django_relay.rules.origins.is_listed`.

    Raises:
        InvalidInput: ``bad_theme``, which value is wrong and what would be right.
    """
    rules: Mapping[str, tuple[Callable[[Any], bool], str]] = {
        "accent": (_is_colour, "a colour such as #1a56db"),
        "logo_url": (lambda value: origins.is_listed(value, logo_urls), "a URL that PORTAL['LOGO_URLS'] allows"),
        "scheme": (lambda value: isinstance(value, str) and value in SCHEMES, f"one of {', '.join(SCHEMES)}"),
        "radius": (_is_radius, f"a whole number of pixels from 0 to {MAX_RADIUS}"),
        "font": (lambda value: isinstance(value, str) and value in FONTS, f"one of {', '.join(FONTS)}"),
    }
    if not isinstance(theme, Mapping):
        raise exceptions.InvalidInput(f"A theme is an object of {', '.join(rules)}.", code="bad_theme")
    for name, value in theme.items():
        if name not in rules:
            raise exceptions.InvalidInput(
                f"A theme has no {str(name)[:40]!r}: only {', '.join(rules)}.", code="bad_theme"
            )
        fits, wanted = rules[name]
        if not fits(value):
            raise exceptions.InvalidInput(f"The theme's {name} must be {wanted}.", code="bad_theme")
    return {name: theme[name].lower() if name == "accent" else theme[name] for name in rules if name in theme}


def _is_colour(value: object) -> bool:
    return isinstance(value, str) and _COLOUR.fullmatch(value) is not None


def _is_radius(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_RADIUS
