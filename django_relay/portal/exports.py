"""The log as a file: CSV or NDJSON, streamed, within limits of time and size.

A file ends where the log does, or with the last of :data:`events.MAX_EXPORTED`, which the page that offers it names.
Whatever else ends it early, the time included, breaks off the transfer: no browser takes the part for the whole.

CSV is RFC 4180, and text that a spreadsheet would take for a formula is neutralised (OWASP, CSV injection).
"""

import csv
import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any

from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse

from django_relay.models import Event, lists, paging
from django_relay.portal import events, frame
from django_relay.portal.visits import Visit

COLUMNS = ("id", "type", "occurred_at", "created_at", "status", "matched_endpoints", "idempotency_key", "subject")
MAX_SECONDS = 60

# What spreadsheets begin a formula with; full-width forms are folded to these by some of them.
_FORMULA = re.compile(r"\s*[=+\-@\t\r\n|\uff1d\uff0b\uff0d\uff20]")


@frame.page()
def logs(request: HttpRequest, visit: Visit, form: str) -> HttpResponseBase:
    """Stream the log as it is narrowed down on its page, newest first."""
    chosen = events.LogForm(request.GET)
    if not chosen.is_valid() or form not in _WRITERS:
        raise Http404
    content_type, write = _WRITERS[form]
    response = StreamingHttpResponse(write(_rows(visit, events.filters_of(chosen))), content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="events.{form}"'
    return response


def neutralise(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: an apostrophe goes before what would begin one."""
    return f"'{text}" if _FORMULA.match(text) else text


def _rows(visit: Visit, filters: lists.Filters) -> Iterator[Mapping[str, Any]]:
    ends_at = time.monotonic() + MAX_SECONDS
    cursor: str | None = None
    left = events.MAX_EXPORTED
    while left:
        if time.monotonic() >= ends_at:
            raise TimeoutError(f"An export took longer than {MAX_SECONDS} seconds, and was broken off.")
        wanted = paging.Wanted(min(paging.MAX_LIMIT, left), cursor)
        page = lists.events(visit.owner, filters, wanted=wanted, using=visit.using)
        for event in page.data:
            yield _told(event)
        left -= len(page.data)
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def _told(event: Event) -> Mapping[str, Any]:
    values = (
        event.pk,
        event.event_type,
        event.occurred_at.astimezone(UTC).isoformat(),
        event.created_at.astimezone(UTC).isoformat(),
        event.status,
        event.matched_count,
        event.idempotency_key,
        event.subject,
    )
    return dict(zip(COLUMNS, values, strict=True))


class _Line:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


def _csv(rows: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    writer = csv.writer(_Line(), quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
    yield writer.writerow(COLUMNS)
    for row in rows:
        yield writer.writerow("" if value is None else neutralise(str(value)) for value in row.values())


def _ndjson(rows: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


_WRITERS = {"csv": ("text/csv; charset=utf-8; header=present", _csv), "ndjson": ("application/x-ndjson", _ndjson)}
