"""Events: send them, see what became of them, send them again."""

import json
from collections.abc import Sequence
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_relay import exceptions
from django_relay.api import fields, pages, problems
from django_relay.api.replays import ReplayShown
from django_relay.api.resources import Resource, operation
from django_relay.models import Event, audit, lists
from django_relay.models.explanation import Explanation, explain
from django_relay.pipeline import outbox, replays

MAX_BATCH = 500
EXAMPLE = {
    "event_type": "invoice.paid",
    "tenant_id": "acme",
    "data": {"number": "2026-0042", "amount": "99.00"},
    "idempotency_key": "invoice-2026-0042-paid",
}


class EventShown(fields.Shown):
    """An event, without its data."""

    id = fields.Id("evt_", help_text="The webhook-id of every request that carries it.")
    application = serializers.SerializerMethodField()
    tenant_id = fields.Text()
    event_type = fields.Text()
    schema_version = fields.Text()
    attributes = fields.Mapped()
    idempotency_key = fields.Text()
    status = fields.Choice(Event.Status.values)
    matched_count = fields.Whole(min_value=0, max_value=2**31, allow_null=True)
    subject = fields.Text()
    origin = fields.Text()
    occurred_at = fields.Moment()
    created_at = fields.Moment()
    dispatched_at = fields.Moment(allow_null=True)

    def get_application(self, row: Event) -> str:
        """Return the slug."""
        return str(self.context["application"])


class ExplanationShown(fields.Shown):
    """What became of an event at one endpoint of its tenant's."""

    endpoint_id = fields.Id("ep_", source="endpoint.pk")
    url = fields.Url(source="endpoint.url")
    matched = fields.Flag()
    reason = fields.Choice(
        ["", "pattern", "filter", "disabled", "deleted", "created_later", "test", "not_fanned_out", "changed"],
        help_text="Why it did not match; empty if it did.",
    )
    filter = fields.Text(help_text="The filter that it did not pass.")


class EventDetail(EventShown):
    """An event with its data, and why it went to some endpoints and not to others."""

    data = serializers.SerializerMethodField()  # type: ignore[assignment]  # a field, not the property: the metaclass takes it
    endpoints = ExplanationShown(many=True)

    @fields.typed(fields.Json())
    def get_data(self, row: Event) -> Any:
        """Return the data."""
        return json.loads(row.payload)


class EventGiven(fields.Given):
    """An event to send. ``message_id`` and the header ``Idempotency-Key`` are other names of ``idempotency_key``."""

    event_type = fields.Text()
    tenant_id = fields.Text()
    data = fields.Json()  # type: ignore[assignment]  # a field, not the property: the metaclass takes it
    application = fields.Text(max_length=64, required=False)
    event_id = fields.Text(required=False, help_text="An evt_ id; the same id stores one event.")
    idempotency_key = fields.Text(required=False)
    message_id = fields.Text(required=False)
    attributes = fields.Mapped(required=False, help_text="Values that endpoints' filters look at.")
    occurred_at = fields.Moment(required=False)


class BatchItem(EventGiven):
    """One event of a batch."""


class BatchGiven(fields.Given):
    """Events to send: all of them, or none. They belong to one application."""

    events = BatchItem(many=True, allow_empty=False, max_length=MAX_BATCH)  # type: ignore[call-arg]
    application = fields.Text(max_length=64, required=False)


class SentShown(EventShown):
    """An event, and whether this request stored it."""

    is_new = fields.Flag(help_text="False: it had been sent before, and this is the first one.")


class BatchShown(fields.Shown):
    """The events, in the order given."""

    data = SentShown(many=True)  # type: ignore[assignment]  # a field, not the property: the metaclass takes it


class AgainGiven(fields.Given):
    """To whom an event is sent again."""

    endpoint_ids = fields.Many(
        fields.Id("ep_"), max_length=250, required=False, help_text="By default all enabled ones that want it now."
    )


class EventQuery(pages.WindowQuery):
    """Which events."""

    event_type = fields.Text(max_length=128, required=False)
    state = fields.Choice(Event.Status.values, required=False)


class Events(Resource):
    """What happened: each event is stored once, and delivered to every endpoint that wants it."""

    tag = "Events"

    @property
    def largest_events(self) -> int:  # type: ignore[override]
        """Return 4 for a batch, and 1 for an event."""
        return 4 if self.action == "batch" else 1

    @operation("read", "List events", query=EventQuery, answers={200: pages.of(EventShown)}, may=(404,))
    def list(self, request: Request) -> Response:
        """Return a page of events, newest first."""
        filters, wanted = pages.filters(self.query, self.caller), pages.wanted(self.query)
        page = lists.events(self.owner, filters, wanted=wanted, using=self.using)
        return Response(pages.shown(page, EventShown, application=self.application.slug))

    @operation(
        "events:send", "Send an event", query=fields.Query, body=EventGiven, operator_only=True,
        answers={200: EventShown, 201: EventShown}, may=(404, 409, 413), example=EXAMPLE,
        headers={"Idempotency-Key": "Another name of idempotency_key."},
    )  # fmt: skip
    def create(self, request: Request) -> Response:
        """Store an event: 201; the same key and data once more: 200, with the first one; other data: 409."""
        (sent,) = self._send([_arguments(self.body, request.headers.get("Idempotency-Key"))])
        context = {"application": self.application.slug}
        return Response(EventShown(sent.event, context=context).data, status=201 if sent.is_new else 200)

    @operation(
        "events:send", "Send many events", query=fields.Query, body=BatchGiven, operator_only=True,
        answers={200: BatchShown, 201: BatchShown}, may=(404, 409, 413), example={"events": [EXAMPLE]},
    )  # fmt: skip
    def batch(self, request: Request) -> Response:
        """Store up to 500 events, all or none; 200 if all had been sent before."""
        for number, item in enumerate(self.body["events"]):
            if item.get("application", self.application.slug) != self.application.slug:
                told = serializers.ErrorDetail("All events of a batch belong to its application.", code="mixed")
                raise problems.BadFields({"events": {number: {"application": [told]}}})
        sent = self._send([_arguments(item, None) for item in self.body["events"]])
        context = {"application": self.application.slug}
        shown = [{**EventShown(item.event, context=context).data, "is_new": item.is_new} for item in sent]
        return Response({"data": shown}, status=201 if any(item.is_new for item in sent) else 200)

    @operation("read", "Show an event", answers={200: EventDetail}, may=(404,))
    def retrieve(self, request: Request, event_id: str) -> Response:
        """Return one event, with its data and what became of it at each endpoint."""
        row = self._event(event_id)
        shown: list[Explanation] = explain(row, using=self.using)
        row.endpoints = shown  # type: ignore[attr-defined]
        return Response(EventDetail(row, context={"application": self.application.slug}).data)

    @operation(
        "replay", "Send an event again", body=AgainGiven, answers={202: ReplayShown}, may=(404, 409),
        example={"endpoint_ids": ["ep_01kah0yv2ve1rr0q8e4j0t9jq3"]},
    )  # fmt: skip
    def replay(self, request: Request, event_id: str) -> Response:
        """Send it again at once, to the endpoints named, or to those that want it as they are now."""
        with self.changing():
            row = self._event(event_id)
            made = replays.again(row, endpoint_ids=self.body.get("endpoint_ids"), actor=self.caller.actor)
            self.record("event.replayed", row, after={"replay_id": made.pk})
        return Response(ReplayShown(made).data, status=202)

    def _event(self, event_id: str) -> Event:
        return self.find(self.owned(Event.objects.all()), event_id)

    def _send(self, events: Sequence[dict[str, Any]]) -> Sequence[outbox.Sent]:
        slug = self.application.slug
        with self.changing():
            sent = outbox.send([{**event, "application": slug} for event in events], using=self.using)
            made = [item.event for item in sent if item.is_new]
            audit.record_all("event.sent", made, caller=self.caller, application=slug, using=self.using)
        return sent


def _arguments(given: dict[str, Any], header: str | None) -> dict[str, Any]:
    """Return what is given as arguments of ``emit``, the key by its one name."""
    names = {"idempotency_key": given.get("idempotency_key"), "message_id": given.get("message_id"), "header": header}
    keys = {key for key in names.values() if key is not None}
    if len(keys) > 1:
        raise exceptions.InvalidEvent(
            "idempotency_key, message_id and the header Idempotency-Key are names of one key: give one.", code="bad_key"
        )
    if "" in keys:
        raise exceptions.InvalidEvent("An idempotency key is 1 to 255 printable ASCII characters.", code="bad_key")
    arguments = {key: value for key, value in given.items() if key not in {"message_id", "application"}}
    return {**arguments, "idempotency_key": keys.pop()} if keys else arguments
