"""What goes over the wire: one event as bytes, in the format that the endpoint chose.

===============  ================================  ===============================================
format           body                              content type
===============  ================================  ===============================================
``standard``     type, id, timestamp, data, and    ``application/json``
                 schema_version when set
``raw``          the data alone                    ``application/json``
``cloudevents``  CloudEvents 1.0, structured mode  ``application/cloudevents+json; charset=utf-8``
===============  ================================  ===============================================

The payload's text is spliced in as it is stored, never parsed and written anew: the same event
gives the same bytes on every attempt, and the numbers and the order of the keys stay the sender's.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

FORMATS = ("standard", "raw", "cloudevents")

_quoted = json.encoder.encode_basestring
"""A text as JSON has it, nothing but what must be escaped; encoding an object costs six times as much."""


@dataclass(slots=True)
class Facts:
    """One event, as much of it as a request may show."""

    event_id: str
    event_type: str
    occurred_at: datetime
    """Aware; shown in UTC."""
    payload: str = field(repr=False)
    """The JSON text of the event's data, exactly as stored."""
    schema_version: str
    """Empty when the event type has none."""
    subject: str
    """The originating row, such as "shop.Order:42"; may be empty."""
    source: str
    """The CloudEvents source: a URI reference, not empty when the format is ``cloudevents``."""
    traceparent: str = ""
    """The trace it belongs to (W3C Trace Context), if known; goes into a header, not into the body."""


def encode(facts: Facts, format: str) -> tuple[bytes, str]:  # noqa: A002 — the field's name
    """Return the body in UTF-8 and its content type.

    Raises:
        ValueError: the format is not one of :data:`FORMATS`, the time has no zone, or the text is
            no Unicode.
    """
    if format == "raw":
        return facts.payload.encode(), "application/json"
    if format == "standard":
        return _splice(_standard(facts), facts.payload), "application/json"
    if format == "cloudevents":
        body = _splice(_cloudevent(facts), facts.payload)
        return body, "application/cloudevents+json; charset=utf-8"
    raise ValueError(f"An endpoint's format is one of {', '.join(FORMATS)}.")


def _standard(facts: Facts) -> dict[str, str]:
    """Return the members beside data (Standard Webhooks 1.0.0, "Payload structure")."""
    members = {
        "type": facts.event_type,
        "id": facts.event_id,
        "timestamp": _timestamp(facts.occurred_at),
    }
    if facts.schema_version:
        members["schema_version"] = facts.schema_version
    return members


def _cloudevent(facts: Facts) -> dict[str, str]:
    """Return the context attributes (CloudEvents 1.0.2, §3.1, where an empty subject is none)."""
    attributes = {
        "specversion": "1.0",
        "id": facts.event_id,
        "source": facts.source,
        "type": facts.event_type,
        "time": _timestamp(facts.occurred_at),
        "datacontenttype": "application/json",
    }
    if facts.subject:
        attributes["subject"] = facts.subject
    return attributes


def _splice(members: dict[str, str], payload: str) -> bytes:
    """Return the object of ``members`` with ``payload`` as its last member, "data"."""
    head = ",".join([f'"{name}":{_quoted(value)}' for name, value in members.items()])
    return f'{{{head},"data":{payload}}}'.encode()


def _timestamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC, always with microseconds."""
    # A naive time would silently be taken for the worker's local time.
    if moment.tzinfo is None:
        raise ValueError("An event's occurred_at must be an aware datetime.")
    text = moment.isoformat(timespec="microseconds")
    if not text.endswith("+00:00"):  # else it is in UTC already, as stored ones are; to convert it costs as much again
        text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"
