"""The API over a million deliveries (``--quick``: 100,000): its lists and details against one plain SELECT of the same
rows by an index, and ``POST events`` against ``emit``; how much of that is the row in the audit.

Timed is the whole request, by Django's test client in a process of its own: route, credential, throttle, queries, JSON.
A plain SELECT is sent by Django's cursor and fetched as tuples. Each event is stored in a transaction of its own, with
what follows its commit. The rows come from the same statements as those of the tests that look at the plans.
"""

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from benchmarks import admin
from benchmarks.report import Result, Row, median, progress, ratio
from benchmarks.stage import Stage
from benchmarks.webhooks import DATA, EVENT_TYPE
from django_relay import emit, ids
from django_relay.models import ApiKey, Application, Delivery, Event, audit
from django_relay.rules import access
from tests.plans import history

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT, TENANT, TIMES, POSTS, BATCH = "/webhooks/api/v1/", "tenant7", 15, 300, 100
HISTORY = {name: f"SELECT * FROM django_relay_{name} WHERE endpoint_id = %s ORDER BY id DESC LIMIT 50"
           for name in ("delivery", "attempt", "dlqentry")}  # fmt: skip
EVENTS = (
    "SELECT * FROM django_relay_event WHERE application_id = %s AND tenant_id = %s "
    "ORDER BY created_at DESC, id DESC LIMIT 50"
)
ENDPOINTS = (
    "SELECT * FROM django_relay_endpoint WHERE application_id = %s AND tenant_id = %s AND deleted_at IS NULL "
    "ORDER BY id DESC LIMIT 50"
)
HOURS = "SELECT * FROM django_relay_endpointhour WHERE endpoint_id = %s AND hour > now() - interval '24 hours'"

_PREFIXES = {"id": "del_", "endpoint_id": "ep_"}


def run(stage: Stage, scale: str) -> Result:
    result = Result("api")
    rows = 100_000 if scale == "quick" else 1_000_000
    progress(f"api: {rows:,} deliveries")
    stage.reset()
    looks, posts = json.loads(stage.child("api", str(rows)).output(1_800))
    result.rows = [*looks, *posts]
    slowest = max(looks, key=lambda row: row["ms"])
    result.at_most(f"slowest list or detail ({slowest['look']})", slowest["ms"], admin.MOST_MS, "ms")
    result.at_most("most queries of a list or detail", max(row["queries"] for row in looks), 12, "")
    us = {row["store"]: row["us"] for row in posts}
    result.reported("median list or detail / its plain SELECT", median(row["to_select"] for row in looks), "x")
    result.reported("POST events / emit", ratio(us["POST events"], us["emit"]), "x")
    audited = us["emit, on record"] - us["emit"]
    result.reported("the row in the audit, of POST events", ratio(audited, us["POST events"]), "x")
    result.reported(f"POST events/batch of {BATCH} / emit, per event", ratio(us["POST events/batch"], us["emit"]), "x")
    result.notes.append(f"medians of {TIMES} looks, and of {POSTS} events in slices of 10 by turns")
    return result


def main(rows: str) -> None:
    """Look at every kind of list and detail, and send events, in a process of its own; print the rows."""
    history.fill(int(rows))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    throttles = {"operator": "100000/minute", "tenant": "100000/minute", "failed": "20/minute"}
    with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "API_THROTTLES": throttles}):
        print(json.dumps([_looks(), _posts()]))


def _client(**owner: Any) -> Client:
    _key, token = ApiKey.objects.issue(**owner)
    return Client(headers={"host": "localhost", "authorization": f"Bearer {token}"})


def _looks() -> list[Row]:
    client = _client(tenant_id=TENANT, scopes=["read"])
    return [_look(client, name, *about) for name, about in _places().items()]


def _look(client: Client, name: str, path: str, statement: str, parameters: list[Any]) -> Row:
    found, plain, queries = [], [], 0
    for _ in range(TIMES + 1):  # the first warms up
        began = time.perf_counter()
        response = client.get(ROOT + path)
        found.append((time.perf_counter() - began) * 1e3)
        assert response.status_code == 200, (path, response.content)
        began = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            cursor.fetchall()
        plain.append((time.perf_counter() - began) * 1e3)
    with CaptureQueriesContext(connection) as captured:
        client.get(ROOT + path)
        queries = len(captured.captured_queries)
    took, select = median(found[1:]), median(plain[1:])
    return {"look": name, "ms": took, "select_ms": select, "to_select": ratio(took, select), "queries": queries}


def _places() -> dict[str, tuple[str, str, list[Any]]]:
    """Return each look: its path, and the plain SELECT of the same number of rows, with its parameters."""
    application = Application.objects.get(slug="default")
    delivery = Delivery.objects.filter(tenant_id=TENANT).order_by("pk")[10]
    event = Event.objects.filter(tenant_id=TENANT).order_by("-pk")[0]
    keys = {name: ids.to_uuid(getattr(delivery, name), prefix=prefix) for name, prefix in _PREFIXES.items()}
    owner = [ids.to_uuid(application.pk, prefix="app_"), TENANT]
    of = [keys["endpoint_id"]]
    one = "SELECT * FROM django_relay_{} WHERE id = %s"
    endpoint = f"endpoints/{delivery.endpoint_id}"
    return {
        "events": ("events", EVENTS, owner),
        "events of a rare type": ("events?event_type=rare.one", EVENTS, owner),
        "deliveries": ("deliveries", HISTORY["delivery"], of),
        "deliveries, failed": ("deliveries?state=failed", HISTORY["delivery"], of),
        "deliveries answered 5xx": ("deliveries?status_class=5xx", HISTORY["delivery"], of),
        "an endpoint's deliveries": (f"{endpoint}/deliveries", HISTORY["delivery"], of),
        "an endpoint's attempts": (f"{endpoint}/attempts", HISTORY["attempt"], of),
        "an endpoint's statistics": (f"{endpoint}/stats", HOURS, of),
        "DLQ": ("dlq", HISTORY["dlqentry"], of),
        "endpoints": ("endpoints", ENDPOINTS, owner),
        "one event": (f"events/{event.pk}", one.format("event"), [ids.to_uuid(event.pk, prefix="evt_")]),
        "one delivery": (f"deliveries/{delivery.pk}", one.format("delivery"), [keys["id"]]),
        "one endpoint": (endpoint, one.format("endpoint"), of),
    }


def _posts() -> list[Row]:
    """Send events one by one in each way, by turns."""
    client = _client(operator=True, scopes=["events:send"])
    given = {"event_type": EVENT_TYPE, "tenant_id": "nobody's", "data": DATA}
    many = {"events": [given] * BATCH}
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "emit": (partial(_emit, given), 1),
        "emit, on record": (partial(_emit, given, caller=access.SYSTEM), 1),
        "POST events": (partial(_post, client, "events", given), 1),
        "POST events/batch": (partial(_post, client, "events/batch", many), BATCH),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(POSTS // 10 + 1):  # the first slice warms up
        for name, (send, events) in ways.items():
            times = 10 if events == 1 else 1
            began = time.perf_counter()
            for _ in range(times):
                send()
            if number:
                found[name].append((time.perf_counter() - began) * 1e6 / times / events)
    plain = median(found["emit"])
    return [
        {"store": name, "us": median(values), "to_emit": ratio(median(values), plain)} for name, values in found.items()
    ]


def _emit(given: dict[str, Any], *, caller: access.Caller | None = None) -> None:
    with transaction.atomic():
        event = emit(**given)
        if caller is not None and event is not None:
            audit.record("event.sent", event, caller=caller, application="default")


def _post(client: Client, path: str, body: dict[str, Any]) -> None:
    response = client.post(ROOT + path, body, content_type="application/json")
    assert response.status_code == 201, response.content
