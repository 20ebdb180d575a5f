"""Endpoints: where a tenant wants its events, and what it subscribes to."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.http import Http404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_relay import exceptions
from django_relay.api import fields, pages
from django_relay.api.resources import Resource, operation
from django_relay.models import Endpoint, SigningSecret, paging
from django_relay.models.endpoint_choices import Choices
from django_relay.rules import event_names, signing

if TYPE_CHECKING:
    from django.db import models

MAX_OVERLAP_SECONDS = 604_800
EXAMPLE = {"url": "https://acme.example/webhooks", "event_types": ["invoice.*"], "filters": {"region": ["eu"]}}


class EndpointShown(fields.Shown):
    """An endpoint."""

    id = fields.Id("ep_")
    application = serializers.SerializerMethodField()
    tenant_id = fields.Text()
    url = fields.Url()
    description = fields.Text()
    event_types = fields.Many(fields.Text(), max_length=event_names.MAX_PATTERNS)
    filters = fields.Mapped()
    header_names = serializers.SerializerMethodField()
    enabled = fields.Flag()
    disabled_reason = fields.Choice(["", *Endpoint.Reason.values], help_text="Empty while it is enabled.")
    disabled_at = fields.Moment(allow_null=True)
    rate_limit = fields.Whole(min_value=0, max_value=10_000, help_text="Requests a second; 0 is no limit.")
    format = fields.Choice(Endpoint.Format.values)
    retry_schedule = fields.Json(help_text="Seconds to wait after each failure; null is the project's.")
    timeout_seconds = fields.Whole(min_value=1, max_value=30, allow_null=True)
    metadata = fields.Mapped()
    failing_since = fields.Moment(allow_null=True)
    last_success_at = fields.Moment(allow_null=True)
    created_at = fields.Moment()
    updated_at = fields.Moment()

    def get_application(self, row: Endpoint) -> str:
        """Return the slug."""
        return row.application.slug

    def get_header_names(self, row: Endpoint) -> list[str]:
        """Return the names of its custom headers; values are never shown."""
        return sorted(row.headers)


class EndpointCreated(EndpointShown):
    """A new endpoint, with its signing secret, which is shown here and by ``/secret`` alone."""

    secret = fields.Text()


class EndpointReplaced(fields.Given):
    """What an endpoint is to be; what is left out becomes what it is by default."""

    url = fields.Url()
    event_types = fields.Many(
        fields.Text(), max_length=event_names.MAX_PATTERNS, help_text="Patterns: invoice.paid, invoice.*, invoice.**, *"
    )
    description = fields.Text(required=False)
    filters = fields.Mapped(required=False, help_text="Attributes that an event must have, each with its values.")
    headers = fields.Mapped(required=False, help_text="Custom headers; encrypted, and never shown again.")
    rate_limit = fields.Whole(min_value=0, max_value=10_000, required=False)
    format = fields.Choice(Endpoint.Format.values, required=False)
    retry_schedule = fields.Json(required=False)
    timeout_seconds = fields.Whole(min_value=1, max_value=30, required=False, allow_null=True)
    metadata = fields.Mapped(required=False)


class EndpointChanged(EndpointReplaced):
    """What is to change of an endpoint."""


class EndpointGiven(EndpointReplaced):
    """A new endpoint."""

    secret = fields.Text(required=False, help_text="A whsec_ or whsk_ secret of your own; by default one is made.")
    application = fields.Text(max_length=64, required=False, help_text="For operators.")
    tenant_id = fields.Text(max_length=255, required=False, help_text="For operators, who must give it.")


class EndpointQuery(pages.PageQuery):
    """Which endpoints."""

    enabled = fields.Flag(required=False)


class SecretShown(fields.Shown):
    """One signing secret."""

    secret = fields.Text()
    scheme = fields.Choice(SigningSecret.Scheme.values)
    public_key = fields.Text(help_text="whpk_… of a v1a secret; empty for v1.")
    created_at = fields.Moment()
    expires_at = fields.Moment(allow_null=True, help_text="null is the current one.")


class SecretsShown(fields.Shown):
    """The signing secrets that sign now; the first is the current one."""

    secret = fields.Text()
    secrets = SecretShown(many=True)


class Rotation(fields.Given):
    """How a signing secret is to be rotated."""

    overlap_seconds = fields.Whole(
        min_value=0, max_value=MAX_OVERLAP_SECONDS, required=False, help_text="How long the old one still signs."
    )
    secret = fields.Text(required=False)
    scheme = fields.Choice(SigningSecret.Scheme.values, required=False)


class EndpointResource(Resource):
    """What belongs to one endpoint."""

    tag = "Endpoints"

    def endpoints(self) -> "models.QuerySet[Endpoint]":
        """Return the owner's endpoints that are not deleted."""
        return self.owned(Endpoint.objects.filter(deleted_at__isnull=True)).select_related("application")

    def endpoint(self, endpoint_id: str) -> Endpoint:
        """Return one of them, or 404."""
        return self.find(self.endpoints(), endpoint_id)


class Endpoints(EndpointResource):
    """URLs that events are sent to."""

    @operation("read", "List endpoints", query=EndpointQuery, answers={200: pages.of(EndpointShown)}, may=(404,))
    def list(self, request: Request) -> Response:
        """Return a page of endpoints, newest first."""
        chosen = {"enabled": self.query["enabled"]} if "enabled" in self.query else {}
        of = {"list": "endpoint", "owner": self.owner, **chosen}
        rows = self.endpoints().filter(**chosen)
        page = paging.by_column(rows, "id", of=of, wanted=pages.wanted(self.query))
        return Response(pages.shown(page, EndpointShown))

    @operation(
        "write", "Add an endpoint", body=EndpointGiven, answers={201: EndpointCreated}, may=(404, 409), example=EXAMPLE
    )
    def create(self, request: Request) -> Response:
        """Store an endpoint and show its signing secret, once."""
        given = {key: value for key, value in self.body.items() if key not in {"application", "tenant_id"}}
        row = Endpoint.objects.using(self.using).register(
            tenant_id=self.tenant_id, application=self.application.slug, caller=self.caller, **given
        )
        return Response({**EndpointShown(row).data, "secret": row.secrets[0]}, status=201)

    @operation("read", "Show an endpoint", answers={200: EndpointShown}, may=(404,))
    def retrieve(self, request: Request, endpoint_id: str) -> Response:
        """Return one endpoint."""
        return Response(EndpointShown(self.endpoint(endpoint_id)).data)

    @operation(
        "write",
        "Replace an endpoint",
        body=EndpointReplaced,
        answers={200: EndpointShown},
        may=(404, 409),
        example=EXAMPLE,
    )
    def update(self, request: Request, endpoint_id: str) -> Response:
        """Make it what is given; what is left out becomes what it is by default."""
        usual = {name: _default(name) for name in sorted(Choices.__annotations__)}
        return self._change(endpoint_id, {**usual, **self.body})

    @operation(
        "write", "Change an endpoint", body=EndpointChanged, partial=True, answers={200: EndpointShown}, may=(404, 409),
        example={"event_types": ["invoice.*", "order.*"]},
    )  # fmt: skip
    def partial_update(self, request: Request, endpoint_id: str) -> Response:
        """Change what is given, and nothing else."""
        return self._change(endpoint_id, self.body)

    @operation("write", "Delete an endpoint", answers={204: None}, may=(404,))
    def destroy(self, request: Request, endpoint_id: str) -> Response:
        """Send it nothing more, and destroy its secrets; what it received stays listed."""
        with self.changing():
            row = self.endpoint(endpoint_id)
            if row.delete()[0]:
                self.record("endpoint.deleted", row, before={"url": row.url})
        return Response(status=204)

    @operation("write", "Enable an endpoint", answers={200: EndpointShown}, may=(404, 409))
    def enable(self, request: Request, endpoint_id: str) -> Response:
        """Send to it again; what was held becomes due."""
        with self.changing():
            row = self.endpoint(endpoint_id)
            if row.enable(as_tenant=not self.caller.is_operator):
                self.record("endpoint.enabled", row)
        return Response(EndpointShown(row).data)

    @operation("write", "Disable an endpoint", answers={200: EndpointShown}, may=(404,))
    def disable(self, request: Request, endpoint_id: str) -> Response:
        """Hold back what is for it until it is enabled."""
        reason = Endpoint.Reason.STAFF if self.caller.is_operator else Endpoint.Reason.TENANT
        with self.changing():
            row = self.endpoint(endpoint_id)
            if row.disable(reason):
                self.record("endpoint.disabled", row, after={"reason": str(reason)})
        return Response(EndpointShown(row).data)

    def _change(self, endpoint_id: str, choices: dict[str, Any]) -> Response:
        row = self.endpoint(endpoint_id)
        row.change(caller=self.caller, **choices)
        return Response(EndpointShown(row).data)


class Secrets(EndpointResource):
    """Signing secrets; every look at them is on record."""

    @operation("secrets", "Show the signing secrets", answers={200: SecretsShown}, may=(404,))
    def retrieve(self, request: Request, endpoint_id: str) -> Response:
        """Return the secrets that sign now."""
        with self.changing():
            row = self.endpoint(endpoint_id)
            self.record("endpoint.secret_revealed", row)
        return self._shown(row)

    @operation(
        "secrets", "Rotate the signing secret", body=Rotation, answers={200: SecretsShown}, may=(404,),
        example={"overlap_seconds": 86_400},
    )  # fmt: skip
    def rotate(self, request: Request, endpoint_id: str) -> Response:
        """Make a new secret current; for a while the old one signs as well."""
        seconds = self.body.get("overlap_seconds")
        if "secret" in self.body and "scheme" in self.body:
            problem = "A secret of your own says its scheme itself: give one of the two."
            raise exceptions.InvalidSecret(problem)
        with self.changing():
            row = self.endpoint(endpoint_id)
            row.rotate_secret(
                None if seconds is None else timedelta(seconds=seconds),
                secret=self.body.get("secret", ""),
                scheme=self.body.get("scheme", "v1"),
            )
            self.record("endpoint.secret_rotated", row, after={"overlap_seconds": seconds})
        return self._shown(row)

    def _shown(self, endpoint: Endpoint) -> Response:
        now = timezone.now()
        rows = SigningSecret.objects.using(self.using).filter(endpoint=endpoint).order_by("-created_at", "-id")
        secrets = [
            {
                "secret": row.key,
                "scheme": row.scheme,
                "public_key": signing.public_key(row.key) if row.scheme == SigningSecret.Scheme.V1A else "",
                "created_at": row.created_at,
                "expires_at": row.expires_at,
            }
            for row in rows
            if row.is_live(now)
        ]
        if not secrets:  # deleted meanwhile, with the endpoint
            raise Http404
        return Response(SecretsShown({"secret": secrets[0]["secret"], "secrets": secrets}).data)


def _default(name: str) -> Any:
    return Endpoint._meta.get_field(name).get_default()  # type: ignore[union-attr]
