"""Try an endpoint: a test event for it alone, through the real path."""

import time

from django.db import connections
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import fields
from django_relay.api.attempts import AttemptShown
from django_relay.api.deliveries import DeliveryShown
from django_relay.api.endpoints import EndpointResource
from django_relay.api.resources import operation
from django_relay.models import Event
from django_relay.pipeline import endpoint_tests

WAIT_SECONDS = 10.0
"""How long the answer waits for what comes back."""
_LOOK_SECONDS = 0.1


class TestGiven(fields.Given):
    """What to send."""

    event_type = fields.Text()
    data = fields.Json(  # type: ignore[assignment]  # a field, not the property
        required=False, help_text="By default the type's example."
    )


class TestShown(fields.Shown):
    """What was sent and what came back; null where that is not known yet."""

    event_id = fields.Id("evt_")
    delivery = DeliveryShown(allow_null=True)
    attempt = serializers.SerializerMethodField()

    def get_attempt(self, row: dict[str, object]) -> AttemptShown:
        """Return the attempt."""
        return AttemptShown(row["attempt"], context=self.context).data if row["attempt"] else None  # type: ignore[return-value]


class EndpointTests(EndpointResource):
    """Test events: one attempt, no DLQ entry, no effect on the endpoint's health."""

    @operation(
        "test", "Send a test event", body=TestGiven, answers={200: TestShown, 202: TestShown}, may=(404, 409, 413),
        example={"event_type": "invoice.paid"},
    )  # fmt: skip
    def create(self, request: Request, endpoint_id: str) -> Response:
        """Send an event to this endpoint alone, and wait up to ten seconds for what comes back; 202 is not yet."""
        with self.changing():
            row = self.endpoint(endpoint_id)
            name = self.body["event_type"]
            event = endpoint_tests.send(row, name, data=self.body.get("data"), actor=self.caller.actor)
            self.record("endpoint.tested", row, after={"event_type": name})
        result = self._wait(event)
        delivery, attempt = (result.delivery, result.attempt) if result else (None, None)
        found = {"event_id": event.pk, "delivery": delivery, "attempt": attempt}
        shown = TestShown(found, context=self.context)
        return Response(shown.data, status=200 if attempt else 202)

    def _wait(self, event: Event) -> endpoint_tests.Result | None:
        result = endpoint_tests.result(event)
        if connections[self.using].in_atomic_block:  # nobody sees the event before the project's transaction ends
            return result
        until = time.monotonic() + WAIT_SECONDS
        while (result is None or result.attempt is None) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
            result = endpoint_tests.result(event)
        return result
