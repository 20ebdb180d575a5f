"""What the portal's templates draw with: ``{% load relay_portal %}``. Hosts that override templates may use it too."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils import formats
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from django_relay.models import Attempt, AuditEntry, Delivery, DLQEntry, Endpoint, Replay
from django_relay.models.audit_entry import ACTIONS
from django_relay.models.endpoint_hour import INCONCLUSIVE
from django_relay.portal import highlighting, icons, schedules
from django_relay.rules import failures
from django_relay.rules.failures import Failure

register = template.Library()

NOTHING = "\u2013"
"""Where there is no value."""

_STATES = {
    "enabled": ("ok", "check"),
    "delivered": ("ok", "check"),
    "succeeded": ("ok", "check"),
    "completed": ("ok", "check"),
    "pending": ("wait", "clock"),
    "running": ("wait", "replay"),
    "sending": ("wait", "send"),
    "dispatched": ("ok", "check"),
    "replayed": ("wait", "replay"),
    "held": ("warn", "pause"),
    "failing": ("warn", "alert"),
    "deprecated": ("warn", "alert"),
    "failed": ("bad", "cross"),
    "disabled": ("bad", "pause"),
    "open": ("bad", "inbox"),
    "off": ("off", "pause"),
    "cancelled": ("off", "minus"),
    "discarded": ("off", "minus"),
    "no_match": ("off", "minus"),
    "unknown": ("off", "info"),
}


@register.simple_tag
def icon(name: str, size: int = 16) -> SafeString:
    """Draw an icon; it is decoration, and hidden from who listens."""
    return format_html(
        '<svg width="{}" height="{}" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" '
        'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false"{}><path d="{}"/></svg>',
        size,
        size,
        mark_safe(' class="flip"') if name in {"back", "next", "leave"} else "",
        icons.PATHS[name],
    )


@register.simple_tag
def pill(state: str, word: str) -> SafeString:
    """Show a state as icon, word and colour."""
    kind, drawn = _STATES.get(state, _STATES["unknown"])
    return format_html('<span class="pill {}">{}{}</span>', kind, icon(drawn, 12), word)


@register.simple_tag
def moment(at: datetime | None, style: str = "moment", *, otherwise: str = NOTHING) -> SafeString | str:
    """Show a time: exact UTC as the title, and as the text until the page's script puts it into the reader's zone.

    ``style`` is ``moment`` (to the second), ``minute``, ``date``, or of an axis ``day`` or ``time``.
    """
    if at is None:
        return otherwise
    utc = at.astimezone(UTC)
    exact = utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    shown = {"moment": "j M, H:i:s", "minute": "j M, H:i", "date": "j M Y", "day": "j M", "time": "H:i"}[style]
    return format_html(
        '<time datetime="{}" title="{}" data-as="{}">{}</time>',
        utc.isoformat(timespec="milliseconds"),
        exact,
        style,
        formats.date_format(utc, shown) + (" UTC" if style in {"moment", "minute"} else ""),
    )


@register.filter
def number(value: Any) -> str:
    """Write a number as the reader's language does, with its digits in groups."""
    if value is None or value == "":
        return NOTHING
    return str(formats.number_format(value, use_l10n=True, force_grouping=True))


@register.filter
def share(value: float | None) -> str:
    """Write a fraction as a percentage: one decimal below ten per cent, none for nothing and all."""
    if value is None:
        return NOTHING
    percent = value * 100
    digits = 0 if percent in (0, 100) or percent >= 10 else 1
    if 0 < percent < 0.1:
        return _("< %(percent)s%%") % {"percent": formats.number_format(0.1, 1, use_l10n=True)}
    if 99 < percent < 100:
        percent, digits = min(percent, 99.9), 1
    return _("%(percent)s%%") % {"percent": formats.number_format(round(percent, digits), digits, use_l10n=True)}


@register.filter
def milliseconds(value: float | None) -> str:
    """Write a duration: ``84 ms``, ``1.2 s``."""
    if value is None:
        return NOTHING
    if value < 1_000:
        return f"{formats.number_format(round(value), use_l10n=True)} ms"
    return f"{formats.number_format(round(value / 1_000, 1), 1, use_l10n=True)} s"


@register.filter
def json_text(text: str) -> SafeString:
    """Colour JSON that is given as text, indented."""
    return highlighting.highlight(highlighting.pretty(text))


@register.filter
def json_value(value: Any) -> SafeString:
    """Colour a JSON value."""
    return highlighting.highlight(highlighting.dumps(value))


@register.filter
def status_class(status_code: int | None) -> str:
    """Return the class in the style sheet of an HTTP status."""
    if status_code is None:
        return "code-bad"
    return {2: "code-ok", 3: "code-warn"}.get(status_code // 100, "code-bad")


@register.filter
def item(mapping: Mapping[str, Any], key: str) -> Any:
    """Look a key up that a template holds in a variable."""
    return mapping.get(key)


@register.simple_tag
def endpoint_pill(endpoint: Endpoint) -> SafeString:
    """Show an endpoint's state, with its cause."""
    if endpoint.enabled:
        return pill("failing", _("Failing")) if endpoint.failing_since else pill("enabled", _("Enabled"))
    words = {
        Endpoint.Reason.TENANT: ("off", _("Paused by you")),
        Endpoint.Reason.STAFF: ("disabled", _("Stopped by support")),
        Endpoint.Reason.GONE: ("disabled", _("Disabled: gone")),
        Endpoint.Reason.FAILING: ("disabled", _("Disabled: failing")),
    }
    state, word = words.get(Endpoint.Reason(endpoint.disabled_reason or "staff"), ("disabled", _("Disabled")))
    return pill(state, word)


@register.simple_tag
def delivery_pill(delivery: Delivery) -> SafeString:
    """Show where a delivery stands; one that waits for its endpoint is held."""
    if delivery.state == Delivery.State.PENDING and not delivery.endpoint.enabled:
        return pill("held", _("Held"))
    if delivery.state == Delivery.State.PENDING and delivery.attempt_count:
        return pill("pending", _("Retrying"))
    words = {"pending": _("Pending"), "delivered": _("Delivered"), "failed": _("Failed"), "cancelled": _("Cancelled")}
    return pill(delivery.state, words[delivery.state])


@register.simple_tag
def attempt_pill(attempt: Attempt) -> SafeString:
    """Show what came of an attempt."""
    if attempt.error_kind in INCONCLUSIVE:
        return pill("unknown", _("Unknown"))
    succeeded = attempt.status_code is not None and 200 <= attempt.status_code < 300 and not attempt.error_kind
    return pill("succeeded", _("Succeeded")) if succeeded else pill("failed", _("Failed"))


@register.simple_tag
def entry_pill(entry: DLQEntry) -> SafeString:
    """Show what was done about a delivery that was given up."""
    if entry.discarded_at is not None:
        return pill("discarded", _("Discarded"))
    return pill("replayed", _("Sent again")) if entry.replayed_at is not None else pill("open", _("Given up"))


@register.simple_tag
def replay_pill(replay: Replay) -> SafeString:
    """Show where a bulk replay stands."""
    words = {
        "pending": _("Starting"),
        "running": _("Running"),
        "completed": _("Completed"),
        "cancelled": _("Cancelled"),
    }
    return pill(replay.state, words[replay.state])


@register.filter
def what_came_back(attempt: Attempt | DLQEntry) -> str:
    """Say in words why there was no answer, as far as tenants are told (:mod:`django_relay.rules.failures`)."""
    words = {
        failures.UNREACHABLE: _(
            "No connection could be made. Look at the host's name in the DNS, the port, the firewall and the TLS "
            "certificate: is it complete, not expired, and made out to that name?"
        ),
        "timeout": _("There was no answer within the time limit."),
        "unknown": _("It was sent, and what came back is not known. It is sent again."),
        "local_error": _("A fault on our side. It is sent again."),
    }
    return words.get(failures.for_tenant(Failure(attempt.error_kind, "")).kind, "") or _("No answer.")


@register.filter
def took(attempt: Attempt) -> str:
    """Write how long an attempt took, where tenants are told."""
    return milliseconds(failures.for_tenant(Failure(attempt.error_kind, "", attempt.duration_ms)).duration_ms)


@register.filter
def seconds(value: float) -> str:
    """Write a wait, exactly: ``5 s``, ``30 min``, ``2 h``."""
    return schedules.wait(value)


@register.filter
def span(value: float) -> str:
    """Write a stretch of time in a sentence: ``5 days``, ``12 hours``."""
    return schedules.span(value)


@register.filter
def kibibytes(value: int) -> str:
    """Write a size."""
    return f"{formats.number_format(round(value / 1024), use_l10n=True)} KiB"


@register.filter
def action_words(entry: AuditEntry) -> str:
    """Say what was done."""
    return str(ACTIONS.get(entry.action, entry.action))
