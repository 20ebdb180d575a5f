"""Replays: send again in bulk, by the workers, and watch how far that has come."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import fields, pages
from django_relay.api.endpoints import EndpointResource
from django_relay.api.resources import Resource, operation
from django_relay.models import Replay, paging
from django_relay.pipeline import replays
from django_relay.rules import event_names

if TYPE_CHECKING:
    from django.db import models


class ReplayShown(fields.Shown):
    """A replay and its progress."""

    id = fields.Id("rpl_")
    tenant_id = fields.Text()
    kind = fields.Choice(Replay.Kind.values)
    endpoint_id = fields.Id("ep_", allow_null=True, help_text="null is more than one.")
    filter = fields.Mapped()
    state = fields.Choice(Replay.State.values)
    total_count = fields.Whole(min_value=0, max_value=2**31, help_text="What matched at the start.")
    done_count = fields.Whole(min_value=0, max_value=2**31)
    skipped = fields.Mapped(help_text="Counts by reason.")
    created_at = fields.Moment()
    started_at = fields.Moment(allow_null=True)
    completed_at = fields.Moment(allow_null=True)


class CountShown(fields.Shown):
    """How much a replay would send now."""

    count = fields.Whole(min_value=0, max_value=2**31)


class RecoverGiven(fields.Given):
    """What is to be sent again of what was given up."""

    since = fields.Moment(required=False)
    until = fields.Moment(required=False)
    event_types = fields.Many(
        fields.Text(), max_length=event_names.MAX_PATTERNS, required=False, help_text="Patterns; by default all."
    )
    dry_run = fields.Flag(required=False, help_text="Only count.")


class MissingGiven(RecoverGiven):
    """What is to be sent of what an endpoint never got."""

    since = fields.Moment()


class ReplayQuery(pages.PageQuery):
    """Which replays."""

    state = fields.Choice(Replay.State.values, required=False)


class Replays(Resource):
    """Bulk replays: durable, in chunks, beside live traffic and never before it."""

    tag = "Replays"

    @operation("read", "List replays", query=ReplayQuery, answers={200: pages.of(ReplayShown)}, may=(404,))
    def list(self, request: Request) -> Response:
        """Return a page of replays, newest first."""
        chosen = {"state": self.query["state"]} if "state" in self.query else {}
        of = {"list": "replay", "owner": self.owner, **chosen}
        rows = self._rows().filter(**chosen)
        page = paging.by_column(rows, "id", of=of, wanted=pages.wanted(self.query))
        return Response(pages.shown(page, ReplayShown))

    @operation("read", "Show a replay", answers={200: ReplayShown}, may=(404,))
    def retrieve(self, request: Request, replay_id: str) -> Response:
        """Return one replay and how far it has come."""
        return Response(ReplayShown(self.find(self._rows(), replay_id)).data)

    @operation("replay", "Cancel a replay", answers={200: ReplayShown}, may=(404, 409))
    def cancel(self, request: Request, replay_id: str) -> Response:
        """Match nothing more; what was sent on stays on its way."""
        with self.changing():
            row = replays.cancel(self.find(self._rows(), replay_id), actor=self.caller.actor)
            self.record("replay.cancelled", row)
        return Response(ReplayShown(row).data)

    def _rows(self) -> "models.QuerySet[Replay]":
        return self.owned(Replay.objects.all())


class EndpointReplays(EndpointResource):
    """What one endpoint missed."""

    tag = "Replays"

    @operation(
        "replay", "Recover an endpoint", body=RecoverGiven, answers={200: CountShown, 202: ReplayShown}, may=(404, 409),
        example={"since": "2026-11-22T00:00:00Z"},
    )  # fmt: skip
    def recover(self, request: Request, endpoint_id: str) -> Response:
        """Send again what stands open in its DLQ; 200 is the count of a dry run."""
        return self._start("failed", endpoint_id)

    @operation(
        "replay", "Replay what is missing", body=MissingGiven, answers={200: CountShown, 202: ReplayShown},
        may=(404, 409), example={"since": "2026-11-22T00:00:00Z", "dry_run": True},
    )  # fmt: skip
    def missing(self, request: Request, endpoint_id: str) -> Response:
        """Send the events that it wants and never got; 200 is the count of a dry run."""
        return self._start("missing", endpoint_id)

    def _start(self, kind: str, endpoint_id: str) -> Response:
        row = self.endpoint(endpoint_id)
        return start(self, kind, row.tenant_id, {**self.body, "endpoint_ids": [row.pk]})


def start(view: Resource, kind: str, tenant_id: str, given: Mapping[str, Any]) -> Response:
    """Start a bulk replay and answer with it; of a dry run, with the count."""
    wanted = {name: value for name, value in given.items() if name != "dry_run"}
    whose: dict[str, Any] = {"tenant_id": tenant_id, "application": view.application.slug, "using": view.using}
    if given.get("dry_run"):
        return Response({"count": replays.count(kind, **whose, **wanted)})
    with view.changing():
        made = replays.start(kind, **whose, actor=view.caller.actor, **wanted)
        view.record("replay.created", made, after={"kind": kind, "filter": made.filter})
    return Response(ReplayShown(made).data, status=202)
