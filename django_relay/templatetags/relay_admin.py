"""What the admin's templates draw with: ``{% load relay_admin %}``."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django import template
from django.apps import apps
from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from django_relay.admin import cells, dashboard, tenants
from django_relay.models import AuditEntry

register = template.Library()


def _groups() -> Sequence[tuple[str, Sequence[str]]]:
    """Return how the app's models are grouped, each group with its heading; the rest comes last."""
    return (
        (_("What was sent"), ("Event", "Delivery", "Attempt", "DLQEntry", "Replay")),
        (_("Who gets it"), ("Endpoint", "PortalSession", "ApiKey")),
        (_("What there is to send"), ("Application", "EventType")),
        (_("On record"), ("AuditEntry", "PublishFailure", "WorkerPresence", "Erasure")),
    )


@register.inclusion_tag("admin/django_relay/dashboard.html", takes_context=True)
def relay_dashboard(context: template.Context) -> dict[str, Any]:
    """Draw the dashboard, as much of it as the person may see."""
    request = context["request"]
    site = _site(context)
    shown = dashboard.of(request, site=site)
    if tenants.may_see(request):
        shown["tenants_url"] = _reverse("django_relay_tenants", site)
    return shown


@register.simple_tag
def relay_groups(app_list: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the app's models in groups, in the shape of Django's list of apps."""
    groups: list[dict[str, Any]] = []
    for app in app_list:
        left = {model["object_name"]: model for model in app["models"]}
        for name, members in _groups():
            found = [left.pop(member) for member in members if member in left]
            groups += [{**app, "name": name, "models": found}] if found else []
        groups += [{**app, "name": _("The workers' own"), "models": list(left.values())}] if left else []
    return groups


@register.simple_tag(takes_context=True)
def relay_url(context: template.Context, row: models.Model) -> str:
    """Return the address of a row's page."""
    return cells.url_of(type(row), row.pk, site=_site(context))


@register.simple_tag(takes_context=True)
def relay_list_url(context: template.Context, name: str) -> str:
    """Return the address of a model's list."""
    return cells.url_of(apps.get_model("django_relay", name), site=_site(context))


@register.simple_tag(takes_context=True)
def relay_audit_url(context: template.Context, row: models.Model) -> str:
    """Return the address of the audit of a row."""
    return cells.url_of(AuditEntry, site=_site(context), query=f"?q={row.pk}")


@register.simple_tag
def relay_badge(state: str, text: str = "") -> str:
    """Draw a state."""
    return cells.badge(state, text)


@register.simple_tag
def relay_cut(text: str, length: int = 60) -> str:
    """Draw the beginning of a long text."""
    return cells.cut(text, length)


@register.simple_tag
def relay_receiver(url: str) -> str:
    """Draw an endpoint's URL as narrow as a table needs it."""
    return cells.receiver(url)


@register.simple_tag
def relay_moment(value: datetime | None) -> str:
    """Draw a time."""
    return cells.moment(value)


@register.simple_tag
def relay_tenant(value: str | None) -> str:
    """Name a tenant."""
    return cells.tenant(value)


@register.simple_tag
def relay_span(name: str) -> str:
    """Name a stretch of time."""
    return {"24h": _("24 hours"), "7d": _("7 days")}.get(name, name)


@register.filter
def relay_number(value: int) -> str:
    """Return a number with its thousands apart."""
    return f"{value:,}"


@register.filter
def relay_plain(value: int) -> str:
    """Return a number as attributes of elements need it, whatever the language."""
    return str(value)


@register.filter
def relay_share(value: float | None) -> str:
    """Return a part of a whole as text."""
    return cells.share(value)


@register.filter
def relay_milliseconds(value: float | None) -> str:
    """Return a duration as text."""
    return cells.milliseconds(value)


@register.filter
def relay_outcomes(counts: Mapping[str, int]) -> str:
    """Say what became of the attempts of a bar."""
    names = {"ok": _("delivered"), "bad": _("failed")}
    return ", ".join(f"{number:,} {names.get(kind, kind)}" for kind, number in counts.items())


def _site(context: template.Context) -> str:
    request = context.get("request")
    return getattr(request, "current_app", None) or "admin"


def _reverse(name: str, site: str) -> str:
    try:
        return reverse(f"admin:{name}", current_app=site)
    except NoReverseMatch:
        return ""
