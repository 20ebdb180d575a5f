"""What the shop came to send at run time, besides what its ``webhooks.py`` declares."""

from django_relay import WebhookDefinition

ORDER_SCHEMA = {
    "type": "object",
    "required": ["number", "carrier"],
    "properties": {
        "number": {"type": "string", "description": "The order's number, as on its papers."},
        "carrier": {"enum": ["dhl", "ups", "post"], "description": "Who carries it."},
        "parcels": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tracking"],
                "properties": {
                    "tracking": {"type": "string", "maxLength": 40},
                    "grams": {"type": "integer", "minimum": 1},
                },
            },
        },
    },
}
ORDER = {"number": "B-1042", "carrier": "dhl", "parcels": [{"tracking": "JJD0003", "grams": 740}]}

CATALOG = (
    WebhookDefinition(
        "order.confirmed", "A customer's order was confirmed.", group="orders", example={"number": "B-1042"}
    ),
    WebhookDefinition(
        "order.shipped",
        "All parcels of an order are with the carrier.",
        group="orders",
        schema=ORDER_SCHEMA,
        example=ORDER,
        version="2",
        schema_version="2026-10",
    ),
    WebhookDefinition("order.cancelled", "An order will not be sent.", group="orders", example={"number": "B-1"}),
    WebhookDefinition(
        "customer.created", "Somebody became a customer.", group="customers", example={"name": "Ada Lovelace"}
    ),
    WebhookDefinition(
        "customer.updated",
        "Name or address of a customer changed.",
        group="customers",
        example={"name": "Ada Lovelace", "changed": ["address"]},
    ),
)
"""The event types that :func:`example_project.demo.history.write` registers."""
