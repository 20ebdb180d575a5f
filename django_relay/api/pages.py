"""Lists by the page: what is asked for, and how it is answered."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from rest_framework import serializers

from django_relay.api import fields, problems
from django_relay.models import paging
from django_relay.models.lists import STATUS_CLASSES, Filters
from django_relay.rules import failures
from django_relay.rules.access import Caller


def limit() -> fields.Whole:
    """Return the parameter that says how long a page is."""
    return fields.Whole(
        min_value=1, max_value=paging.MAX_LIMIT, code="bad_limit", required=False, help_text="Default 50."
    )


def cursor() -> fields.Text:
    """Return the parameter that says where a page begins."""
    return fields.Text(required=False, help_text="next_cursor of the page before.")


class PageQuery(fields.Owned):
    """Which page."""

    limit = limit()
    cursor = cursor()


class WindowQuery(PageQuery):
    """Which page of what happened in a stretch of time."""

    since = fields.Moment(required=False, help_text="From this time on.")
    until = fields.Moment(required=False, help_text="Before this time.")


class HistoryQuery(WindowQuery):
    """Which page of deliveries or attempts."""

    event_type = fields.Text(max_length=128, required=False)
    status_class = fields.Choice(STATUS_CLASSES, required=False, help_text="Of the (last) status code.")
    error_kind = fields.Choice(
        failures.KINDS,
        required=False,
        help_text=f"Of the (last) attempt. To tenants {', '.join(sorted(failures.UNREACHED))} are all unreachable.",
    )


def wanted(given: Mapping[str, Any]) -> paging.Wanted:
    """Return which page a query asks for."""
    return paging.Wanted(given.get("limit", paging.DEFAULT_LIMIT), given.get("cursor"))


def filters(given: Mapping[str, Any], caller: Caller, **fixed: str) -> Filters:
    """Return what a caller's query narrows a list down to; ``fixed`` is what the path says.

    Raises:
        BadFields: it asks for an error kind that it is not told.
    """
    names = ("endpoint_id", "event_id", "state", "event_type", "status_class", "since", "until")
    found = {name: given[name] for name in names if given.get(name)}
    if "error_kind" in given:
        found["error_kinds"] = failures.kinds(given["error_kind"], caller)
        if not found["error_kinds"]:
            told = f"This must be one of {', '.join(failures.WORDS)}."
            errors = {"error_kind": [serializers.ErrorDetail(told, code="bad_choice")]}
            raise problems.BadFields(errors, place="query")
    return Filters(**{**found, **fixed})


def shown(page: "paging.Page[Any]", serializer: Callable[..., Any], **context: Any) -> dict[str, Any]:
    """Return a page as it is answered."""
    return {
        "data": serializer(page.data, many=True, context=context).data,
        "next_cursor": page.next_cursor,
        "has_more": page.has_more,
    }


@functools.cache
def of(serializer: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """Return the serializer of a page of rows, for the description of the API."""
    name = serializer.__name__.removesuffix("Shown")
    made = {
        "__module__": serializer.__module__,
        "__doc__": "A page of a list: follow next_cursor while has_more; a page may hold fewer than limit, or none.",
        "data": serializer(many=True),
        "next_cursor": fields.Text(allow_null=True),
        "has_more": fields.Flag(),
    }
    return type(f"{name}Page", (fields.Shown,), made)
