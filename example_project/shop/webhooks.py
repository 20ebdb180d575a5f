"""The events that the shop sends."""

from django_relay import WebhookDefinition, register

PROPERTIES = {
    "number": {"type": "string"},
    "amount": {"type": "string", "pattern": r"^\d+\.\d{2}$"},
    "currency": {"type": "string", "minLength": 3, "maxLength": 3},
}
INVOICE_SCHEMA = {"type": "object", "required": ["number", "amount", "currency"], "properties": PROPERTIES}
EXAMPLE = {"number": "2026-0042", "amount": "99.00", "currency": "EUR"}

register(
    WebhookDefinition(
        "invoice.created",
        "An invoice was written.",
        group="invoices",
        schema=INVOICE_SCHEMA,
        example=EXAMPLE,
    )
)
register(
    WebhookDefinition(
        "invoice.paid",
        "An invoice was paid in full.",
        group="invoices",
        schema=INVOICE_SCHEMA,
        example=EXAMPLE,
    )
)
register(
    WebhookDefinition(
        "invoice.overdue",
        "An invoice was not paid in time.",
        group="invoices",
        schema={**INVOICE_SCHEMA, "properties": {**PROPERTIES, "days": {"type": "integer", "minimum": 1}}},
        example={**EXAMPLE, "days": 14},
    )
)

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

register(
    WebhookDefinition(
        "order.confirmed", "A customer's order was confirmed.", group="orders", example={"number": "B-1042"}
    )
)
register(
    WebhookDefinition(
        "order.shipped",
        "All parcels of an order are with the carrier.",
        group="orders",
        schema=ORDER_SCHEMA,
        example=ORDER,
        version="2",
        schema_version="2026-10",
    )
)
register(WebhookDefinition("order.cancelled", "An order will not be sent.", group="orders", example={"number": "B-1"}))
register(
    WebhookDefinition(
        "customer.created", "Somebody became a customer.", group="customers", example={"name": "Ada Lovelace"}
    )
)
register(
    WebhookDefinition(
        "customer.updated",
        "Name or address of a customer changed.",
        group="customers",
        example={"name": "Ada Lovelace", "changed": ["address"]},
    )
)
