"""Django signals that django_relay sends, after commit and robustly: a receiver that raises stops nobody.

``sender`` is the model class and ``instance`` the row, as Django's own model signals have it.
"""

from django.dispatch import Signal

delivery_succeeded = Signal()
"""A receiver answered 2xx. Arguments: ``instance`` (Delivery)."""

delivery_failed = Signal()
"""An attempt failed and the delivery will be attempted again. Arguments: ``instance`` (Delivery)."""

delivery_dead_lettered = Signal()
"""A delivery was given up and stands in the DLQ. Arguments: ``instance`` (DLQEntry)."""

endpoint_failing = Signal()
"""An endpoint failed, after a success or for the first time; told once until it recovers. Nobody has to do anything
yet: deliveries are retried. Arguments: ``instance`` (Endpoint, with ``failing_since``)."""

endpoint_recovered = Signal()
"""A failing endpoint answered 2xx again. Arguments: ``instance`` (Endpoint)."""

endpoint_disabled = Signal()
"""An endpoint takes no more deliveries. Arguments: ``instance`` (Endpoint, with its ``disabled_reason``).

The place to write to its tenant; ``docs/reference/signals-and-logs.md`` shows a receiver that sends a mail. One that
was disabled by its very first failure (410) was never told to be failing."""
