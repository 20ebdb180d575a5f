"""The admin's pages over a million deliveries (``--quick``: 100,000): how long each takes, and how many queries.

Timed is the whole request, by Django's test client in a process of its own, after one look to warm up; rows come from
the same statements as those of the tests that look at the plans.
"""

import json
import time
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from benchmarks.report import Result, median, progress
from benchmarks.stage import Stage
from django_relay import ids
from django_relay.models import Application, Delivery, Endpoint, EndpointHour, Event
from django_relay.models.endpoint_hour import hour_of
from tests.models.test_list_plans import FILL

ENDPOINTS, TIMES, HOURS = 60, 5, 168
MOST_MS = 250


def run(stage: Stage, scale: str) -> Result:
    result = Result("admin")
    rows = 100_000 if scale == "quick" else 1_000_000
    progress(f"admin: {rows:,} deliveries")
    stage.reset()
    result.rows += json.loads(stage.child("admin", str(rows)).output(1_200))
    slowest = max(result.rows, key=lambda row: row["ms"])
    result.at_most(f"slowest page ({slowest['page']})", slowest["ms"], MOST_MS, "ms")
    result.at_most("most queries of a page", max(row["queries"] for row in result.rows), 20, "")
    return result


def main(rows: str) -> None:
    """Look at every kind of page in a process of its own, and print the rows."""
    fill(int(rows))
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create(username="bench", is_staff=True, is_superuser=True))
    print(json.dumps([_timed(client, name, path) for name, path in _pages().items()]))


def _timed(client: Client, name: str, path: str) -> dict[str, object]:
    found, queries = [], 0
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        with CaptureQueriesContext(connection) as captured:
            response = client.get(f"/admin/django_relay/{path}")
        found.append((time.perf_counter() - began) * 1e3)
        queries = len(captured.captured_queries)
        assert response.status_code == 200, (path, response.status_code)
    return {"page": name, "ms": median(found[1:]), "queries": queries}


def _pages() -> dict[str, str]:
    delivery = Delivery.objects.order_by("pk")[10]
    return {
        "dashboard": "",
        "dashboard, 7 days": "?span=7d",
        "tenants": "endpoint/tenants/",
        "deliveries": "delivery/",
        "deliveries, failed": "delivery/?state=failed",
        "deliveries of a tenant": "delivery/?q=tenant7",
        "deliveries of an endpoint, pending": f"delivery/?state=pending&q={delivery.endpoint_id}",
        "attempts": "attempt/",
        "attempts of a tenant, 5xx": "attempt/?status=5xx&q=tenant7",
        "events": "event/",
        "events of a key": "event/?q=order-7",
        "DLQ, open": "dlqentry/?state=open",
        "audit": "auditentry/",
        "one event": f"event/{delivery.event_id}/change/",
        "one endpoint": f"endpoint/{delivery.endpoint_id}/change/",
    }


def fill(rows: int) -> None:
    """Store so many deliveries of 60 endpoints, most of them of one tenant, with events, attempts and hours."""
    for number in range(ENDPOINTS):
        tenant = "tenant7" if number < 50 else f"tenant{number}"
        Endpoint.objects.register(tenant_id=tenant, url=f"https://{number}.example/", event_types=["*"])
    application = Application.objects.get(slug="default")
    values: dict[str, Any] = {
        "application": ids.to_uuid(application.pk, prefix="app_"),
        "rows": rows,
        "endpoints": ENDPOINTS,
    }
    with connection.cursor() as cursor:
        for statement in filter(str.strip, FILL.split(";\n")):
            cursor.execute(statement, values)
        hour = hour_of(timezone.now())
        EndpointHour.objects.bulk_create(
            EndpointHour(endpoint=one, hour=hour - timedelta(hours=back), delivered=300, within_50_ms=300)
            for one in Endpoint.objects.all()
            for back in range(HOURS)
        )
        cursor.execute("ANALYZE")
    assert Event.objects.count() == rows
