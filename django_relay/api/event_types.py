"""Event types: the catalog."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from django_relay import exceptions
from django_relay.api import fields, pages
from django_relay.api.resources import Resource, operation
from django_relay.catalog import sync
from django_relay.catalog.registry import WebhookDefinition
from django_relay.models import EventType, paging
from django_relay.models.event_type import DEFINITION_FIELDS

EXAMPLE = {
    "name": "invoice.paid",
    "description": "An invoice was paid in full.",
    "group": "invoices",
    "schema": {"type": "object", "required": ["number"], "properties": {"number": {"type": "string"}}},
    "example": {"number": "2026-0042"},
}


class EventTypeShown(fields.Shown):
    """A kind of event."""

    name = fields.Text()
    description = fields.Text()
    group = fields.Text()
    schema = fields.Json(help_text="JSON Schema 2020-12 of the data; null takes any.")
    schema_version = fields.Text()
    version = fields.Text()
    example = fields.Json()
    deprecated = fields.Flag()
    deprecated_at = fields.Moment(allow_null=True)
    replaced_by = fields.Text()
    metadata = fields.Mapped()
    created_at = fields.Moment()
    updated_at = fields.Moment()


class EventTypeReplaced(fields.Given):
    """What an event type is to be; what is left out becomes empty."""

    description = fields.Text(max_length=10_000, required=False)
    group = fields.Text(max_length=128, required=False)
    schema = fields.Json(required=False)
    schema_version = fields.Text(max_length=64, required=False)
    version = fields.Text(max_length=64, required=False)
    example = fields.Json(required=False)
    replaced_by = fields.Text(max_length=128, required=False)
    metadata = fields.Mapped(required=False)


class EventTypeGiven(EventTypeReplaced):
    """A new event type."""

    name = fields.Text()
    application = fields.Text(max_length=64, required=False)


class EventTypeQuery(pages.PageQuery):
    """Which event types."""

    include_deprecated = fields.Flag(required=False, help_text="Default false.")
    group = fields.Text(max_length=128, required=False)


class EventTypes(Resource):
    """Kinds of events; all may read the catalog, operators change it. What code declares is written after migrate."""

    tag = "Event types"
    pointers: ClassVar[Mapping[type[Exception], str]] = {
        exceptions.InvalidEventName: "/name",
        exceptions.InvalidSchema: "/schema",
        exceptions.AlreadyExists: "/name",
    }

    @operation("read", "List event types", query=EventTypeQuery, answers={200: pages.of(EventTypeShown)}, may=(404,))
    def list(self, request: Request) -> Response:
        """Return a page of the catalog, by name."""
        chosen: dict[str, Any] = {}
        if not self.query.get("include_deprecated"):
            chosen["deprecated"] = False
        if "group" in self.query:
            chosen["group"] = self.query["group"]
        rows = self._rows().filter(**chosen)
        of = {"list": "event_type", "application": self.application.pk, **chosen}
        page = paging.by_column(rows, "name", of=of, wanted=pages.wanted(self.query), descending=False)
        return Response(pages.shown(page, EventTypeShown))

    @operation(
        "write", "Add an event type", body=EventTypeGiven, answers={201: EventTypeShown}, operator_only=True,
        may=(404, 409), example=EXAMPLE,
    )  # fmt: skip
    def create(self, request: Request) -> Response:
        """Store an event type that is new."""
        with self.changing():
            row = sync.create_event_type(self._definition(self.body["name"]), using=self.using)
            self.record("event_type.created", row, after=row.told(), application=self.application.slug)
        return Response(EventTypeShown(row).data, status=201)

    @operation("read", "Show an event type", answers={200: EventTypeShown}, may=(404,))
    def retrieve(self, request: Request, name: str) -> Response:
        """Return one event type, deprecated or not."""
        return Response(EventTypeShown(self.only(self._rows().filter(name=name))).data)

    @operation(
        "write", "Set an event type", body=EventTypeReplaced, answers={200: EventTypeShown}, operator_only=True,
        may=(404,), example={key: value for key, value in EXAMPLE.items() if key != "name"},
    )  # fmt: skip
    def update(self, request: Request, name: str) -> Response:
        """Create it, or change it into this; one that was deprecated takes events again."""
        with self.changing():
            before = self._rows().filter(name=name).first()
            row = sync.register_event_type(self._definition(name), using=self.using)
            action = "event_type.updated" if before else "event_type.created"
            told = before.told() if before else None
            self.record(action, row, before=told, after=row.told(), application=self.application.slug)
        return Response(EventTypeShown(row).data)

    @operation("write", "Deprecate an event type", answers={200: EventTypeShown}, operator_only=True, may=(404,))
    def destroy(self, request: Request, name: str) -> Response:
        """Refuse new events of it from now on; deliveries under way go on."""
        with self.changing():
            row = self.only(self._rows().filter(name=name))
            if not row.deprecated:
                row.deprecate()
                self.record("event_type.deprecated", row, application=self.application.slug)
        return Response(EventTypeShown(row).data)

    def _rows(self) -> Any:
        return EventType.objects.using(self.using).filter(application=self.application)

    def _definition(self, name: str) -> WebhookDefinition:
        given = {key: value for key, value in self.body.items() if key in DEFINITION_FIELDS}
        return WebhookDefinition(name=name, application=self.application.slug, **given)
