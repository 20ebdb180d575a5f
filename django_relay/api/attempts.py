"""Attempts: single HTTP requests, and what came back."""

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import failures, fields, pages
from django_relay.api.resources import Resource, operation
from django_relay.models import Attempt, Delivery, Endpoint, Event, lists


class AttemptShown(failures.FailureShown):
    """One request of a delivery. Signatures and custom values are left out of its headers."""

    told = ("error_kind", "error", "duration_ms")

    id = fields.Id("att_")
    delivery_id = fields.Id("del_")
    endpoint_id = fields.Id("ep_", allow_null=True)
    event_id = serializers.SerializerMethodField()
    event_type = serializers.SerializerMethodField()
    number = fields.Whole(min_value=1, max_value=32_767)
    trigger = fields.Choice(Attempt.Trigger.values)
    started_at = fields.Moment()
    duration_ms = failures.DurationShown()
    status_code = fields.Whole(min_value=100, max_value=999, allow_null=True)
    error_kind = fields.Text()
    error = fields.Text()
    request_headers = fields.Json()
    response_headers = fields.Json()
    response_body = fields.Text()
    next_attempt_at = fields.Moment(allow_null=True)

    def get_event_id(self, row: Attempt) -> str:
        """Return the id of the event that was sent."""
        return str(row.delivery.event_id)

    def get_event_type(self, row: Attempt) -> str:
        """Return the name of its type; empty once the event is no longer stored."""
        return row.delivery.event_type


class Attempts(Resource):
    """What was sent, and what came back."""

    tag = "Deliveries"

    @operation(
        "read",
        "List an endpoint's attempts",
        query=pages.HistoryQuery,
        answers={200: pages.of(AttemptShown)},
        may=(404,),
    )
    def of_endpoint(self, request: Request, endpoint_id: str) -> Response:
        """Return a page of attempts, newest first."""
        rows = self.owned(Endpoint.objects.filter(deleted_at__isnull=True))
        return self._page(endpoint_id=str(self.find(rows, endpoint_id).pk))

    @operation(
        "read", "List an event's attempts", query=pages.HistoryQuery, answers={200: pages.of(AttemptShown)}, may=(404,)
    )
    def of_event(self, request: Request, event_id: str) -> Response:
        """Return a page of attempts, newest first."""
        return self._page(event_id=str(self.find(self.owned(Event.objects.defer("payload")), event_id).pk))

    @operation(
        "read",
        "List a delivery's attempts",
        query=pages.HistoryQuery,
        answers={200: pages.of(AttemptShown)},
        may=(404,),
    )
    def of_delivery(self, request: Request, delivery_id: str) -> Response:
        """Return a page of attempts, newest first."""
        row = self.find(self.owned(Delivery.objects.all(), through="endpoint__"), delivery_id)
        return self._page(delivery_id=str(row.pk))

    def _page(self, **fixed: str) -> Response:
        filters, wanted = pages.filters(self.query, self.caller, **fixed), pages.wanted(self.query)
        page = lists.attempts(self.owner, filters, wanted=wanted, using=self.using)
        return Response(pages.shown(page, AttemptShown, **self.context))
