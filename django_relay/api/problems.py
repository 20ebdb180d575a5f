"""Every error as ``application/problem+json`` (RFC 9457), with a stable ``code``: the one place that says which."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from rest_framework import exceptions as drf
from rest_framework.response import Response

from django_relay import exceptions
from django_relay.models import writing

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (exceptions.LimitReached, 409),
    (exceptions.InvalidInput, 400),
    (exceptions.NotAllowed, 403),
    (exceptions.UnknownApplication, 404),
    (exceptions.UnknownEventType, 400),
    (exceptions.DeprecatedEventType, 400),
    (exceptions.IdempotencyConflict, 409),
    (exceptions.AlreadyExists, 409),
    (exceptions.NotReplayable, 409),
    (exceptions.WrongState, 409),
    (exceptions.SendingDisabled, 503),
    (exceptions.DecryptionError, 503),
)
"""The first class that fits counts."""

_POINTERS: Mapping[type[Exception], str] = {
    exceptions.InvalidEventName: "/event_type",
    exceptions.UnknownEventType: "/event_type",
    exceptions.DeprecatedEventType: "/event_type",
    exceptions.InvalidPayload: "/data",
    exceptions.InvalidSecret: "/secret",
    exceptions.InvalidPattern: "/event_types",
}
"""Where in a body an error stands that names no field itself."""
_POINTERS_BY_CODE = {
    "bad_key": "/idempotency_key",
    "bad_tenant_id": "/tenant_id",
    "bad_attributes": "/attributes",
    "bad_event_id": "/event_id",
    "bad_occurred_at": "/occurred_at",
    "since_required": "/since",
    "bad_window": "/since",
    "bad_ids": "/ids",
    "unknown_endpoint": "/endpoint_ids",
}

_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
    429: "throttled",
}
_RETRY_AFTER_SECONDS = {"database_busy": writing.BUSY_SECONDS}
"""How long to wait after a 503; by default a minute."""
_NOT_FOUND = "There is nothing of yours here; ids look like ep_01… and belong to one tenant."


class BadFields(Exception):
    """Fields of a body, or query parameters, that cannot be used; ``place`` is ``body`` or ``query``."""

    def __init__(self, errors: Mapping[str, Any], *, place: str = "body") -> None:
        self.errors, self.place = errors, place
        super().__init__(place)


def handle(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Return the problem that an error is; ``None`` for a fault of ours, which is Django's to report."""
    if isinstance(error, BadFields):
        return _of_fields(list(_pointed(error.errors, "")), error.place)
    if isinstance(error, ValidationError):
        return _of_fields(list(_of_validation(error)))
    if isinstance(error, exceptions.RelayError):
        return _of_relay(error, {**_POINTERS, **getattr(context.get("view"), "pointers", {})})
    if isinstance(error, Http404 | drf.NotFound):
        return respond(404, "not_found", _NOT_FOUND)
    if isinstance(error, drf.APIException):
        return _of_framework(error)
    return _of_database(error) if writing.is_unavailable(error) else None


def respond(status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """Return a problem."""
    problem = {
        "type": "about:blank",
        "title": HttpResponse(status=status).reason_phrase,
        "status": status,
        "code": code,
    }
    return Response(
        {**problem, "detail": detail, **more}, status=status, headers=dict(headers or {}), content_type=CONTENT_TYPE
    )


def status_of(error: exceptions.RelayError) -> int | None:
    """Return the HTTP status that an error of ours is answered with; ``None`` for a fault."""
    if error.code == "too_large":
        return 413
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), None)


def _of_relay(error: exceptions.RelayError, pointers: Mapping[type[Exception], str]) -> Response | None:
    status = status_of(error)
    if status is None:
        return None
    if isinstance(error, exceptions.NotAllowed):
        missing: dict[str, Any] = {"missing_scope": error.scope} if getattr(error, "scope", "") else {}
        return respond(status, error.code, str(error), **missing)
    if status == 503:
        return _later(error.code, str(error))
    pointer = _POINTERS_BY_CODE.get(error.code) or next(
        (found for kind, found in pointers.items() if isinstance(error, kind)), None
    )
    place = "query" if isinstance(error, exceptions.InvalidCursor) else "body"
    if place == "query":
        pointer = "/limit" if error.code == "bad_limit" else "/cursor"
    if pointer is None:
        return respond(status, error.code, str(error))
    told = {"pointer": pointer, "in": place, "code": error.code, "detail": str(error)}
    return respond(status, error.code, str(error), errors=[told])


def _of_database(error: Exception) -> Response:
    extra = {"event": "api.database_busy"}
    logger.warning("api.database_busy %s", writing.reason_of(error), extra=extra)
    return _later(
        "database_busy", "The database is busy or cannot be reached. Try again, after as long as Retry-After says."
    )


def _later(code: str, detail: str) -> Response:
    return respond(503, code, detail, headers={"Retry-After": str(_RETRY_AFTER_SECONDS.get(code, 60))})


def _of_framework(error: drf.APIException) -> Response:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(max(1, int(-(-wait // 1))))
    status = error.status_code
    codes = error.get_codes()
    own = codes if isinstance(codes, str) and codes not in {"error", "parse_error"} else ""
    code = own if status == 400 and own else _CODES.get(status, own or "error")
    detail = str(error.detail) if isinstance(error.detail, str) else "The request cannot be used."
    return respond(status, code, detail, headers=headers)


def _of_fields(found: list[dict[str, str]], place: str = "body") -> Response:
    errors = [{"pointer": item["pointer"], "in": place, **item} for item in found]
    code = errors[0]["code"] if len({item["code"] for item in errors}) == 1 else "invalid_input"
    first = errors[0]
    where = first["pointer"] or "/"
    detail = f"{where}: {first['detail']}" + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else "")
    return respond(400, code, detail, errors=errors)


def _pointed(errors: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Yield the errors of Django REST framework's nested details, each with its JSON pointer (RFC 6901)."""
    if isinstance(errors, Mapping):
        for name, inner in errors.items():
            yield from _pointed(inner, f"{pointer}/{_escape(str(name))}" if name != "" else pointer)
    elif isinstance(errors, list):
        for number, inner in enumerate(errors):
            is_text = isinstance(inner, str)
            yield from _pointed(inner, pointer if is_text else f"{pointer}/{number}")
    elif isinstance(errors, str):
        yield {"pointer": pointer, "code": str(getattr(errors, "code", "invalid")), "detail": str(errors)}


def _of_validation(error: ValidationError) -> Iterator[dict[str, str]]:
    by_field = error.error_dict if hasattr(error, "error_dict") else {"": error.error_list}
    for name, found in by_field.items():
        pointer = "" if name in {"", "__all__"} else f"/{_escape(name)}"
        for item in found:
            yield {"pointer": pointer, "code": str(item.code or "invalid"), "detail": "".join(item.messages)}


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
