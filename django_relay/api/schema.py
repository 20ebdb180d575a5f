"""The API described as OpenAPI 3.1, from the operations themselves (drf-spectacular, extra ``openapi``).

``manage.py spectacular`` writes the file; nothing else imports this module.
"""

from collections.abc import Mapping
from typing import Any

import uritemplate
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from django_relay.api import fields, problems
from django_relay.rules import tokens

_OF_EVERY_OPERATION = (400, 401, 403, 429, 503)
_OF_EVERY_BODY = (413, 415)

_PROBLEMS = {
    400: "Something given cannot be used; `errors` says what, and what would be right.",
    401: "No credential, or one that is wrong, expired or revoked.",
    403: "The credential lacks a scope, or this is for operators.",
    404: "There is no such thing, or it is somebody else's: both look the same.",
    409: "It contradicts what is stored, or a limit; `code` says how.",
    413: "The body, or an event's data, is too large.",
    415: "Bodies are `application/json`.",
    429: "Too many calls; `Retry-After` says how long to wait.",
    503: "Not now: the database is busy (`database_busy`), or sending is switched off (`sending_disabled`); "
    "`Retry-After` says how long to wait.",
}
_ANSWERS = {200: "Done.", 201: "Stored.", 202: "Taken on; the workers do it.", 204: "Done; there is nothing to show."}

_PATH = {
    "slug": "The application's slug.",
    "name": "The event type's name.",
    "tenant_id": "The tenant, percent-encoded.",
}

_SECURITY: Mapping[str, dict[str, Any]] = {
    "apiKey": {"type": "http", "scheme": "bearer", "bearerFormat": "rlk_…", "description": "An API key."},
    "portalSession": {
        "type": "apiKey",
        "in": "cookie",
        "name": tokens.PORTAL_COOKIE,
        "description": f"A portal session; unsafe requests also need its CSRF token in {tokens.CSRF_HEADER}.",
    },
}


class ErrorShown(fields.Shown):
    """What is wrong with one field."""

    pointer = fields.Text(help_text="Where it stands, as a JSON pointer (RFC 6901).")
    code = fields.Text()
    detail = fields.Text(help_text="What would be right.")

    def get_fields(self) -> dict[str, Any]:
        """Return the fields; ``in`` is a word of Python's."""
        return {**super().get_fields(), "in": fields.Choice(("body", "query"), required=False)}


class ProblemShown(fields.Shown):
    """What went wrong (RFC 9457)."""

    type = fields.Text()
    title = fields.Text()
    status = fields.Whole(min_value=400, max_value=599)
    code = fields.Text(help_text="Stable: for programs.")
    detail = fields.Text(help_text="What would be right: for people.")
    errors = ErrorShown(many=True, required=False)  # type: ignore[assignment]  # a field, not the property: the metaclass takes it
    missing_scope = fields.Text(required=False, help_text="The scope that the credential lacks.")


class RelaySchema(AutoSchema):
    """Reads what views declare by ``resources.operation``."""

    view: Any

    def get_operation_id(self) -> str:
        """Return a name for generated clients."""
        tag = self.view.tag.lower().replace(" ", "_")
        action = self.view.action
        name = f"{tag}_{type(self.view).__name__.lower()}_{action}"
        return f"{name}_patch" if self.method == "PATCH" and action in {"enable", "disable"} else name

    def get_summary(self) -> str:
        """Return the operation's summary."""
        return str(self.view.operation.summary)

    def get_description(self) -> str:  # type: ignore[override]
        """Return the method's docstring, who may call it, and by which scope."""
        doc = (getattr(self.view, self.view.action).__doc__ or "").strip()
        operation = self.view.operation
        whose = "Operators, with" if operation.operator_only else "Needs"
        return f"{doc}\n\n{whose} the scope `{operation.scope}`."

    def get_tags(self) -> list[str]:
        """Return the heading."""
        return [self.view.tag]

    def get_auth(self) -> list[dict[str, list[str]]]:
        """Return the credentials that do; a host's own are the host's to describe."""
        for name, scheme in _SECURITY.items():
            self.registry.register_on_missing(
                ResolvedComponent(  # type: ignore[no-untyped-call]
                    name=name, type=ResolvedComponent.SECURITY_SCHEMA, schema=scheme, object=name
                )
            )
        return [{"apiKey": []}] if self.view.operation.operator_only else [{name: []} for name in _SECURITY]

    def get_request_serializer(self) -> Any:
        """Return what the body is."""
        body = self.view.operation.body
        return None if body is fields.Nothing else body

    def get_response_serializers(self) -> Any:
        """Return every answer, and every problem there can be."""
        operation = self.view.operation
        found: dict[Any, Any] = {}
        for status, answer in operation.answers.items():
            found[status] = OpenApiResponse(response=answer, description=_ANSWERS[status])
        statuses = {*_OF_EVERY_OPERATION, *operation.may, *(() if self.method == "GET" else _OF_EVERY_BODY)}
        for status in sorted(statuses):
            found[status, problems.CONTENT_TYPE] = OpenApiResponse(ProblemShown, description=_PROBLEMS[status])
        return found

    def get_override_parameters(self) -> list[Any]:
        """Return the parameters of path, query and headers."""
        operation = self.view.operation
        names = sorted(uritemplate.variables(self.path))
        path = [OpenApiParameter(name, str, "path", description=_PATH.get(name, "Its id.")) for name in names]
        headers = [OpenApiParameter(name, str, "header", description=text) for name, text in operation.headers.items()]
        query = [operation.query] if operation.query().fields else []
        return [*path, *query, *headers]

    def get_examples(self) -> list[Any]:
        """Return the operation's example."""
        example = self.view.operation.example
        return [] if example is None else [OpenApiExample("example", value=example, request_only=True)]

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False  # pages are objects

    def _get_serializer_name(self, serializer: Any, direction: Any, bypass_extensions: bool = False) -> str:
        return str(super()._get_serializer_name(serializer, direction, bypass_extensions)).removesuffix("Shown")
