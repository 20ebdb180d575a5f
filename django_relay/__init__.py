"""django_relay: send webhooks from Django to your customers, and lose none.

The map, top to bottom (imports only go down)::

    management, testing                                 what people and programs touch
    runners | sources                                   the host's edges: what runs the worker (django-q2, a process,
                                                        inline) and what else becomes events (changes of models)
    pipeline                                            THE JOURNEY, one file a step:
        outbox → fan_out → leases → attempts → settlement → dlq, called in order by worker
    catalog                                             declared event types
    models                                              one file a table
    transport                                           the only code that opens sockets
    rules                                               pure functions: names, filters, signing, retries
    fields, conf, signals, exceptions, ids              the ground

Public names are imported on first use, so that ``from django_relay import emit`` works in ``models.py``, ``views.py``
and ``webhooks.py`` (not in settings or in an app package's ``__init__.py``, which run before Django's app registry).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_relay.catalog.registry import WebhookDefinition, register
    from django_relay.catalog.sync import register_event_type
    from django_relay.ids import deterministic_event_id
    from django_relay.pipeline.outbox import aemit, emit, emit_best_effort, emit_many
    from django_relay.rules.signing import verify

__version__ = "0.1.0"

__all__ = [
    "WebhookDefinition",
    "aemit",
    "deterministic_event_id",
    "emit",
    "emit_best_effort",
    "emit_many",
    "register",
    "register_event_type",
    "verify",
]

_HOMES = {
    "WebhookDefinition": "django_relay.catalog.registry",
    "aemit": "django_relay.pipeline.outbox",
    "deterministic_event_id": "django_relay.ids",
    "emit": "django_relay.pipeline.outbox",
    "emit_best_effort": "django_relay.pipeline.outbox",
    "emit_many": "django_relay.pipeline.outbox",
    "register": "django_relay.catalog.registry",
    "register_event_type": "django_relay.catalog.sync",
    "verify": "django_relay.rules.signing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
