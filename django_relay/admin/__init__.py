"""The admin: staff drive the product from it. Plain ``ModelAdmin``, for any admin site and theme.

``dashboard``    how webhooks do, at the app's index
``lists``        what every long list goes through: keyset pages, no counts
``operations``   what is done to rows: asked about first, by permission, on record
``endpoints`` …  one file a concept; ``tenants`` is a page, for no table has them
``cells``        how things are drawn; ``staff`` who asks; ``busy`` what is said while the database takes nothing

Django's autodiscovery imports this; a project without ``django.contrib.admin`` never does.
"""

from django_relay.admin import (
    api_keys,
    applications,
    attempts,
    audit,
    deliveries,
    dlq,
    endpoints,
    erasures,
    event_types,
    events,
    portal_sessions,
    publish_failures,
    replays,
    workers,
)

__all__ = [
    "api_keys",
    "applications",
    "attempts",
    "audit",
    "deliveries",
    "dlq",
    "endpoints",
    "erasures",
    "event_types",
    "events",
    "portal_sessions",
    "publish_failures",
    "replays",
    "workers",
]
