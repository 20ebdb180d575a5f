"""Paths that the API does not have, its root among them."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import problems
from django_relay.api.resources import Resource

_SAID = (
    "The API has no such path. Its lists are endpoints, events, deliveries, dlq, replays and event-types, right below "
    "where it is included; no path ends with a slash."
)


class Nowhere(Resource):
    """Answers a problem as every other view does, whoever asks: there is nothing to guard."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Ask for no credential."""

    def answer(self, request: Request) -> Response:
        """Return 404."""
        return problems.respond(404, "not_found", _SAID)
