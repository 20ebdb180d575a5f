"""Bodies in, and answers out: JSON, strictly.

How slowly a body may come is the web server's to bound: Django is called once the head is read, and then waits.
"""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from django_relay import conf, exceptions
from django_relay.rules import bodies

_LEVELS_AROUND_DATA = 3
"""How deep the data of an event lies in the body of a batch."""


_BYTES_AROUND_DATA = 65_536


def max_body_bytes(events: int = 1) -> int:
    """Return how many bytes a body may have that carries so many events of the largest size."""
    return events * int(conf.settings.MAX_PAYLOAD_BYTES) + _BYTES_AROUND_DATA


class StrictJSONParser(BaseParser):
    """Reads ``application/json`` as :func:`django_relay.rules.bodies.read` does; what is too large it does not read."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the value.

        Raises:
            InvalidBody: ``too_large``, ``bad_json`` or ``too_deep``.
        """
        context = parser_context or {}
        most = max_body_bytes(context["view"].largest_events)
        given = context["request"].META.get("CONTENT_LENGTH") or "0"
        raw = b"" if not given.isdigit() or int(given) > most else stream.read(most + 1)
        if (given.isdigit() and int(given) > most) or len(raw) > most:
            raise exceptions.InvalidBody(f"The body has more than {most} bytes.", code="too_large")
        return bodies.read(raw, max_depth=conf.settings.MAX_PAYLOAD_DEPTH + _LEVELS_AROUND_DATA)


class Renderer(JSONRenderer):
    """Writes JSON in one way, whatever the project's settings for other views are."""

    charset = None
    ensure_ascii = False
    compact = True
    strict = True


class Negotiation(BaseContentNegotiation):
    """Takes the only parser and renderer there is; what a client says it accepts changes nothing."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser | None:
        """Return the JSON parser if the body says it is JSON."""
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the JSON renderer."""
        return renderers[0], renderers[0].media_type
