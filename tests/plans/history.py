"""A month of history, written by SQL in one go: so many events and deliveries, each attempted once. PostgreSQL only.

Half of it is of the tenant ``tenant7`` with its 50 endpoints, a tenth of ``crowd``, which has more endpoints than lists
are merged of, and the rest of ten tenants with one each. One in fifty failed; some wait.
"""

import time

from django.db import connection, transaction

from django_relay import ids
from django_relay.models import Application, Endpoint

MILLION = 1_000_000
MONTH_MS = 30 * 24 * 3_600 * 1_000
HOURS = 200
NOT_WANTED = 500
"""How many events, the oldest, no endpoint wanted."""
ENDPOINTS = {"tenant7": 50, **{f"tenant{number}": 1 for number in range(50, 60)}, "crowd": 120}
_TABLES = [
    f"django_relay_{name}" for name in ("event", "delivery", "attempt", "dlqentry", "auditentry", "endpointhour")
]

_EVENT_ID, _DELIVERY_ID, _RESENT_ID = (
    # UUIDv7, as all ids of ours, so that they say when a row was made.
    f"(lpad(to_hex(ms), 12, '0') || '7000{kind}' || lpad(to_hex(n), 15, '0'))::uuid" for kind in "89a"
)  # fmt: skip
_NUMBERED = """
(SELECT n, ms, to_timestamp(ms / 1000.0) AS at,
    CASE WHEN n %% 5000 < 100 THEN 'failed' WHEN n %% 64 = 33 THEN 'pending' ELSE 'delivered' END AS state,
    CASE WHEN n %% 10 < 5 THEN 1 + (n / 10) %% 50 WHEN n %% 10 < 9 THEN 51 + (n / 10) %% 10
        ELSE 61 + (n / 10) %% 120 END AS place
FROM (SELECT n, %(now_ms)s - (%(rows)s - n) * %(step_ms)s::bigint AS ms
    FROM generate_series(1, %(rows)s) n) AS counted) AS numbered
JOIN unnest(%(endpoints)s::uuid[], %(tenants)s::text[]) WITH ORDINALITY AS e (id, tenant_id, number)
    ON number = place"""
_DELIVERY = """
INSERT INTO django_relay_delivery (id, replay_of_id, event_id, endpoint_id, tenant_id, state, attempt_count,
    max_attempts, next_attempt_at, last_error, last_error_kind, last_response, last_status_code, completed_at,
    created_at, updated_at)"""

_FILL = (
    f"""
INSERT INTO django_relay_event (id, application_id, tenant_id, event_type, schema_version, payload, attributes,
    idempotency_key, payload_hash, occurred_at, created_at, status, dispatched_at, matched_count, traceparent, subject,
    origin)
SELECT {_EVENT_ID}, %(application)s, tenant_id, CASE WHEN n %% 1000 = 0 THEN 'rare.one' ELSE 'invoice.paid' END, '',
    '{{}}', '{{}}', CASE WHEN n %% 10 = 3 THEN 'order-' || n ELSE '' END, '', at, at,
    CASE WHEN n > {NOT_WANTED} THEN 'dispatched' ELSE 'no_match' END, at, CASE WHEN n > {NOT_WANTED} THEN 1 ELSE 0 END, '', '', ''
FROM {_NUMBERED}""",
    f"""{_DELIVERY}
SELECT {_DELIVERY_ID}, NULL::uuid, {_EVENT_ID}, id, tenant_id, state, 1, 10, at, '', '', '',
    CASE WHEN state = 'delivered' THEN 200 ELSE 500 END, CASE WHEN state <> 'pending' THEN at END, at, at
FROM {_NUMBERED} WHERE n > {NOT_WANTED}""",
    f"""{_DELIVERY}
SELECT {_RESENT_ID}, {_DELIVERY_ID}, {_EVENT_ID}, id, tenant_id, 'delivered', 1, 10, at, '', '', '', 200, at, at, at
FROM {_NUMBERED} WHERE n > {NOT_WANTED} AND state = 'failed' AND (n / 10) %% 4 = 0""",
    """
INSERT INTO django_relay_attempt (id, delivery_id, endpoint_id, number, trigger, started_at, duration_ms, status_code,
    error_kind, error, request_headers, response_headers, response_body, remote_address)
SELECT id, id, endpoint_id, 1, 'automatic', created_at, 5, last_status_code, '', '', '[]', '[]', '', ''
FROM django_relay_delivery""",
    f"""
INSERT INTO django_relay_dlqentry (id, delivery_id, event_id, endpoint_id, event_type, tenant_id, url, error,
    error_kind, attempt_count, last_status_code, failed_at, replay_count, replayed_at, discarded_at, created_at,
    updated_at)
SELECT {_DELIVERY_ID}, {_DELIVERY_ID}, {_EVENT_ID}, id, 'invoice.paid', tenant_id, 'https://a.example/', '', '', 10,
    500, at, 0, CASE WHEN (n / 10) %% 4 = 0 THEN at END, CASE WHEN (n / 10) %% 8 = 1 THEN at END, at, at
FROM {_NUMBERED} WHERE n > {NOT_WANTED} AND state = 'failed'""",
    f"""
INSERT INTO django_relay_auditentry (id, actor, action, object_type, object_id, application, tenant_id, changes, at)
SELECT {_EVENT_ID}, 'staff:1', 'endpoint.tested', 'endpoint', 'ep_' || place, 'default', tenant_id, '{{}}', at
FROM {_NUMBERED} WHERE n > {NOT_WANTED} AND n %% 10 = 0""",
    """
INSERT INTO django_relay_endpointhour (id, endpoint_id, hour, delivered, retried, dead_lettered, inconclusive,
    status_2xx, status_3xx, status_4xx, status_5xx, status_none, timeouts, within_25_ms, within_50_ms, within_100_ms,
    within_250_ms, within_500_ms, within_1000_ms, within_2500_ms, within_5000_ms, within_10000_ms, within_30000_ms)
SELECT gen_random_uuid(), id, date_trunc('hour', now()) - back * interval '1 hour', 300, 3, 1, 0, 300, 0, 0, 4, 0, 0,
    0, 304, 0, 0, 0, 0, 0, 0, 0, 0
FROM django_relay_endpoint, generate_series(0, %(hours)s - 1) back""",
)


def fill(rows: int = MILLION) -> None:
    """Store the history, in one transaction; what there was of it before goes.

    Indexes and constraints are taken off and made again, which is several times as fast. Nothing is analysed.
    """
    application = Application.objects.get(slug="default")
    tenants = [tenant_id for tenant_id, number in ENDPOINTS.items() for _ in range(number)]
    endpoints = [
        Endpoint(application=application, tenant_id=tenant_id, url=f"https://{number}.example/", event_types=["*"])
        for number, tenant_id in enumerate(tenants)
    ]
    Endpoint.objects.bulk_create(endpoints)
    values = {
        "application": ids.to_uuid(application.pk, prefix="app_"),
        "endpoints": [ids.to_uuid(one.pk, prefix="ep_") for one in endpoints],
        "tenants": tenants,
        "rows": rows + NOT_WANTED,
        "hours": HOURS,
        "now_ms": int(time.time() * 1_000),
        "step_ms": MONTH_MS // rows,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
        cursor.execute(f"TRUNCATE {', '.join(_TABLES)} CASCADE")
        again = _strip(cursor)
        for statement in _FILL:
            cursor.execute(statement, values)
        for statement in again:
            cursor.execute(statement)


def _strip(cursor) -> list[str]:
    """Take indexes, keys and foreign keys off the tables; return the statements that put them back."""
    cursor.execute(
        "SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = ANY(%s::text[]::regclass[]) AND contype IN ('p', 'u', 'f')",
        [_TABLES],
    )
    again = []
    for table, name, definition in cursor.fetchall():
        cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        again.append(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}')
    cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)", [_TABLES])
    for name, definition in cursor.fetchall():
        cursor.execute(f'DROP INDEX "{name}"')
        again.append(definition)
    return again
