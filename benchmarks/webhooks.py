"""The event types that the benchmarks emit."""

from django.db.models.signals import post_save
from django.dispatch import receiver
from django.forms import model_to_dict

from django_relay import WebhookDefinition, emit, register

_SCHEMA = {
    "type": "object",
    "required": ["number", "amount"],
    "properties": {
        "number": {"type": "string"},
        "amount": {"type": "string"},
        "note": {"type": "string"},
    },
}
EVENT_TYPE = "bench.made"
ORDER_CREATED = "order.created"
DATA = {"number": "2026-0042", "amount": "99.00", "note": "x" * 850}
"""About 1 KB once it is in its envelope."""

register(WebhookDefinition(EVENT_TYPE, "Made by a benchmark.", schema=_SCHEMA, example=DATA))
register(WebhookDefinition(ORDER_CREATED, "An order was saved."))


@receiver(post_save, sender="shop.Order")
def order_saved(instance, created, **kwargs):
    """Tell of a saved order, in its transaction, as the peers do by their own means."""
    if created:
        emit(ORDER_CREATED, model_to_dict(instance), tenant_id="shop-0", subject=f"shop.Order:{instance.pk}")
