"""Deliveries: one event on its way to one endpoint."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import failures, fields, pages
from django_relay.api.resources import Resource, operation
from django_relay.models import Delivery, Endpoint, Event, lists
from django_relay.pipeline import deliveries


class DeliveryShown(failures.FailureShown):
    """One event to one endpoint."""

    told = ("last_error_kind", "last_error", "last_latency_ms")

    id = fields.Id("del_")
    event_id = fields.Id("evt_")
    event_type = fields.Text(help_text="Empty once the event is no longer stored.")
    endpoint_id = fields.Id("ep_")
    tenant_id = fields.Text()
    state = fields.Choice(Delivery.State.values)
    is_held = serializers.SerializerMethodField()
    attempt_count = fields.Whole(min_value=0, max_value=32_767)
    max_attempts = fields.Whole(min_value=0, max_value=32_767)
    next_attempt_at = serializers.SerializerMethodField()
    last_status_code = fields.Whole(min_value=100, max_value=999, allow_null=True)
    last_error_kind = fields.Text()
    last_error = fields.Text()
    last_response = fields.Text()
    last_latency_ms = failures.DurationShown()
    completed_at = fields.Moment(allow_null=True)
    replay_of = fields.Id("del_", source="replay_of_id", allow_null=True)
    replay_id = fields.Id("rpl_", allow_null=True)
    created_at = fields.Moment()

    def get_is_held(self, row: Delivery) -> bool:
        """Return whether it waits for its endpoint to be enabled."""
        return row.state == Delivery.State.PENDING and not row.endpoint.enabled

    @fields.typed(fields.Moment(allow_null=True))
    def get_next_attempt_at(self, row: Delivery) -> Any:
        """Return when it is attempted next; null once it is settled."""
        return fields.Moment().to_representation(row.next_attempt_at if row.state == Delivery.State.PENDING else None)


class EndpointDeliveryQuery(pages.HistoryQuery):
    """Which deliveries of an endpoint or event."""

    state = fields.Choice(Delivery.State.values, required=False)


class DeliveryQuery(EndpointDeliveryQuery):
    """Which deliveries."""

    endpoint_id = fields.Id("ep_", required=False)


class Deliveries(Resource):
    """What is on its way, and what became of it."""

    tag = "Deliveries"

    @operation("read", "List deliveries", query=DeliveryQuery, answers={200: pages.of(DeliveryShown)}, may=(404,))
    def list(self, request: Request) -> Response:
        """Return a page of deliveries, newest first."""
        return self._page()

    @operation(
        "read", "List an endpoint's deliveries", query=EndpointDeliveryQuery, answers={200: pages.of(DeliveryShown)},
        may=(404,),
    )  # fmt: skip
    def of_endpoint(self, request: Request, endpoint_id: str) -> Response:
        """Return a page of deliveries, newest first."""
        rows = self.owned(Endpoint.objects.filter(deleted_at__isnull=True))
        return self._page(endpoint_id=str(self.find(rows, endpoint_id).pk))

    @operation(
        "read", "List an event's deliveries", query=EndpointDeliveryQuery, answers={200: pages.of(DeliveryShown)},
        may=(404,),
    )  # fmt: skip
    def of_event(self, request: Request, event_id: str) -> Response:
        """Return a page of deliveries, newest first; those that sent it again are among them."""
        return self._page(event_id=str(self.find(self.owned(Event.objects.defer("payload")), event_id).pk))

    @operation("read", "Show a delivery", answers={200: DeliveryShown}, may=(404,))
    def retrieve(self, request: Request, delivery_id: str) -> Response:
        """Return one delivery."""
        return Response(DeliveryShown(self._delivery(delivery_id), context=self.context).data)

    @operation("replay", "Send a delivery now", answers={202: DeliveryShown}, may=(404, 409))
    def retry(self, request: Request, delivery_id: str) -> Response:
        """Make a pending delivery due; send one that is settled again, and show the new delivery."""
        with self.changing():
            row = self._delivery(delivery_id)
            sent = deliveries.retry(row, actor=self.caller.actor)
            self.record("delivery.retried", row, after={"delivery_id": sent.pk})
        return Response(DeliveryShown(sent, context=self.context).data, status=202)

    @operation("replay", "Cancel a delivery", answers={200: DeliveryShown}, may=(404, 409))
    def cancel(self, request: Request, delivery_id: str) -> Response:
        """End a pending delivery: it is attempted no more."""
        with self.changing():
            row = deliveries.cancel(self._delivery(delivery_id), actor=self.caller.actor)
            self.record("delivery.cancelled", row)
        return Response(DeliveryShown(row, context=self.context).data)

    def _delivery(self, delivery_id: str) -> Delivery:
        return self.find(self.owned(Delivery.objects.select_related("endpoint"), through="endpoint__"), delivery_id)

    def _page(self, **fixed: str) -> Response:
        filters, wanted = pages.filters(self.query, self.caller, **fixed), pages.wanted(self.query)
        page = lists.deliveries(self.owner, filters, wanted=wanted, using=self.using)
        return Response(pages.shown(page, DeliveryShown, **self.context))
