"""The dead letter queue: deliveries that were given up, until they are replayed or discarded."""

import json
from typing import TYPE_CHECKING, Any

from django.http import Http404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import failures, fields, pages, replays
from django_relay.api.deliveries import DeliveryShown
from django_relay.api.resources import Resource, operation
from django_relay.models import DLQEntry, Endpoint, Event, lists
from django_relay.pipeline import dlq
from django_relay.pipeline.matching import MAX_IDS
from django_relay.rules import event_names

if TYPE_CHECKING:
    from django.db import models


class DLQEntryShown(failures.FailureShown):
    """A delivery that was given up, and why."""

    told = ("error_kind", "error", None)

    id = fields.Id("dlq_")
    state = serializers.SerializerMethodField()
    delivery_id = fields.Id("del_")
    event_id = fields.Id("evt_")
    event_type = fields.Text()
    endpoint_id = fields.Id("ep_")
    tenant_id = fields.Text()
    url = fields.Url()
    error = fields.Text()
    error_kind = fields.Text()
    attempt_count = fields.Whole(min_value=0, max_value=32_767)
    last_status_code = fields.Whole(min_value=100, max_value=999, allow_null=True)
    failed_at = fields.Moment()
    replayed_at = fields.Moment(allow_null=True)
    replay_count = fields.Whole(min_value=0, max_value=2**31)
    discarded_at = fields.Moment(allow_null=True)

    @fields.typed(fields.Choice(lists.ENTRY_STATES))
    def get_state(self, row: DLQEntry) -> str:
        """Return what was done about it."""
        if row.discarded_at is not None:
            return "discarded"
        return "open" if row.replayed_at is None else "replayed"


class DLQEntryDetail(DLQEntryShown):
    """A DLQ entry with the data of its event."""

    data = serializers.SerializerMethodField()  # type: ignore[assignment]  # a field, not the property: the metaclass takes it

    @fields.typed(fields.Json())
    def get_data(self, row: DLQEntry) -> Any:
        """Return the event's data; null if it is no longer stored."""
        event = Event.objects.using(row._state.db).filter(pk=row.event_id).only("payload").first()
        return None if event is None else json.loads(event.payload)


BulkGiven = type(
    "BulkGiven",
    (fields.Given,),
    {
        "__doc__": "Which entries are to be sent again: those given up from ``from`` to before ``to``.",
        "__module__": __name__,
        "from": fields.Moment(),
        "to": fields.Moment(),
        "event_types": fields.Many(fields.Text(), max_length=event_names.MAX_PATTERNS, required=False),
        "endpoint_id": fields.Id("ep_", required=False),
        "ids": fields.Many(fields.Id("dlq_"), max_length=MAX_IDS, required=False),
        "dry_run": fields.Flag(required=False, help_text="Only count."),
    },
)


class DLQQuery(pages.HistoryQuery):
    """Which entries."""

    state = fields.Choice(lists.ENTRY_STATES, required=False)
    endpoint_id = fields.Id("ep_", required=False)


class DLQ(Resource):
    """What was given up: kept with its reason, so that nothing is lost silently."""

    tag = "Dead letter queue"

    @operation("read", "List DLQ entries", query=DLQQuery, answers={200: pages.of(DLQEntryShown)}, may=(404,))
    def list(self, request: Request) -> Response:
        """Return a page of entries, newest first."""
        filters, wanted = pages.filters(self.query, self.caller), pages.wanted(self.query)
        page = lists.dlq_entries(self.owner, filters, wanted=wanted, using=self.using)
        return Response(pages.shown(page, DLQEntryShown, **self.context))

    @operation("read", "Show a DLQ entry", answers={200: DLQEntryDetail}, may=(404,))
    def retrieve(self, request: Request, entry_id: str) -> Response:
        """Return one entry, with the data of its event."""
        return Response(DLQEntryDetail(self.find(self._rows(), entry_id), context=self.context).data)

    @operation("replay", "Discard a DLQ entry", answers={204: None}, may=(404,))
    def destroy(self, request: Request, entry_id: str) -> Response:
        """Let go of it: it stays readable, and cannot be sent again."""
        with self.changing():
            row = self.find(self._rows(), entry_id)
            if dlq.discard(row, actor=self.caller.actor):
                self.record("dlq_entry.discarded", row)
        return Response(status=204)

    @operation("replay", "Replay a DLQ entry", answers={202: DeliveryShown}, may=(404, 409))
    def replay(self, request: Request, entry_id: str) -> Response:
        """Send it again, with a fresh budget of attempts; show the new delivery."""
        with self.changing():
            row = self.find(self._rows(), entry_id)
            delivery = dlq.replay(row, actor=self.caller.actor)
            self.record("dlq_entry.replayed", row, after={"delivery_id": delivery.pk})
        return Response(DeliveryShown(delivery, context=self.context).data, status=202)

    @operation(
        "replay", "Replay DLQ entries", body=BulkGiven,
        answers={200: replays.CountShown, 202: replays.ReplayShown}, may=(404, 409),
        example={"from": "2026-11-22T00:00:00Z", "to": "2026-11-23T00:00:00Z", "dry_run": True},
    )  # fmt: skip
    def replay_many(self, request: Request) -> Response:
        """Send all open ones of a time again, by a durable replay; 200 is the count of a dry run."""
        given: dict[str, Any] = {"since": self.body["from"], "until": self.body["to"]}
        given |= {name: self.body[name] for name in ("event_types", "dry_run") if name in self.body}
        if "ids" in self.body:
            self._require_all(self.body["ids"])
            given["entry_ids"] = self.body["ids"]
        if "endpoint_id" in self.body:
            rows = self.owned(Endpoint.objects.filter(deleted_at__isnull=True))
            given["endpoint_ids"] = [self.find(rows, self.body["endpoint_id"]).pk]
        return replays.start(self, "failed", self.tenant_id, given)

    def _rows(self) -> "models.QuerySet[DLQEntry]":
        return self.owned(DLQEntry.objects.all(), through="endpoint__")

    def _require_all(self, ids: Any) -> None:
        """Refuse the whole call for one id that is not the owner's."""
        if self._rows().filter(pk__in=ids).count() < len(set(ids)):
            raise Http404
