"""What a page of the admin costs does not depend on how many rows there are: the plans, over 400,000 deliveries."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_relay.admin.lists import PER_PAGE
from django_relay.models import Delivery, Endpoint, EndpointHour, Event, statistics
from django_relay.models.endpoint_hour import hour_of
from tests.models.test_list_plans import ROWS, fill, rows_read, statements

pytestmark = [pytest.mark.django_db, pytest.mark.process]

BASE = "/admin/django_relay/"
MOST = 10 * PER_PAGE
HISTORY = ("_event", "_delivery", "_attempt", "_dlqentry", "_auditentry")

MORE = """
UPDATE django_relay_delivery SET state = 'pending', completed_at = NULL
    WHERE state = 'delivered' AND right(id::text, 1) = '0' AND left(right(id::text, 2), 1) < '4';
INSERT INTO django_relay_dlqentry (id, delivery_id, event_id, endpoint_id, event_type, tenant_id, url, error,
    error_kind, attempt_count, last_status_code, failed_at, replay_count, created_at, updated_at)
SELECT d.id, d.id, d.event_id, d.endpoint_id, 'invoice.paid', d.tenant_id, 'https://a.example/', '', '', 10, 500, now(),
    0, now(), now() FROM django_relay_delivery d WHERE d.state = 'failed';
INSERT INTO django_relay_auditentry (id, actor, action, object_type, object_id, application, tenant_id, changes, at)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'staff:1', 'endpoint.tested', 'endpoint', 'ep_' || n % 900, 'default',
    'tenant' || n % 20, '{}', now() - n * interval '1 second' FROM generate_series(1, 100000) n;
"""


def pages(one, event, delivery):
    """Return the lists that are looked at: plain, searched, narrowed, and the pages that are no list."""
    for name in ("delivery", "attempt", "event", "dlqentry", "auditentry"):
        yield f"{name}/"
        for term in ("tenant7", one.pk, event.pk, delivery.pk, "order-7"):
            yield f"{name}/?q={term}"
        yield f"{name}/?span=24h"
    for state in Delivery.State.values:
        yield f"delivery/?state={state}"
        yield f"delivery/?state={state}&q={one.pk}"
    yield "delivery/?status=5xx"
    yield "attempt/?status=5xx&q=tenant7"
    yield "event/?status=no_match"
    for state in ("open", "replayed", "discarded"):
        yield f"dlqentry/?state={state}"
        yield f"dlqentry/?state={state}&q=tenant7"
    yield "auditentry/?action=api_key.created"
    for name in ("endpoint", "endpointhour", "replay", "portalsession", "apikey", "publishfailure", "signingsecret"):
        yield f"{name}/"
    yield from ("endpoint/?state=failing", "endpoint/?state=disabled", "endpoint/?q=tenant7")
    yield from (f"event/{event.pk}/change/", f"delivery/{delivery.pk}/change/")


def fill_all():
    """Store the history, and the hours that the dashboard adds up."""
    with connection.cursor() as cursor:
        fill(cursor)
        for statement in MORE.split(";\n"):
            if statement.strip():
                cursor.execute(statement)
        hour = hour_of(timezone.now())
        EndpointHour.objects.bulk_create(
            EndpointHour(endpoint=one, hour=hour - timedelta(hours=back), delivered=300, within_50_ms=300)
            for one in Endpoint.objects.all()
            for back in range(200)
        )
        cursor.execute("ANALYZE")


def looked_at(client, path):
    with statements() as made:
        response = client.get(BASE + path)
        assert response.status_code == 200, (path, response.status_code)
    return response, [
        sql for sql in made if any(f'django_relay{name}"' in sql or f"django_relay{name} " in sql for name in HISTORY)
    ]


def test_a_page_reads_at_most_ten_times_its_rows_and_the_dashboard_no_history(backend, boss, client):
    if backend != "postgres":
        pytest.skip("SQLite has no count of the rows that a plan reads; test_lists.py looks at its statements")
    fill_all()
    one = Endpoint.objects.filter(tenant_id="tenant7").order_by("pk")[0]
    event, delivery = Event.objects.order_by("pk")[10], Delivery.objects.order_by("pk")[10]
    wrong = []
    for path in pages(one, event, delivery):
        response, made = looked_at(client, path)
        changelist = response.context.get("cl")
        if changelist is not None and changelist.older:
            made += looked_at(client, path.partition("?")[0] + changelist.older)[1]
        assert len(made) <= 12, (path, made)
        for sql in made:
            read, plan = rows_read(sql)
            if read > MOST:
                wrong.append(f"{path} reads {read} rows:\n{sql[:1500]}\n{plan[:3000]}")
    assert not wrong, "\n\n".join(wrong)
    assert Event.objects.count() == ROWS
    look_at_the_pages_that_are_no_lists(client)


def look_at_the_pages_that_are_no_lists(client):
    hours = EndpointHour.objects.filter(hour__gt=timezone.now() - timedelta(hours=25)).count()
    for path in ("", "endpoint/tenants/"):
        with statements() as made:
            assert client.get(BASE + path).status_code == 200
        for sql in made:
            read, plan = rows_read(sql)
            # What waits is counted as far as it is shown; outcomes are the hours' sums.
            most = 3 * hours if "endpointhour" in sql else statistics.COUNTED + 1 if "COUNT(" in sql else MOST
            assert read <= most, f"{path} reads {read} rows:\n{sql}\n{plan}"
