"""The shop's pages in the Django admin: pay an invoice, and its customer hears of it."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from example_project.shop.models import Invoice


@admin.register(Invoice)
class InvoiceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in its stubs only
    """Invoices, with an action that pays them."""

    list_display = ("number", "customer", "amount", "currency", "paid_at")
    list_filter = ("customer", ("paid_at", admin.EmptyFieldListFilter))
    search_fields = ("number", "customer")
    ordering = ("number",)
    readonly_fields = ("paid_at",)
    actions = ("pay",)

    @admin.action(description="Pay the selected invoices", permissions=["change"])
    def pay(self, request: HttpRequest, invoices: QuerySet[Invoice]) -> None:
        """Pay those that are not paid; each emits its event in the transaction that marks it as paid."""
        unpaid = list(invoices.filter(paid_at=None))
        for invoice in unpaid:
            invoice.pay()
        self.message_user(request, f"Paid: {len(unpaid)}. Their webhooks are on their way.", messages.SUCCESS)
