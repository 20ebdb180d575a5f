"""Deliveries: looked at, sent now, or ended."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_relay.admin import cells
from django_relay.admin.lists import Found, KeysetAdmin, ReadOnly, TimeFilter, choice_filter
from django_relay.admin.operations import Done, Operated, Operation
from django_relay.models import Attempt, Delivery, DLQEntry, Endpoint, Event, Replay, audit, searching
from django_relay.models.lists import STATUS_CLASSES
from django_relay.pipeline import deliveries as pipeline
from django_relay.rules.access import Caller

_ATTEMPTS = 100
"""How many attempts a delivery's page shows."""


def _retry(caller: Caller, delivery: Delivery, chosen: dict[str, Any]) -> Done:
    sent = pipeline.retry(delivery, actor=caller.actor)
    audit.record("delivery.retried", delivery, caller=caller, application=delivery.endpoint.application.slug)
    return Done(_("It is due now; a worker sends it."), goto=cells.url_of(Delivery, sent.pk))


def _cancel(caller: Caller, delivery: Delivery, chosen: dict[str, Any]) -> Done:
    pipeline.cancel(delivery, actor=caller.actor)
    audit.record("delivery.cancelled", delivery, caller=caller, application=delivery.endpoint.application.slug)
    return Done(_("The delivery is cancelled."))


def by_status(name: str) -> Any:
    """Return how rows are narrowed down to a class of their status codes."""

    def narrow(queryset: "models.QuerySet[Any]", value: str) -> "models.QuerySet[Any]":
        if value == "none":
            return queryset.filter(**{f"{name}__isnull": True})
        first = int(value[0]) * 100
        return queryset.filter(**{f"{name}__gte": first, f"{name}__lt": first + 100})

    return choice_filter("status", _("status code"), [(name, name) for name in STATUS_CLASSES], narrow)


def event_of(path: str = "event") -> "models.Prefetch[str]":
    """Return how the events of rows are read along: without payloads; they may be gone."""
    return models.Prefetch(path, Event.objects.defer("payload", "attributes"))


def endpoint_of(path: str = "endpoint") -> "models.Prefetch[str]":
    """Return how the endpoints of rows are read along: without their secret headers."""
    return models.Prefetch(path, Endpoint.objects.defer("headers"))


@admin.register(Delivery)
class DeliveryAdmin(KeysetAdmin, Operated, ReadOnly):
    """One event on its way to one endpoint."""

    list_display = ("short_id", "state_badge", "tenant", "type_of_event", "receiver", "tries", "answer", "age")
    list_filter = (
        TimeFilter,
        choice_filter("state", _("state"), Delivery.State.choices),
        by_status("last_status_code"),
    )
    search_help_text = _("A delivery, event or endpoint id, or a tenant; whole, not in part.")
    fieldsets = (
        (None, {"fields": ("id", "state_badge", "tenant", "event_link", "type_of_event", "receiver",
                           "dlq_entry_link")}),
        (_("Attempts"), {"fields": ("tries", "next_attempt_at", "last_error_kind", "last_error", "answer", "took",
                                    "response")}),
        (_("Origin"), {"fields": ("replay_of_link", "replay_link", "created_at", "completed_at", "leased_until")}),
    )  # fmt: skip
    operations = (
        Operation(
            name="retry",
            label=_("Retry now"),
            label_of_many=_("Retry the selected deliveries now"),
            question=_(
                "What is pending becomes due at once, with the attempts it has left. What is settled is sent again, "
                "as a new delivery."
            ),
            permission="django_relay.replay_delivery",
            perform=_retry,
        ),
        Operation(
            name="cancel",
            label=_("Cancel"),
            label_of_many=_("Cancel the selected deliveries"),
            question=_("It is attempted no more. What is settled, or being attempted now, stays as it is."),
            permission="django_relay.replay_delivery",
            perform=_cancel,
            applies=lambda row: row.state == Delivery.State.PENDING,
            is_destructive=True,
        ),
    )  # fmt: skip

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Find by what a delivery is of."""
        arms = searching.deliveries(term, state=str(params.get("state", "")), using=using)
        return Found(arms, ("state",) if arms and "state" in arms[0] else ())

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Any]":
        """Read what a row shows of its event and endpoint in two more queries."""
        return super().get_queryset(request).prefetch_related(endpoint_of(), event_of())

    def about(self, request: HttpRequest, row: Delivery) -> dict[str, Any]:
        """Show the attempts."""
        if not request.user.has_perm("django_relay.view_attempt"):
            return {}
        found = Attempt.objects.using(row._state.db).filter(delivery_id=row.pk).order_by("-number", "-pk")[:_ATTEMPTS]
        return {"relay_about": "admin/django_relay/delivery/attempts.html", "attempts": found}

    @admin.display(description=_("state"))
    def state_badge(self, row: Delivery) -> Any:
        """Show the state; what is pending for a disabled endpoint is held."""
        if row.state == Delivery.State.PENDING and not row.endpoint.enabled:
            return cells.badge("held", str(_("held")))
        return cells.badge(row.state, row.get_state_display())

    @admin.display(description=_("tenant"))
    def tenant(self, row: Delivery) -> str:
        """Name the tenant."""
        return cells.tenant(row.tenant_id)

    @admin.display(description=_("event type"))
    def type_of_event(self, row: Delivery) -> str:
        """Name the event's type; the event may be gone."""
        return row.event_type or cells.NOTHING

    @admin.display(description=_("event"))
    def event_link(self, row: Delivery) -> Any:
        """Link to the event."""
        return cells.link(Event, row.event_id)

    @admin.display(description=_("endpoint"))
    def receiver(self, row: Delivery) -> Any:
        """Link to the endpoint, by its URL."""
        return cells.link(Endpoint, row.endpoint_id, cells.receiver(row.endpoint.url))

    @admin.display(description=_("attempts"))
    def tries(self, row: Delivery) -> str:
        """Show how many attempts there were, of how many."""
        return f"{row.attempt_count} / {row.max_attempts}"

    @admin.display(description=_("last answer"))
    def answer(self, row: Delivery) -> str:
        """Show what came back last."""
        return str(row.last_status_code or row.last_error_kind or cells.NOTHING)

    @admin.display(description=_("took"))
    def took(self, row: Delivery) -> str:
        """Show how long the last attempt took."""
        return cells.milliseconds(row.last_latency_ms)

    @admin.display(description=_("last response"))
    def response(self, row: Delivery) -> Any:
        """Show the last response's body, as text."""
        return cells.preformatted(row.last_response)

    @admin.display(description=_("made"))
    def age(self, row: Delivery) -> Any:
        """Show when it was made."""
        return cells.moment(row.created_at)

    @admin.display(description=_("replay of"))
    def replay_of_link(self, row: Delivery) -> Any:
        """Link to the delivery that it repeats."""
        return cells.link(Delivery, row.replay_of_id)

    @admin.display(description=_("replay"))
    def replay_link(self, row: Delivery) -> Any:
        """Link to the bulk replay that made it."""
        return cells.link(Replay, row.replay_id)

    @admin.display(description=_("DLQ entry"))
    def dlq_entry_link(self, row: Delivery) -> Any:
        """Link to its entry in the DLQ."""
        if row.state != Delivery.State.FAILED:
            return cells.NOTHING
        return cells.link(DLQEntry, DLQEntry.objects.filter(delivery_id=row.pk).values_list("pk", flat=True).first())
