"""API keys: what programs call this API with."""

from typing import Any

from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import fields, pages
from django_relay.api.resources import Resource, operation
from django_relay.models import ApiKey, paging
from django_relay.rules import access


class ApiKeyShown(fields.Shown):
    """An API key, without the key."""

    id = fields.Id("key_")
    operator = fields.Flag(source="is_operator")
    application = serializers.SerializerMethodField()
    tenant_id = serializers.SerializerMethodField()
    name = fields.Text()
    prefix = fields.Text(help_text="How the key begins.")
    scopes = fields.Many(fields.Choice(access.KEY_SCOPES), max_length=len(access.KEY_SCOPES))
    created_by = fields.Text()
    created_at = fields.Moment()
    expires_at = fields.Moment(allow_null=True)
    last_used_at = fields.Moment(allow_null=True, help_text="To a minute.")
    revoked_at = fields.Moment(allow_null=True)

    @fields.typed(fields.Text(allow_null=True))
    def get_application(self, row: ApiKey) -> str | None:
        """Return the slug; null of an operator's key."""
        return row.application.slug if row.application else None

    @fields.typed(fields.Text(allow_null=True))
    def get_tenant_id(self, row: ApiKey) -> str | None:
        """Return the tenant; null of an operator's key."""
        return None if row.is_operator else row.tenant_id


class ApiKeyCreated(ApiKeyShown):
    """A new API key, with the key itself, which is shown here alone."""

    key = fields.Text()


class ApiKeyGiven(fields.Given):
    """A new API key: a tenant's, or with ``operator`` one of yours."""

    tenant_id = fields.Text(max_length=255, required=False)
    operator = fields.Flag(required=False)
    application = fields.Text(max_length=64, required=False)
    scopes = fields.Many(fields.Text(), max_length=20, required=False, help_text="Default: read.")
    name = fields.Text(max_length=200, required=False)
    expires_at = fields.Moment(required=False, allow_null=True)


class ApiKeys(Resource):
    """Keys of programs: hashed, scoped, expiring, revoked at the next request."""

    tag = "API keys"

    @operation(
        "read", "List API keys", query=pages.PageQuery, answers={200: pages.of(ApiKeyShown)}, operator_only=True,
        may=(404,),
    )  # fmt: skip
    def list(self, request: Request) -> Response:
        """Return a page of keys, newest first; without application and tenant all of them."""
        of = {"list": "api_key", **{name: self.query.get(name) for name in ("application", "tenant_id")}}
        page = paging.by_column(self._rows(), "id", of=of, wanted=pages.wanted(self.query))
        return Response(pages.shown(page, ApiKeyShown))

    @operation(
        "write", "Make an API key", query=fields.Query, body=ApiKeyGiven, answers={201: ApiKeyCreated},
        operator_only=True, may=(404,), example={"tenant_id": "acme", "scopes": ["read", "write"], "name": "CI"},
    )  # fmt: skip
    @sensitive_variables("token")
    def create(self, request: Request) -> Response:
        """Make a key that can do no more than the caller, and show it, once."""
        given = {**self.body, "application": self.application.slug}
        row, token = ApiKey.objects.issue(**given, caller=self.caller)
        return Response({**ApiKeyShown(row).data, "key": token}, status=201)

    @operation("write", "Revoke an API key", query=fields.Query, answers={204: None}, operator_only=True, may=(404,))
    def destroy(self, request: Request, key_id: str) -> Response:
        """End it, and the portal sessions made with it, from the next request on."""
        self.find(ApiKey.objects.using(self.using).all(), key_id).revoke(caller=self.caller)
        return Response(status=204)

    def _rows(self) -> Any:
        rows = ApiKey.objects.using(self.using).select_related("application")
        named = {"application", "tenant_id"} & self.query.keys()
        return self.owned(rows) if named else rows
