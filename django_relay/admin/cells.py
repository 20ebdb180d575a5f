"""What stands in the cells of lists and pages: states, links, times and JSON, each as readable text."""

import json
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _

NOTHING = "\u2013"
_KINDS = {
    "ok": {"delivered", "enabled", "completed", "dispatched", "live", "replayed", "working", "emitted"},
    "wait": {"pending", "running", "queued", "finishing", "unused", "held"},
    "warn": {"failing", "deprecated", "not emitted"},
    "bad": {"failed", "disabled", "open"},
}


def badge(state: str, text: str = "") -> SafeString:
    """Draw a state; its text says it all, the colour only helps."""
    kind = next((kind for kind, states in _KINDS.items() if state in states), "off")
    return format_html('<span class="relay-badge relay-{}">{}</span>', kind, text or state)


def url_of(model: type[models.Model], key: str | None = None, *, site: str = "admin", query: str = "") -> str:
    """Return the address of a row's page, or of its model's list; ``""`` where the host's site has none."""
    name = f"{model._meta.app_label}_{model._meta.model_name}_{'changelist' if key is None else 'change'}"
    try:
        return reverse(f"admin:{name}", args=[] if key is None else [quote(key)], current_app=site) + query
    except NoReverseMatch:
        return ""


def link(model: type[models.Model], key: str | None, text: object = "") -> SafeString | str:
    """Draw a link to a row's page; nothing for no key."""
    if key is None or key == "":
        return NOTHING
    return format_html('<a href="{}">{}</a>', url_of(model, key), text or key)


def short(key: str) -> SafeString:
    """Draw an id by its beginning and its end, which tell it from others; all of it to hover over."""
    return format_html('<span class="relay-id" title="{}">{}…{}</span>', key, key.partition("_")[0], key[-8:])


def cut(text: str, length: int = 60) -> SafeString:
    """Draw the beginning of a long text, with all of it to hover over."""
    return format_html('<span title="{}">{}</span>', text, text if len(text) <= length else text[: length - 1] + "…")


def receiver(url: str) -> SafeString:
    """Draw an endpoint's URL as narrow as a list needs it; all of it to hover over."""
    shown = url.removeprefix("https://")
    return format_html('<span title="{}">{}</span>', url, shown if len(shown) <= 28 else shown[:27] + "…")


def moment(value: datetime | None) -> SafeString | str:
    """Draw a time: how long ago it was, or will be, with the time itself to hover over."""
    if value is None:
        return NOTHING
    now = timezone.now()
    if value <= now:
        said = _("%(time)s ago") % {"time": timesince(value, now, depth=1)}
    else:
        said = _("in %(time)s") % {"time": timeuntil(value, now, depth=1)}
    shown = formats.date_format(timezone.localtime(value), "DATETIME_FORMAT")
    return format_html('<time datetime="{}" title="{}">{}</time>', value.isoformat(), shown, said)


def tenant(value: str | None) -> str:
    """Name a tenant; the global one has no name of its own."""
    return value or _("(global)")


def document(value: Any) -> SafeString | str:
    """Draw JSON values, indented."""
    return preformatted(json.dumps(value, ensure_ascii=False, indent=2))


def preformatted(text: str) -> SafeString | str:
    """Draw text as it is, and only as text."""
    return format_html('<pre class="relay-pre" tabindex="0">{}</pre>', text) if text else NOTHING


def share(part: float | None) -> str:
    """Return a part of a whole as text."""
    return NOTHING if part is None else f"{part:.1%}"


def milliseconds(value: float | None) -> str:
    """Return a duration as text."""
    if value is None:
        return NOTHING
    return f"{value:,.0f} ms" if value < 1_000 else f"{value / 1_000:.1f} s"
