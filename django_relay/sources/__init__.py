"""Sources: what turns something else into events, by declaration. One file a source; what they share is beside them.

``model_signals``: changes of models. From a declaration (``declarations``, ``conditions``, ``tenants``, ``payloads``)
and what is heard of a row (``receivers``, ``relations``, ``bulk``; ``unwatched`` warns of the rest), by what it was
before (``loaded``, ``differences``) and what its transaction did so far (``journal``), to events (``changes``).
``jobs``: the life cycle of background jobs, of ``django_q``, ``django_tasks`` and ``celery``. What running code says of
the events it causes is in :mod:`django_relay.context`, offered here too.
"""

from collections.abc import Mapping
from importlib import import_module

from django.apps import apps

from django_relay import conf
from django_relay.context import attributes, caused_by, suppressed, tenant

__all__ = ["attributes", "caused_by", "suppressed", "tenant"]

SOURCES: Mapping[str, str] = {"django_q": "django_relay.sources.django_q"}
"""The job sources, each by the app that it listens to; a source is imported only where that is installed."""


def connect() -> None:
    """Let the job sources hear their job systems, where the setting ``JOBS`` asks for it."""
    if conf.settings.JOBS is not None:
        for app, path in SOURCES.items():
            if apps.is_installed(app):
                import_module(path).connect()
