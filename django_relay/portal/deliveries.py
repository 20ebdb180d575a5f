"""Deliveries: one event to one endpoint, sent now or not at all."""

from collections.abc import Callable

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse

from django_relay import exceptions
from django_relay.models import Delivery, audit
from django_relay.pipeline import deliveries
from django_relay.portal import frame, problems
from django_relay.portal.visits import Visit


@frame.page("replay", methods=("POST",))
def retry(request: HttpRequest, visit: Visit, delivery_id: str) -> HttpResponseBase:
    """Send a delivery now."""
    return _do(request, visit, delivery_id, deliveries.retry, "delivery.retried")


@frame.page("replay", methods=("POST",))
def cancel(request: HttpRequest, visit: Visit, delivery_id: str) -> HttpResponseBase:
    """Attempt a pending delivery no more."""
    return _do(request, visit, delivery_id, deliveries.cancel, "delivery.cancelled")


def find(visit: Visit, delivery_id: str) -> Delivery:
    """Return a delivery of the visitor's tenant.

    Raises:
        Http404: there is none (any more).
    """
    rows = Delivery.objects.using(visit.using).filter(
        endpoint__application_id=visit.owner.application_id, endpoint__tenant_id=visit.owner.tenant_id
    )
    try:
        found = rows.filter(pk=delivery_id).first()
    except ValidationError:
        found = None
    if found is None:
        raise Http404
    return found


def _do(
    request: HttpRequest, visit: Visit, delivery_id: str, change: Callable[..., Delivery], action: str
) -> HttpResponseBase:
    delivery = find(visit, delivery_id)
    assert visit.caller is not None  # noqa: S101 - frame.page lets nobody else in
    try:
        with transaction.atomic(visit.using):
            change(delivery, actor=visit.caller.actor)
            audit.record(action, delivery, caller=visit.caller, using=visit.using)
    except exceptions.RelayError as error:
        context = {"heading": problems.sentence(error), "event_id": delivery.event_id, "section": "logs"}
        return frame.show(request, visit, "events/refused.html", context, status=409)
    return HttpResponseRedirect(reverse("relay_portal:event", args=[delivery.event_id]), status=303)
