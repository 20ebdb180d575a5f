"""Rows to begin with: endpoints by their public door, events and deliveries by the million with ``INSERT … SELECT``.

Each bulk insert copies one row that the models made, so that it has whatever columns the tables have.
"""

from collections.abc import Mapping, Sequence

from django.db import connection, models, transaction

from benchmarks.stage import Stage, wait_until
from benchmarks.webhooks import DATA, EVENT_TYPE
from django_relay import emit
from django_relay.models import Delivery, Endpoint, Event

_NEW_ID = """(lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
    || lpad(to_hex(g >> 20), 3, '0') || '8' || lpad(to_hex(g & 1048575), 5, '0')
    || substr(md5(random()::text || g), 1, 10))::uuid"""
"""A UUID version 7 for row ``g``: it grows, as the package's own do."""


def endpoints(stage: Stage, count: int, *, prefix: str = "good", **choices) -> list[Endpoint]:
    """Register ``count`` endpoints, each of a tenant of its own, at the receiver's paths ``/prefix/n``."""
    with transaction.atomic():
        return [
            Endpoint.objects.register(
                tenant_id=f"{prefix}-{number}",
                url=stage.receiver.url(f"/{prefix}/{number}"),
                event_types=["*"],
                **choices,
            )
            for number in range(count)
        ]


def path(endpoint: Endpoint) -> str:
    return "/" + endpoint.url.split("/", 3)[3]


def secrets(registered: Sequence[Endpoint]) -> dict[str, str]:
    """Return the endpoints' signing secrets by path, for the receiver to judge by."""
    return {path(endpoint): endpoint.secrets[0] for endpoint in registered}


def fill(registered: Sequence[Endpoint], count: int) -> None:
    """Store ``count`` events, fanned out to the endpoints in turn: one due delivery each, due since microseconds."""
    with transaction.atomic():
        first = registered[0]
        event = emit(EVENT_TYPE, DATA, tenant_id=first.tenant_id)
        Event.objects.filter(pk=event.pk).update(
            status=Event.Status.DISPATCHED, dispatched_at=event.created_at, matched_count=1
        )
        delivery = Delivery.objects.create(
            event=event,
            endpoint=first,
            tenant_id=first.tenant_id,
            max_attempts=1 + len(first.schedule),
            next_attempt_at=event.created_at,
        )
        with connection.cursor() as cursor:
            cursor.execute(
                f"""CREATE TEMPORARY TABLE bench_new ON COMMIT DROP AS
                SELECT g, {_NEW_ID} AS event_id, {_NEW_ID} AS delivery_id, p.id AS endpoint_id, p.tenant_id
                FROM generate_series(1, %s) AS g
                JOIN unnest(%s::uuid[], %s::text[]) WITH ORDINALITY AS p(id, tenant_id, place)
                    ON p.place = 1 + g %% %s
                ORDER BY g""",
                [
                    count,
                    [Endpoint._meta.pk.get_prep_value(endpoint.pk) for endpoint in registered],
                    [endpoint.tenant_id for endpoint in registered],
                    len(registered),
                ],
            )
            _copy(cursor, Event, event.pk, {"id": "n.event_id", "tenant_id": "n.tenant_id"})
            _copy(
                cursor,
                Delivery,
                delivery.pk,
                {
                    "id": "n.delivery_id",
                    "event_id": "n.event_id",
                    "endpoint_id": "n.endpoint_id",
                    "tenant_id": "n.tenant_id",
                    "next_attempt_at": f"t.next_attempt_at - ({count} - n.g) * interval '1 microsecond'",
                },
            )
            cursor.execute("DROP TABLE bench_new")
        Delivery.objects.filter(pk=delivery.pk).delete()
        Event.objects.filter(pk=event.pk).delete()


def _copy(cursor, model: type[models.Model], template: str, changed: Mapping[str, str]) -> None:
    columns = [str(field.column) for field in model._meta.concrete_fields]
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(changed.get(column, f't."{column}"') for column in columns)
    cursor.execute(
        f"""INSERT INTO {model._meta.db_table} ({names})
        SELECT {values} FROM bench_new n CROSS JOIN {model._meta.db_table} t WHERE t.id = %s ORDER BY n.g""",
        [model._meta.pk.get_prep_value(template)],
    )


def copies_of_one_endpoint(tenant_id: str, count: int) -> None:
    """Store ``count`` endpoints of one tenant. They can be fanned out to but not sent to: their secrets are missing."""
    with transaction.atomic(), connection.cursor() as cursor:
        first = Endpoint.objects.register(tenant_id=tenant_id, url="http://127.0.0.1:65000/", event_types=["*"])
        cursor.execute(
            f"""CREATE TEMPORARY TABLE bench_new ON COMMIT DROP AS
            SELECT g, {_NEW_ID} AS id FROM generate_series(2, %s) AS g""",
            [count],
        )
        _copy(cursor, Endpoint, first.pk, {"id": "n.id"})
        cursor.execute("DROP TABLE bench_new")
        cursor.execute(f"ANALYZE {Endpoint._meta.db_table}")


def analyze() -> None:
    """Let the planner know the tables, as autovacuum would by and by; may be in a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {Event._meta.db_table}, {Delivery._meta.db_table}")


def wait_until_settled(seconds: float) -> None:
    """Return once no event is to be fanned out and no delivery is pending."""
    wait_until(
        lambda: not Delivery.objects.pending().exists() and not Event.objects.pending().exists(),
        seconds,
        "everything is settled",
    )
