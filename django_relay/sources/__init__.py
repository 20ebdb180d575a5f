"""Sources: what turns something else into events, by declaration. One file a source; what they share is beside them.

``model_signals``: changes of models. From a declaration (``declarations``, ``conditions``, ``tenants``, ``payloads``)
and what is heard of a row (``receivers``, ``relations``, ``bulk``; ``unwatched`` warns of the rest), by what it was
before (``loaded``, ``differences``) and what its transaction did so far (``journal``), to events (``changes``).
``jobs``: the life cycle of background jobs, of ``django_q``, ``django_tasks`` and ``celery``. What running code says of
the events it causes is in :mod:`django_relay.context`, offered here too.
"""

from django_relay.context import attributes, caused_by, suppressed, tenant

__all__ = ["attributes", "caused_by", "suppressed", "tenant"]
