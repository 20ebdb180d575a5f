"""Why an event went to some endpoints of its tenant and not to others."""

from dataclasses import dataclass
from datetime import datetime

from django.db import models

from django_relay.models.delivery import Delivery
from django_relay.models.endpoint import Endpoint
from django_relay.models.event import Event
from django_relay.rules import subscribing

EXPLAINED = 250
"""How many endpoints are explained, the newest first."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of an event at one endpoint.

    ``reason`` says why it was not matched: ``pattern``, ``filter`` (which ``filter`` names), ``disabled``, ``deleted``,
    ``created_later`` than the event was fanned out, ``test`` (a test event of another endpoint's),
    ``not_fanned_out`` (it is wanted, and not fanned out yet), or ``changed``: as the
    endpoint is now it would match, so it was disabled or subscribed to something else when the event was fanned out.
    """

    endpoint: Endpoint
    matched: bool
    reason: str = ""
    filter: str = ""


def explain(event: Event, *, using: str) -> list[Explanation]:
    """Return what became of an event at each endpoint that its tenant had since, by fan-out's own rule; two queries."""
    gone_before = models.Q(deleted_at__lt=event.created_at)
    owned = Endpoint.objects.using(using).filter(application_id=event.application_id, tenant_id=event.tenant_id)
    endpoints = list(owned.exclude(gone_before).defer("headers").order_by("-id")[:EXPLAINED])
    delivered = Delivery.objects.using(using).of_events([event.pk])
    matched = set(delivered.values_list("endpoint_id", flat=True))
    return [
        Explanation(endpoint, matched=True) if endpoint.pk in matched else _explain(event, endpoint)
        for endpoint in endpoints
    ]


def _explain(event: Event, endpoint: Endpoint) -> Explanation:
    fanned_out_at = event.dispatched_at
    if event.only_endpoint_id not in {None, endpoint.pk}:
        return Explanation(endpoint, matched=False, reason="test")
    if _is_past(endpoint.deleted_at, fanned_out_at):
        return Explanation(endpoint, matched=False, reason="deleted")
    if fanned_out_at is not None and endpoint.created_at > fanned_out_at:
        return Explanation(endpoint, matched=False, reason="created_later")
    refusal = None
    if event.only_endpoint_id is None:
        refusal = subscribing.refusal(
            endpoint.event_types, endpoint.filters, event_type=event.event_type, attributes=event.attributes
        )
    if refusal is not None:
        return Explanation(endpoint, matched=False, reason=refusal.reason, filter=refusal.name)
    if not endpoint.enabled and _is_past(endpoint.disabled_at, fanned_out_at):
        return Explanation(endpoint, matched=False, reason="disabled")
    return Explanation(endpoint, matched=False, reason="changed" if fanned_out_at else "not_fanned_out")


def _is_past(moment: datetime | None, fanned_out_at: datetime | None) -> bool:
    """Return whether something had happened by the time of the fan-out, or has by now if there was none yet."""
    return moment is not None and (fanned_out_at is None or moment <= fanned_out_at)
