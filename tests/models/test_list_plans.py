"""What a page costs does not depend on how many rows there are: the plans, over 400,000 deliveries."""

import re
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_relay import ids
from django_relay.models import Application, Delivery, Endpoint, Event, explanation, lists, statistics
from django_relay.models.lists import Filters, Owner
from django_relay.models.paging import Wanted
from tests.factories import USING, make_endpoint

pytestmark = [pytest.mark.django_db, pytest.mark.process]

ROWS = 400_000
LIMIT = 50
MOST = 10 * LIMIT

FILL = """
INSERT INTO django_relay_event (id, application_id, tenant_id, event_type, schema_version, payload, attributes,
    idempotency_key, payload_hash, occurred_at, created_at, status, traceparent, subject, origin)
SELECT lpad(to_hex(n), 32, '0')::uuid, %(application)s, 'tenant' || n %% 20,
    CASE WHEN n %% 1000 = 0 THEN 'rare.one' ELSE 'invoice.paid' END, '', '{}', '{}', '', '',
    now() - n * interval '1 second', now() - n * interval '1 second', 'dispatched', '', '', ''
FROM generate_series(1, %(rows)s) n;
INSERT INTO django_relay_delivery (id, event_id, endpoint_id, tenant_id, state, attempt_count, max_attempts,
    next_attempt_at, last_error, last_error_kind, last_response, last_status_code, completed_at, created_at, updated_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid, e.id, e.tenant_id,
    CASE WHEN n %% 5000 < 20 THEN 'failed' ELSE 'delivered' END, 1, 10, now(), '', '', '', 200, now(), now(), now()
FROM generate_series(1, %(rows)s) n
JOIN (SELECT id, tenant_id, row_number() OVER (ORDER BY id) AS place FROM django_relay_endpoint) e
    ON e.place = 1 + n %% %(endpoints)s;
INSERT INTO django_relay_attempt (id, delivery_id, endpoint_id, number, trigger, started_at, duration_ms, status_code,
    error_kind, error, request_headers, response_headers, response_body, remote_address)
SELECT d.id, d.id, d.endpoint_id, 1, 'automatic', now(), 5, CASE WHEN d.state = 'failed' THEN 500 ELSE 200 END,
    '', '', '[]', '[]', '', ''
FROM django_relay_delivery d;
"""

LISTS = {
    "a tenant's deliveries": (lists.deliveries, {}),
    "that failed": (lists.deliveries, {"state": "failed"}),
    "of a rare type": (lists.deliveries, {"event_type": "rare.one"}),
    "of a status class": (lists.deliveries, {"status_class": "5xx"}),
    "an endpoint's deliveries": (lists.deliveries, {"endpoint_id": "one"}),
    "that failed at an endpoint": (lists.deliveries, {"endpoint_id": "one", "state": "failed"}),
    "that wait at an endpoint": (lists.deliveries, {"endpoint_id": "one", "state": "pending"}),
    "an endpoint's attempts": (lists.attempts, {"endpoint_id": "one"}),
    "a tenant's attempts of a status class": (lists.attempts, {"status_class": "5xx"}),
    "a tenant's events": (lists.events, {}),
    "a tenant's events of a rare type": (lists.events, {"event_type": "rare.one"}),
    "a tenant's open DLQ entries": (lists.dlq_entries, {"state": "open"}),
}


def fill(cursor):
    application = Application.objects.get(slug="default")
    for number in range(60):
        tenant = "tenant7" if number < 50 else f"tenant{number}"
        make_endpoint(tenant_id=tenant, url=f"https://{number}.example/")
    values = {"application": ids.to_uuid(application.pk, prefix="app_"), "rows": ROWS, "endpoints": 60}
    for statement in FILL.split(";\n"):
        if statement.strip():
            cursor.execute(statement, values)
    return Owner(application.pk, "tenant7")


@contextmanager
def statements():
    """Give a list that holds, after the block, the SELECTs made in it."""
    made = []
    with CaptureQueriesContext(connection) as captured:
        yield made
    made += [query["sql"] for query in captured.captured_queries if query["sql"].lstrip("(").startswith("SELECT")]


def rows_read(sql):
    """Return how many rows the scans of a statement's plan read, those they threw away included."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {sql}")
        plan = [row[0] for row in cursor.fetchall()]
    read = 0.0
    for number, line in enumerate(plan):
        scan = re.search(r"Scan.*actual time=.* rows=([\d.]+) loops=(\d+)", line)
        if scan and "Subquery Scan" not in line and "Bitmap Heap" not in line:
            thrown = re.search(r"Rows Removed by Filter: (\d+)", " ".join(plan[number + 1 : number + 4]))
            read += (float(scan[1]) + (int(thrown[1]) if thrown else 0)) * int(scan[2])
    return read, "\n".join(plan)


class TestOnPostgres:
    def test_a_page_reads_at_most_ten_times_its_rows(self, backend):
        if backend != "postgres":
            pytest.skip("SQLite's plans are looked at below")
        with connection.cursor() as cursor:
            owner = fill(cursor)
            one = Endpoint.objects.filter(tenant_id="tenant7").first()
            for analyzed in (False, True):
                if analyzed:
                    for table in ("event", "delivery", "attempt", "endpoint"):
                        cursor.execute(f"ANALYZE django_relay_{table}")
                for name, (list_of, filters) in LISTS.items():
                    narrowed = Filters(**{**filters, **({"endpoint_id": one.pk} if "endpoint_id" in filters else {})})
                    first = list_of(owner, narrowed, wanted=Wanted(LIMIT), using=USING)
                    for cursor_text in filter(None, ["-", first.next_cursor]):
                        wanted = Wanted(LIMIT, None if cursor_text == "-" else cursor_text)
                        with statements() as made:
                            found = list_of(owner, narrowed, wanted=wanted, using=USING)
                            list(found.data)
                        for sql in made:
                            read, plan = rows_read(sql)
                            assert read <= MOST, f"{name} (analyzed: {analyzed}) reads {read} rows:\n{sql}\n{plan}"
                found = list(Event.objects.filter(tenant_id="tenant7").order_by("pk")[ROWS // 50 :][:LIMIT])
                with statements() as made:
                    explanation.explain(found[0], using=USING)
                    list(Delivery.objects.of_events([event.pk for event in found]))
                    lists.attempts(owner, Filters(event_id=found[0].pk), wanted=Wanted(LIMIT), using=USING)
                for sql in made:
                    read, plan = rows_read(sql)
                    assert read <= MOST, f"of an event (analyzed: {analyzed}) reads {read} rows:\n{sql}\n{plan}"
            assert Event.objects.count() == ROWS


class TestOnSQLite:
    @pytest.mark.parametrize("name", LISTS)
    def test_no_page_scans_a_table(self, backend, name):
        if backend != "sqlite":
            pytest.skip("PostgreSQL's plans are measured above")
        one = make_endpoint(tenant_id="tenant7")
        make_endpoint(tenant_id="tenant7")
        list_of, filters = LISTS[name]
        narrowed = Filters(**{**filters, **({"endpoint_id": one.pk} if "endpoint_id" in filters else {})})
        owner = Owner(Application.objects.get(slug="default").pk, "tenant7")
        with statements() as made:
            list_of(owner, narrowed, wanted=Wanted(LIMIT), using=USING)
        assert made
        for sql in made:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
                plan = [row[-1] for row in cursor.fetchall()]
            assert not [line for line in plan if line.startswith("SCAN") and line != "SCAN CONSTANT ROW"], (sql, plan)


def test_statistics_count_no_history(django_assert_num_queries):
    """They read hours, and of what waits no more than they show."""
    period = statistics.period(now=make_endpoint().created_at)
    with CaptureQueriesContext(connection) as captured:
        statistics.of_all(period, using=USING)
    (query,) = captured.captured_queries
    assert "django_relay_endpointhour" in query["sql"]
    assert "django_relay_delivery" not in query["sql"]
