"""Invoices: paying one emits ``invoice.paid`` in the same transaction."""

from decimal import Decimal

from django.db import models, transaction
from django.utils import timezone

from django_relay import emit


class Invoice(models.Model):
    """One customer's bill."""

    customer = models.CharField(max_length=100)
    number = models.CharField(max_length=32, unique=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    currency = models.CharField(max_length=3, default="EUR")
    paid_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.number

    @property
    def data(self) -> dict[str, str | Decimal]:
        """What webhooks say about this invoice."""
        return {"number": self.number, "amount": self.amount, "currency": self.currency}

    @transaction.atomic
    def pay(self) -> None:
        """Mark the invoice as paid; its customer hears of it if, and only if, this commits."""
        self.paid_at = timezone.now()
        self.save(update_fields=["paid_at"])
        emit("invoice.paid", self.data, tenant_id=self.customer, subject=f"shop.Invoice:{self.pk}")
