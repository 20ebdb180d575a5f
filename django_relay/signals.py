"""Django signals that django_relay sends, after commit and robustly: a receiver that raises stops nobody.

``sender`` is the model class and ``instance`` the row, as Django's own model signals have it.
"""

from django.dispatch import Signal

delivery_succeeded = Signal()
"""A receiver answered 2xx. Arguments: ``instance`` (Delivery)."""

attempt_failed = Signal()
"""An attempt failed and the delivery will be attempted again. Arguments: ``instance`` (Delivery)."""

delivery_dead_lettered = Signal()
"""A delivery was given up and stands in the DLQ. Arguments: ``instance`` (DLQEntry)."""

endpoint_disabled = Signal()
"""An endpoint takes no more deliveries. Arguments: ``instance`` (Endpoint, with its ``disabled_reason``)."""
