"""Sources: what turns something else into events, by declaration. One file a source; what they share is beside them.

``model_signals``: changes of models. ``jobs``: the life cycle of background jobs, of ``django_q``, ``django_tasks`` and
``celery``. What running code says of the events it causes is in :mod:`django_relay.context`, offered here too.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec

from django.apps import apps

from django_relay import conf
from django_relay.context import attributes, caused_by, suppressed, tenant

__all__ = ["attributes", "caused_by", "suppressed", "tenant"]

SOURCES: Mapping[str, Callable[[], bool]] = {
    "django_q": lambda: apps.is_installed("django_q"),
    "django_tasks": lambda: bool(find_spec("django.tasks") or find_spec("django_tasks")),
    "celery": lambda: find_spec("celery") is not None,
}
"""The job sources, each a module of this package, and whether there is the job system that it listens to."""


def installed() -> list[str]:
    """Return the job sources whose job system is installed. The others are never imported."""
    return [name for name, is_there in SOURCES.items() if is_there()]


def connect() -> None:
    """Let the job sources hear their job systems, where the setting ``JOBS`` asks for it."""
    if conf.settings.JOBS is not None:
        for name in installed():
            import_module(f"{__name__}.{name}").connect()
