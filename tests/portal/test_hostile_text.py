"""Text of tenants, hosts and receivers is shown as text, wherever it stands; and starts no formula in a spreadsheet."""

import csv
import io
import json
from html.parser import HTMLParser

import pytest

from django_relay.models import Attempt, DLQEntry, Endpoint, Event, EventType
from django_relay.rules import texts
from tests.factories import make_attempt, make_delivery, make_dlq_entry, make_endpoint, make_event_type
from tests.portal.visitors import Visitor
from tests.rules import vectors

pytestmark = pytest.mark.django_db

XSS = [
    *vectors.load("display_export", "xss_text"),
    pytest.param({"input": "<script>alert(1)</script>"}, id="script"),
    pytest.param({"input": '"><img src=x onerror=alert(1)>'}, id="attribute"),
    pytest.param({"input": "javascript:alert(1)"}, id="javascript"),
    pytest.param({"input": "</code></pre><script>alert(1)</script>"}, id="closing"),
]
PLACES = (
    "endpoints",
    "endpoint",
    "attempts",
    "edit_endpoint",
    "event",
    "logs",
    "dlq",
    "catalog",
    "event_type",
    "test_result",
)


class Markup(HTMLParser):
    """What a page is made of besides text."""

    def __init__(self, page):
        super().__init__()
        self.scripts, self.handlers, self.links = 0, [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.scripts += tag == "script" and "src" not in found
        self.handlers += [name for name in found if name.startswith("on") or name == "style"]
        self.links += [value or "" for name, value in attrs if name in {"href", "src", "action"}]
        assert tag not in {"img", "iframe", "object", "embed", "base", "marquee"}
        assert tag != "svg" or "onload" not in found


@pytest.fixture
def rows():
    endpoint = make_endpoint()
    delivery = make_delivery(endpoint=endpoint, state="failed", attempt_count=1)
    make_attempt(delivery, endpoint=endpoint)
    make_dlq_entry(delivery)
    test = make_delivery(endpoint=endpoint, state="delivered", attempt_count=1)
    Event.objects.filter(pk=test.event_id).update(only_endpoint=endpoint)
    make_attempt(test, endpoint=endpoint, status_code=200)
    kind = make_event_type("shown.here", example={})
    return {"endpoint": endpoint, "event": delivery.event, "test": test.event, "type": kind}


def spoil(rows, text):
    """Put the text wherever somebody else's text is stored, past every rule that would refuse it."""
    text = texts.cleaned(text)
    Endpoint.objects.update(description=text[:500], url=text[:2_000], filters={text[:60]: [text[:200]]})
    Event.objects.update(
        payload=json.dumps({text: [text, {text: text}]}),
        attributes={text: [text]},
        subject=text[:255],
        idempotency_key="",
        schema_version=text[:64],
    )
    headers = [[text, text]]
    Attempt.objects.update(error=text, response_body=text, request_headers=headers, response_headers=headers)
    DLQEntry.objects.update(url=text[:2_000], error=text)
    EventType.objects.filter(pk=rows["type"].pk).update(
        description=text,
        group=text[:128],
        version=text[:64],
        example={text: text},
        replaced_by=text[:128],
        deprecated=True,
        schema={"properties": {text: {"description": text, "enum": [text], "pattern": text}}},
    )


@pytest.mark.parametrize("case", XSS)
def test_is_escaped_on_every_page(case, rows):
    spoil(rows, vectors.given(case))
    visitor = Visitor()
    given = {
        "endpoint": [rows["endpoint"].pk],
        "attempts": [rows["endpoint"].pk],
        "edit_endpoint": [rows["endpoint"].pk],
        "event": [rows["event"].pk],
        "event_type": [rows["type"].name],
        "test_result": [rows["endpoint"].pk, rows["test"].pk],
    }
    for name in PLACES:
        markup = Markup(visitor.page(name, *given.get(name, [])))
        assert markup.scripts == 0, name
        assert markup.handlers == [], name
        assert all(link.startswith(("/", "?", "#")) and not link.startswith("//") for link in markup.links), name


@pytest.mark.parametrize("case", vectors.load("display_export", "csv_formula"))
def test_starts_no_formula_in_a_spreadsheet(case, rows):
    text = vectors.given(case)
    Event.objects.filter(pk=rows["event"].pk).update(subject=text)
    exported = b"".join(Visitor().get("export", "csv").streaming_content).decode()
    cells = [row["subject"] for row in csv.DictReader(io.StringIO(exported, newline=""))]
    shown = next(cell for cell in cells if cell)
    assert shown.removeprefix("'") == text
    assert shown[0] not in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
