"""System checks of the setting ``JOBS``."""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from django.utils.module_loading import import_string

from django_relay import exceptions, sources
from django_relay.rules import event_names
from django_relay.sources import job_events

_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "EVENTS": ((list, tuple, set, frozenset), "a list of event types"),
    "PAYLOADS": (Mapping, "a dict of event types and dotted paths"),
    "TENANT_RESOLVER": (object, "a dotted path"),
    "PREFIX": (str, "text such as 'dispatch'"),
    "APPLICATION": (str, "an application's slug"),
    "ARGUMENTS": (bool, "True or False"),
}


def check(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find what is wrong with ``JOBS``: unknown keys and event types, paths that name nothing, an impossible prefix."""
    jobs: Any = job_events.settings()
    if jobs is None or not isinstance(jobs, Mapping):
        return []  # off; or another check says that it is no dict
    found = list(_wrong_keys(jobs))
    if not found:
        found = [*_wrong_prefix(jobs)] or [*_wrong_events(jobs), *_wrong_paths(jobs)]
    if not sources.installed():
        hint = f"Install one of {', '.join(sources.SOURCES)}, or remove DJANGO_RELAY['JOBS']."
        found.append(Warning("No job system that can be listened to is installed.", hint=hint, id="django_relay.W040"))
    return found


def _wrong_keys(jobs: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for key, value in jobs.items():
        if key not in _TYPES:
            message = f"DJANGO_RELAY['JOBS'] has no setting {key!r}."
            yield Error(message, hint=_near(key, _TYPES), id="django_relay.E040")
        elif not isinstance(value, _TYPES[key][0]):
            message = f"DJANGO_RELAY['JOBS'][{key!r}] must be {_TYPES[key][1]}, not {type(value).__name__}."
            yield Error(message, id="django_relay.E040")


def _wrong_prefix(jobs: Mapping[str, Any]) -> Iterator[CheckMessage]:
    longest = max(job_events.EVENTS, key=len)
    try:
        event_names.validate_own_name(f"{jobs.get('PREFIX', job_events.PREFIX)}.{longest}")
    except exceptions.RelayError as error:
        message = f"DJANGO_RELAY['JOBS']['PREFIX'] cannot begin an event type's name: {error}"
        yield Error(message, hint="Give dotted lower-case words, such as 'dispatch'.", id="django_relay.E041")


def _wrong_events(jobs: Mapping[str, Any]) -> Iterator[CheckMessage]:
    known = [job_events.full_name(name) for name in job_events.EVENTS]
    for key in ("EVENTS", "PAYLOADS"):
        for name in jobs.get(key, ()):
            if name not in known:
                message = f"DJANGO_RELAY['JOBS'][{key!r}] names an event type that there is not: {name!r}."
                yield Error(message, hint=_near(name, known), id="django_relay.E042")


def _wrong_paths(jobs: Mapping[str, Any]) -> Iterator[CheckMessage]:
    paths = {f"['PAYLOADS'][{name!r}]": path for name, path in jobs.get("PAYLOADS", {}).items()}
    if jobs.get("TENANT_RESOLVER") is not None:
        paths["['TENANT_RESOLVER']"] = jobs["TENANT_RESOLVER"]
    for place, path in paths.items():
        try:
            problem = "" if callable(import_string(path) if isinstance(path, str) else path) else "it is not callable"
        except Exception as error:  # noqa: BLE001 - importing runs the project's code
            problem = f"{type(error).__name__}: {error}"
        if problem:
            message = f"DJANGO_RELAY['JOBS']{place} cannot be used: {problem}."
            hint = "Give the dotted path of a function that takes a JobFact."
            yield Error(message, hint=hint, id="django_relay.E043")


def _near(name: object, known: Collection[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(known)}."
