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
        if unpaid:
            said = f"Paid: {len(unpaid)}. Whoever subscribed to it hears of it."
            self.message_user(request, said, messages.SUCCESS)
        else:
            self.message_user(request, "Nothing to do: all of them are paid already.", messages.WARNING)
