"""The portal: pages on which a tenant manages its own webhooks. ``include("django_relay.portal.urls")``.

``links``       makes one-time links: :func:`create_session`
``entrance``    lets people in by them, and out
``visits``      who is here, with which right to change something
``frame``       what every page goes through: language, headers, refusals
``endpoints`` … one file a concept, its form beside its views
``highlighting``, ``charts``, ``schedules``, ``snippets``, ``theme``   how things are drawn
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_relay.portal.links import create_session

__all__ = ["create_session"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("django_relay.portal.links"), name)
