"""System checks: what is wrong or unsafe in ``DJANGO_RELAY``, the catalog, the database and the runner.

Errors are E001…; warnings W001…; those marked *deploy* show with ``manage.py check --deploy``. Ids are never reused.
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, Warning  # noqa: A004 - Django's own name
from django.db import connections, router
from django.utils.module_loading import import_string

from django_relay import conf, exceptions, fields
from django_relay.catalog import registry
from django_relay.checks import access, kinds
from django_relay.models import Event
from django_relay.models.endpoint import MAX_TIMEOUT_SECONDS
from django_relay.pipeline.upkeep import DLQ_RETENTION_DAYS_MIN
from django_relay.rules import texts
from django_relay.sources import model_signals
from django_relay.transport import selection

_LEASE_MARGIN_SECONDS = 10
_MAX_DAYS = 36_525
_CHOICES = {"SCHEMA_VALIDATION": ("block", "warn", "off"), "RETRY_POLICY": ("always", "temporary")}
_POSITIVE = (
    "MAX_PAYLOAD_BYTES", "MAX_PAYLOAD_DEPTH", "TIMEOUT_SECONDS", "LEASE_SECONDS", "MAX_IN_FLIGHT",
    "MAX_IN_FLIGHT_PER_ENDPOINT", "FIRST_IN_FLIGHT_PER_ENDPOINT", "FAN_OUT_BATCH", "MAX_RESPONSE_BYTES", "PASS_SECONDS",
    "PASSES", "POLL_SECONDS",
    "RETENTION_BATCH", "EVENT_RETENTION_DAYS", "ATTEMPT_RETENTION_DAYS", "DELIVERY_RETENTION_DAYS",
    "DLQ_RETENTION_DAYS", "PUBLISH_FAILURE_RETENTION_DAYS", "HOUR_RETENTION_DAYS", "DISABLE_MIN_FAILURES",
    "AUDIT_RETENTION_DAYS", "API_KEY_RETENTION_DAYS", "PORTAL_SESSION_RETENTION_DAYS",
    "MAX_ENDPOINTS_PER_TENANT", "MAX_REPLAYS_PER_TENANT", "MAX_REPLAY_DUE_PER_ENDPOINT",
)  # fmt: skip


def register() -> None:
    """Register the checks with Django."""
    checks.register(check_settings, Tags.compatibility)
    checks.register(check_keys, Tags.security)
    checks.register(check_catalog, Tags.models)
    checks.register(check_models, Tags.models)
    checks.register(check_seams, Tags.compatibility)
    checks.register(check_database, Tags.compatibility)
    checks.register(access.check_portal, Tags.security)
    checks.register(access.check_throttles, Tags.security)
    checks.register(access.check_resolver, Tags.compatibility)
    checks.register(check_deployment, Tags.security, deploy=True)


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find unknown keys, wrong types and impossible values."""
    configured = getattr(django_settings, "DJANGO_RELAY", {})
    if not isinstance(configured, Mapping):
        return [Error("DJANGO_RELAY must be a dict.", id="django_relay.E001")]
    known = conf.annotations()
    found: list[CheckMessage] = []
    for name, value in configured.items():
        if name not in known:
            hint = kinds.near_miss(name, known)
            found.append(Error(f"DJANGO_RELAY has no setting {name!r}.", hint=hint, id="django_relay.E001"))
        elif problem := _problem(name, value, known[name]):
            found.append(Error(f"DJANGO_RELAY[{name!r}] {problem}", id="django_relay.E002"))
    return found or _check_limits()


def _check_limits() -> list[CheckMessage]:
    settings = conf.settings
    found: list[CheckMessage] = []
    if settings.TIMEOUT_SECONDS > MAX_TIMEOUT_SECONDS:
        found.append(
            Error(
                f"DJANGO_RELAY['TIMEOUT_SECONDS'] must be at most {MAX_TIMEOUT_SECONDS}.",
                id="django_relay.E002",
            )
        )
    least = MAX_TIMEOUT_SECONDS + _LEASE_MARGIN_SECONDS
    if least > settings.LEASE_SECONDS:
        found.append(
            Error(
                f"DJANGO_RELAY['LEASE_SECONDS'] must be at least {least}: a lease must outlast the longest attempt "
                f"({MAX_TIMEOUT_SECONDS} s), or deliveries are sent twice.",
                id="django_relay.E003",
            )
        )
    if settings.DLQ_RETENTION_DAYS < DLQ_RETENTION_DAYS_MIN:
        found.append(
            Error(
                f"DJANGO_RELAY['DLQ_RETENTION_DAYS'] must be at least {DLQ_RETENTION_DAYS_MIN}.",
                id="django_relay.E002",
            )
        )
    if settings.DISABLE_AFTER and timedelta(days=settings.HOUR_RETENTION_DAYS) <= settings.DISABLE_AFTER:
        found.append(
            Error(
                "DJANGO_RELAY['DISABLE_AFTER'] must be less than HOUR_RETENTION_DAYS: failures are counted from what "
                "that keeps.",
                id="django_relay.E002",
            )
        )
    return found


def _problem(name: str, value: Any, annotation: Any) -> str:
    if not kinds.fits(value, annotation):
        return f"must be {kinds.describe(annotation)}, not {type(value).__name__}."
    if name in _CHOICES and value not in _CHOICES[name]:
        return f"must be one of {', '.join(_CHOICES[name])}."
    if name in _POSITIVE and value is not None and value <= 0:
        return "must be more than 0."
    if name.endswith("_DAYS") and value > _MAX_DAYS:
        return f"must be at most {_MAX_DAYS} (a century)."
    if name in _RULES and not _RULES[name][0](value):
        return _RULES[name][1]
    if name == "ALLOWED_NETWORKS":
        return _problem_with_networks(value)
    return ""


def _problem_with_networks(networks: Sequence[object]) -> str:
    for network in networks:
        try:
            ipaddress.ip_network(str(network))
        except ValueError as error:
            return f"must be a list of networks such as 127.0.0.0/8: {error}."
    return ""


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "RETRY_JITTER": (lambda value: 0 <= value <= 1, "must be between 0 and 1."),
    "RETRY_SCHEDULE": (
        lambda value: all(kinds.fits(wait, float) and wait > 0 for wait in value),
        "must be a list of seconds, each more than 0.",
    ),
    "DISABLE_AFTER": (lambda value: value is None or value > timedelta(0), "must be more than 0, or None."),
    "OPERATIONAL_TENANT": (
        lambda value: value is None or (len(value) <= 255 and texts.is_storable(value)),
        "must be text of at most 255 characters, without NUL.",
    ),
}
"""What the values of some settings must be besides their type, and how that is said."""


def check_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find missing and malformed encryption keys."""
    if not conf.settings.ENCRYPTION_KEYS and django_settings.DEBUG:
        return [
            Warning(
                "Signing secrets are encrypted with a key derived from SECRET_KEY, which only DEBUG allows.",
                hint="Set DJANGO_RELAY['ENCRYPTION_KEYS'] = {'2026-11': '<base64 of 32 random bytes>'} before "
                "anything is to be kept.",
                id="django_relay.W001",
            )
        ]
    try:
        fields.keys()
    except exceptions.RelayConfigurationError as error:
        make = """python -c "import base64, os; print(base64.b64encode(os.urandom(32)).decode())\""""
        return [Error(str(error), hint=f"Make a key once, and keep it: {make}", id="django_relay.E004")]
    return []


def check_catalog(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report faulty declarations with their place."""
    return [
        Error(fault.message, hint=f"Declared at {fault.place}.", id="django_relay.E005") for fault in registry.faults()
    ]


def check_models(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report declarations of models' changes that cannot be used."""
    return model_signals.check()


def check_seams(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Load what dotted paths name, and ask the runner what it thinks of its configuration."""
    found: list[CheckMessage] = []
    for name in ("TRANSPORT", "RUNNER"):
        try:
            loaded: Any = selection.load() if name == "TRANSPORT" else import_string(conf.settings.RUNNER)
        except (ImportError, TypeError, AttributeError, RuntimeError, exceptions.RelayConfigurationError) as error:
            found.append(Error(f"DJANGO_RELAY[{name!r}] cannot be loaded: {error}", id="django_relay.E006"))
            continue
        if name == "RUNNER":
            found += loaded().check()
    switch = conf.settings.ENABLED
    if isinstance(switch, str):
        try:
            import_string(switch)
        except ImportError as error:
            hint = "Give True, False, a callable, or a callable's dotted path."
            message = f"DJANGO_RELAY['ENABLED'] cannot be loaded: {error}"
            found.append(Error(message, hint=hint, id="django_relay.E006"))
    return found


def check_database(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of SQLite connections that lock each other out, and refuse databases that are not supported."""
    alias = router.db_for_write(Event)
    connection = connections[alias]
    if connection.vendor == "postgresql":
        return []
    if connection.vendor != "sqlite":
        return [
            Error(
                f"django_relay runs on PostgreSQL and SQLite, not on {connection.vendor}.",
                id="django_relay.E007",
            )
        ]
    options = connection.settings_dict.get("OPTIONS", {})
    found: list[CheckMessage] = []
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        found.append(
            Warning(
                "SQLite transactions that read before they write fail under load.",
                hint=f"Set DATABASES[{alias!r}]['OPTIONS']['transaction_mode'] = 'IMMEDIATE'.",
                id="django_relay.W002",
            )
        )
    if "journal_mode=wal" not in str(options.get("init_command", "")).lower().replace(" ", ""):
        found.append(
            Warning(
                "SQLite readers and the writer wait for each other.",
                hint=f"Set DATABASES[{alias!r}]['OPTIONS']['init_command'] = 'PRAGMA journal_mode=WAL;'.",
                id="django_relay.W003",
            )
        )
    return found


def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Name what is fine on a developer's machine and unsafe in production."""
    found: list[CheckMessage] = []
    if conf.settings.ALLOW_HTTP:
        found.append(
            Warning(
                "Endpoints may use http://: payloads travel unencrypted.",
                hint="Remove DJANGO_RELAY['ALLOW_HTTP'].",
                id="django_relay.W004",
            )
        )
    if conf.settings.ALLOWED_NETWORKS:
        found.append(
            Warning(
                f"Tenants' URLs may reach private networks: {', '.join(map(str, conf.settings.ALLOWED_NETWORKS))}.",
                hint="Remove DJANGO_RELAY['ALLOWED_NETWORKS'], or keep it to what tenants may reach.",
                id="django_relay.W005",
            )
        )
    if connections[router.db_for_write(Event)].vendor == "sqlite":
        found.append(
            Warning(
                "SQLite takes one writer at a time; workers on several machines need PostgreSQL.",
                id="django_relay.W006",
            )
        )
    if conf.settings.RUNNER == "django_relay.runners.inline.InlineRunner":
        found.append(
            Warning(
                "The inline runner makes each request that emits wait for the receivers.",
                hint="Use the django-q2 runner, or ProcessRunner with manage.py relay_worker.",
                id="django_relay.W007",
            )
        )
    return found
