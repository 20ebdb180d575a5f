"""One model, the same in every peer's project."""

from django.db import models


class Order(models.Model):
    """What a shop saves."""

    number = models.CharField(max_length=40)
    customer = models.CharField(max_length=100)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    note = models.TextField(blank=True)

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return self.number
