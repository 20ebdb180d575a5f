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
