"""Attempts: what was sent and what came back."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_relay.admin import cells
from django_relay.admin.deliveries import by_status, endpoint_of
from django_relay.admin.lists import Found, KeysetAdmin, ReadOnly, TimeFilter
from django_relay.models import Attempt, Delivery, Endpoint, searching


@admin.register(Attempt)
class AttemptAdmin(KeysetAdmin, ReadOnly):
    """One HTTP request of a delivery."""

    list_display = ("short_id", "delivery_link", "receiver", "number", "trigger", "answer", "took", "started")
    list_filter = (TimeFilter, by_status("status_code"))
    search_help_text = _("An attempt, delivery, event or endpoint id, or a tenant; whole, not in part.")
    fieldsets = (
        (None, {"fields": ("id", "delivery_link", "receiver", "number", "trigger", "started_at", "took")}),
        (_("Request"), {"fields": ("sent_headers", "remote_address")}),
        (_("Answer"), {"fields": ("status_code", "error_kind", "error", "came_headers", "body", "next_attempt_at")}),
    )

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Find by what an attempt is of."""
        return Found(searching.attempts(term, using=using))

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read the endpoints along; bodies and headers are for the attempt's own page."""
        return super().get_queryset(request).prefetch_related(endpoint_of())

    @admin.display(description=_("delivery"))
    def delivery_link(self, row: Attempt) -> Any:
        """Link to the delivery."""
        return cells.link(Delivery, row.delivery_id)

    @admin.display(description=_("endpoint"))
    def receiver(self, row: Attempt) -> Any:
        """Link to the endpoint, by its URL."""
        return (
            cells.link(Endpoint, row.endpoint_id, cells.receiver(row.endpoint.url)) if row.endpoint else cells.NOTHING
        )

    @admin.display(description=_("answer"))
    def answer(self, row: Attempt) -> str:
        """Show what came back."""
        return str(row.status_code or row.error_kind or cells.NOTHING)

    @admin.display(description=_("took"))
    def took(self, row: Attempt) -> str:
        """Show how long it took."""
        return cells.milliseconds(row.duration_ms)

    @admin.display(description=_("started"))
    def started(self, row: Attempt) -> Any:
        """Show when it was made."""
        return cells.moment(row.started_at)

    @admin.display(description=_("headers"))
    def sent_headers(self, row: Attempt) -> Any:
        """Show what was sent, signatures and custom values left out when it was stored."""
        return _headers(row.request_headers)

    @admin.display(description=_("headers"))
    def came_headers(self, row: Attempt) -> Any:
        """Show what came back."""
        return _headers(row.response_headers)

    @admin.display(description=_("body"))
    def body(self, row: Attempt) -> Any:
        """Show the answer's body as text."""
        return cells.preformatted(row.response_body)


def _headers(headers: list[list[str]]) -> Any:
    return cells.preformatted("\n".join(f"{name}: {value}" for name, value in headers))
