"""System checks of who gets in: ``PORTAL``, ``API_THROTTLES`` and ``TENANT_RESOLVER`` (E060…, W060…)."""

import ipaddress
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from django.utils.module_loading import import_string

from django_relay import conf, exceptions
from django_relay.checks import kinds
from django_relay.models.portal_session import MAX_LINK_SECONDS, MIN_IDLE_SECONDS, MIN_SESSION_SECONDS
from django_relay.rules import origins, rates

_USUAL_SECONDS = {"IDLE_SECONDS": 1_800, "SESSION_SECONDS": 28_800}  # OWASP ASVS 5.0 §7.3


def check_portal(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find unknown keys, wrong types, impossible times, and origins and URLs that allow more than they say."""
    found = _check_keys("PORTAL", conf.Portal, _PORTAL_RULES)
    portal = conf.settings.PORTAL
    if found or not isinstance(portal, Mapping):
        return found
    if portal["IDLE_SECONDS"] > portal["SESSION_SECONDS"]:
        message = "DJANGO_RELAY['PORTAL']['IDLE_SECONDS'] must be at most SESSION_SECONDS."
        found.append(Error(message, id="django_relay.E061"))
    for name, usual in _USUAL_SECONDS.items():
        if portal[name] > usual:  # type: ignore[literal-required]
            message = f"Portal sessions live long: DJANGO_RELAY['PORTAL'][{name!r}] is more than {usual}."
            hint = "Whoever finds a browser open finds the portal open: keep it short."
            found.append(Warning(message, hint=hint, id="django_relay.W060"))
    return found


def check_throttles(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find unknown keys and rates that cannot be read, and warn where failed authentications are not throttled."""
    rules = dict.fromkeys(typing.get_type_hints(conf.Throttles), _rate)
    found = _check_keys("API_THROTTLES", conf.Throttles, rules)
    throttles: object = conf.settings.API_THROTTLES
    if not found and isinstance(throttles, Mapping) and throttles["failed"] is None:
        message = "API keys can be guessed at without end: DJANGO_RELAY['API_THROTTLES']['failed'] is None."
        found.append(Warning(message, hint="Set a rate such as 20/minute.", id="django_relay.W061"))
    return found


def check_resolver(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Load what ``TENANT_RESOLVER`` names."""
    resolver = conf.settings.TENANT_RESOLVER
    try:
        loaded = import_string(resolver) if isinstance(resolver, str) else resolver
    except ImportError as error:
        return [Error(f"DJANGO_RELAY['TENANT_RESOLVER'] cannot be loaded: {error}", id="django_relay.E062")]
    if loaded is not None and not callable(loaded):
        return [Error("DJANGO_RELAY['TENANT_RESOLVER'] must name a callable.", id="django_relay.E062")]
    return []


def _check_keys(setting: str, keys: Any, rules: Mapping[str, Callable[[Any], object]]) -> list[CheckMessage]:
    configured = conf.configured()
    values = configured.get(setting, {}) if isinstance(configured, Mapping) else {}
    if not isinstance(values, Mapping):
        return []  # E002 says so
    known, found = typing.get_type_hints(keys), list[CheckMessage]()
    for name, value in values.items():
        where = f"DJANGO_RELAY[{setting!r}]"
        if name not in known:
            hint = kinds.near_miss(name, known)
            found.append(Error(f"{where} has no key {name!r}.", hint=hint, id="django_relay.E060"))
            continue
        problem = "" if kinds.fits(value, known[name]) else f"must be {kinds.describe(known[name])}."
        try:
            _value = problem or rules[name](value)
        except (exceptions.InvalidInput, ValueError) as error:
            problem = f"is wrong: {error}"
        if problem:
            found.append(Error(f"{where}[{name!r}] {problem}", id="django_relay.E061"))
    return found


def _between(least: int, most: float) -> Callable[[int], None]:
    def check(seconds: int) -> None:
        if not least <= seconds <= most:
            raise ValueError(f"it must be at least {least}" + (f" and at most {most:.0f}." if most < 1e9 else "."))

    return check


def _each(rule: Callable[[Any], object]) -> Callable[[Sequence[Any]], list[object]]:
    return lambda values: [rule(value) for value in values]


def _origin(value: str) -> None:
    """Take what links begin with: nothing, or an origin, over ``http`` only of this very machine."""
    if value:
        place = origins.parse(value)
        if place.path.strip("/") or place.rest:
            raise ValueError("it is scheme and host alone, such as https://app.example.com.")


def _rate(value: str | None) -> None:
    if value is not None:
        rates.parse(value)


_PORTAL_RULES: Mapping[str, Callable[[Any], object]] = {
    "LINK_SECONDS": _between(1, MAX_LINK_SECONDS),
    "IDLE_SECONDS": _between(MIN_IDLE_SECONDS, float("inf")),
    "SESSION_SECONDS": _between(MIN_SESSION_SECONDS, 2_592_000),
    "RETURN_URLS": _each(origins.parse_listing),
    "LOGO_URLS": _each(origins.parse_listing),
    "FRAME_ANCESTORS": _each(origins.parse_origin),
    "ORIGIN": _origin,
    "SOURCE_ADDRESSES": _each(lambda value: ipaddress.ip_network(value if isinstance(value, str) else "")),
}
"""What the value of each key must be besides its type; a rule raises what is wrong."""
