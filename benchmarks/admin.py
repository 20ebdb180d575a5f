"""The admin's pages over a million deliveries (``--quick``: 100,000): how long each takes, and how many queries.

Timed is the whole request, by Django's test client in a process of its own, after one look to warm up; rows come from
the same statements as those of the tests that look at the plans.
"""

import json
import time

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.report import Result, median, progress
from benchmarks.stage import Stage
from django_relay.models import Delivery
from tests.plans import history

TIMES = 5
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
    history.fill(int(rows))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
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
        "events of a key": "event/?q=order-13",
        "DLQ, open": "dlqentry/?state=open",
        "audit": "auditentry/",
        "one event": f"event/{delivery.event_id}/change/",
        "one endpoint": f"endpoint/{delivery.endpoint_id}/change/",
    }
