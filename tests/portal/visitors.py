"""People with a portal session, as the browser's side of it."""

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_relay.models import PortalSession
from django_relay.rules import access, tokens
from tests.people import ALICE


class Visitor:
    """One browser, let in by a link that was exchanged."""

    def __init__(self, person=ALICE, *, capabilities=access.CAPABILITIES, **values):
        self.session, token = PortalSession.objects.invite(
            tenant_id=person.tenant_id, capabilities=capabilities, **values
        )
        self.session, self.token = PortalSession.objects.exchange(token, now=timezone.now())
        self.client = Client(raise_request_exception=True)
        self.client.cookies[tokens.PORTAL_COOKIE] = self.token

    def get(self, name, *args, headers=None, **query):
        return self.client.get(reverse(f"relay_portal:{name}", args=args), query, headers=headers)

    def post(self, name, *args, headers=None, **data):
        data.setdefault("csrf", tokens.csrf_token(self.token))
        return self.client.post(reverse(f"relay_portal:{name}", args=args), data, headers=headers)

    def page(self, name, *args, **query):
        """Return a page's text; it must be there."""
        response = self.get(name, *args, **query)
        assert response.status_code == 200, response.content
        return response.content.decode()


def text_of(response):
    return response.content.decode()
