"""Portal sessions: let a person of a tenant's into its portal, by a link that works once."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import fields, pages
from django_relay.api.resources import Resource, operation
from django_relay.models import PortalSession, paging
from django_relay.portal import links
from django_relay.rules import access


class PortalSessionShown(fields.Shown):
    """One person's right to one tenant's portal."""

    id = fields.Id("psess_")
    application = serializers.SerializerMethodField()
    tenant_id = fields.Text()
    capabilities = fields.Many(fields.Choice(access.CAPABILITIES), max_length=len(access.CAPABILITIES))
    theme = fields.Mapped()
    return_url = fields.Text()
    created_by = fields.Text()
    created_at = fields.Moment()
    link_expires_at = fields.Moment()
    expires_at = fields.Moment()
    used_at = fields.Moment(allow_null=True)
    seen_at = fields.Moment(allow_null=True)
    revoked_at = fields.Moment(allow_null=True)

    def get_application(self, row: PortalSession) -> str:
        """Return the slug."""
        return row.application.slug


class PortalSessionCreated(PortalSessionShown):
    """A new portal session, with the link that opens it, once."""

    url = fields.Text(help_text="Send the person there. Its fragment is the token, which is shown here alone.")


class PortalSessionGiven(fields.Given):
    """A new portal session."""

    tenant_id = fields.Text(max_length=255)
    application = fields.Text(max_length=64, required=False)
    capabilities = fields.Many(fields.Text(), max_length=20, required=False, help_text="Default: view.")
    return_url = fields.Text(required=False)
    theme = fields.Mapped(required=False)
    expires_in_seconds = fields.Whole(min_value=1, max_value=86_400, required=False)


class RevokedShown(fields.Shown):
    """How many were revoked."""

    revoked = fields.Whole(min_value=0, max_value=2**31)


class PortalSessions(Resource):
    """Links into the portal, and the sessions they open."""

    tag = "Portal sessions"

    @operation(
        "portal", "List portal sessions", query=pages.PageQuery, answers={200: pages.of(PortalSessionShown)},
        operator_only=True, may=(404,),
    )  # fmt: skip
    def list(self, request: Request) -> Response:
        """Return a page of sessions, newest first, whatever their state."""
        of = {"list": "portal_session", "owner": self.owner}
        page = paging.by_column(self._rows(), "id", of=of, wanted=pages.wanted(self.query))
        return Response(pages.shown(page, PortalSessionShown))

    @operation(
        "portal", "Make a portal link", query=fields.Query, body=PortalSessionGiven,
        answers={201: PortalSessionCreated}, operator_only=True, may=(404, 409),
        example={"tenant_id": "acme", "capabilities": ["view", "endpoints"]},
    )  # fmt: skip
    def create(self, request: Request) -> Response:
        """Make a session and the one-time URL that opens it."""
        given = {"capabilities": ("view",), **self.body, "application": self.application.slug}
        link = links.create_session(**given, caller=self.caller, request=request._request)
        return Response({**PortalSessionShown(link.session).data, "url": link.url}, status=201)

    @operation("portal", "Revoke a portal session", answers={204: None}, operator_only=True, may=(404,))
    def destroy(self, request: Request, session_id: str) -> Response:
        """End it, from its next request on."""
        self.find(self._rows(), session_id).revoke(caller=self.caller)
        return Response(status=204)

    @operation(
        "portal", "Revoke a tenant's portal sessions", answers={200: RevokedShown}, operator_only=True, may=(404,)
    )
    def destroy_all(self, request: Request) -> Response:
        """End all sessions of the tenant named by ``tenant_id``."""
        rows = PortalSession.objects.using(self.using).for_tenant(self.tenant_id, self.application.slug)
        return Response({"revoked": rows.revoke_all(caller=self.caller)})

    def _rows(self) -> Any:
        return self.owned(PortalSession.objects.select_related("application"))
