"""What a tenant chooses of an endpoint, and the rules it is held to."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

from django_relay import conf, exceptions
from django_relay.rules import event_names, filters, headers, retries, texts
from django_relay.transport import addresses


class Choices(TypedDict, total=False):
    """What may be chosen of a new endpoint besides its tenant, URL and event types."""

    description: str
    filters: Mapping[str, Any]
    headers: Mapping[str, str]
    rate_limit: int
    format: str
    retry_schedule: Sequence[float] | None
    timeout_seconds: int | None
    metadata: Mapping[str, Any]


class Changes(Choices, total=False):
    """What may be changed of an endpoint."""

    url: str
    event_types: Sequence[str]


CHANGEABLE = frozenset({*Choices.__annotations__, "url", "event_types"})
"""The names of :class:`Changes`."""


def parse_url(url: object) -> addresses.Target:
    """Return the parsed URL under the project's policy.

    Raises:
        UnsafeURL: policy does not allow it.
    """
    return addresses.parse(url, allow_http=conf.settings.ALLOW_HTTP, allowed_networks=conf.settings.ALLOWED_NETWORKS)


def schedule_of(retry_schedule: object) -> Sequence[float]:
    """Return the waits that an endpoint's ``retry_schedule`` stands for: its own, else the project's."""
    try:
        own = retries.validate_schedule(retry_schedule)
    except exceptions.InvalidInput:
        own = None  # spoilt past our checks: better the project's than none
    default: Sequence[float] = conf.settings.RETRY_SCHEDULE
    return default if own is None else own


RULES: dict[str, Callable[[Any], object]] = {
    "url": lambda value: parse_url(value).url,
    "event_types": event_names.validate_patterns,
    "filters": filters.validate,
    "headers": headers.validate,
    "retry_schedule": retries.validate_schedule,
    "tenant_id": partial(texts.validate_text, code="bad_tenant_id"),
    "description": partial(texts.validate_text, code="bad_description"),
    "metadata": partial(texts.validate_json, code="bad_metadata"),
}
"""What each field that a tenant chooses must be; gives the value in its normal form."""
