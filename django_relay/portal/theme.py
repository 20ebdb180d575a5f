"""The style sheet of a session's theme: custom properties and nothing else, every value checked twice.

The theme was validated when it was stored (:mod:`django_relay.rules.themes`), and only values of these forms are
written here. Whatever accent a host chooses, text on it and links in it keep a contrast of 4.5 : 1 (WCAG 2.2, 1.4.3) in
both modes: the accent itself is the fill, and the inks are derived from it.
"""

import re
from collections.abc import Mapping
from typing import Any

from django_relay.rules import themes

_COLOUR = re.compile(r"#[0-9a-f]{6}")
_LIGHT, _DARK = (255, 255, 255), (16, 17, 20)
_CONTRAST = 5.0
_FONTS = {
    "system": 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
    "humanist": 'Seravek, "Gill Sans Nova", Ubuntu, Calibri, "DejaVu Sans", source-sans-pro, sans-serif',
    "geometric": 'Avenir, Montserrat, Corbel, "URW Gothic", source-sans-pro, sans-serif',
    "rounded": 'ui-rounded, "Hiragino Maru Gothic ProN", Quicksand, Comfortaa, "Arial Rounded MT Bold", sans-serif',
    "serif": 'Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif',
    "monospace": 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace',
}
assert set(_FONTS) == set(themes.FONTS)  # noqa: S101 - every font that a theme may name is drawn

Colour = tuple[int, int, int]


def stylesheet(theme: Mapping[str, Any]) -> str:
    """Return the style sheet; empty for a theme that changes no colour, radius or font."""
    values: dict[str, str] = {}
    accent = theme.get("accent")
    if isinstance(accent, str) and _COLOUR.fullmatch(accent):
        colour = (int(accent[1:3], 16), int(accent[3:5], 16), int(accent[5:7], 16))
        on_light, on_dark = (_css(_until_readable(colour, ground)) for ground in (_LIGHT, _DARK))
        values["accent"] = accent
        values["on-accent"] = "#fff" if contrast(colour, _LIGHT) >= contrast(colour, (0, 0, 0)) else "#000"
        values["accent-ink"] = f"light-dark({on_light}, {on_dark})"
    radius = theme.get("radius")
    if isinstance(radius, int) and 0 <= radius <= themes.MAX_RADIUS:
        values["radius"] = f"{radius}px"
    if theme.get("font") in _FONTS:
        values["font"] = _FONTS[theme["font"]]
    declared = "".join(f"--rl-{name}:{value};" for name, value in values.items())
    return f":root{{{declared}}}\n" if declared else ""


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _until_readable(colour: Colour, ground: Colour) -> Colour:
    """Return the colour, moved away from the ground as far as text needs."""
    towards = 0 if _luminance(ground) > 0.5 else 255
    found = colour
    for step in range(1, 21):
        if contrast(found, ground) >= _CONTRAST:
            break
        red, green, blue = (round(part + (towards - part) * step / 20) for part in colour)
        found = (red, green, blue)
    return found


def _luminance(colour: Colour) -> float:
    parts = (part / 255 for part in colour)
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
