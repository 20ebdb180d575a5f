"""Emit: what it costs the caller, in one process, against a plain ``save()`` of the same row.

Each form stores one event in a transaction of its own, COMMIT (with fsync) and what follows it included: a raw INSERT,
a ``save()`` of an Event made by hand, ``emit`` that wakes nobody, ``emit`` that wakes the workers (the NOTIFY on
PostgreSQL), and ``emit_many`` of 1,000, per event. Rounds are interleaved in slices of 50. The statements of one warm
``emit`` before its COMMIT are counted.
"""

import functools
import json
import time
from collections.abc import Callable
from contextlib import nullcontext

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils import uuid7

from benchmarks import engine
from benchmarks.report import Result, condense, progress, ratio
from benchmarks.stage import Stage
from benchmarks.webhooks import DATA, EVENT_TYPE
from django_relay import emit, emit_many
from django_relay.models import Application, Event

MANY = 1_000
SLICE = 50


def run(stage: Stage, scale: str) -> Result:
    result = Result("emit")
    slices = 4 if scale == "quick" else 20
    application = Application.objects.get(slug="default")
    forms: dict[str, tuple[Callable[[], None], int]] = {
        "INSERT by psycopg": (_insert(application), 1),
        "save() of an Event": (functools.partial(_save, application), 1),
        "emit, nobody woken": (_emit, 1),
        "emit": (_emit, 1),
        f"emit_many of {MANY:,}": (_emit_many, MANY),
    }
    rows = []
    for number in range(slices + 1):  # the first warms up
        progress(f"emit: slice {number}/{slices}")
        for name, (form, each) in forms.items():
            times = SLICE if each == 1 else 1
            with engine.asleep() if "nobody" in name else nullcontext():
                began, burnt = time.monotonic(), time.process_time()
                for _ in range(times):
                    form()
                wall, cpu = time.monotonic() - began, time.process_time() - burnt
            if number:
                rows.append({"form": name, "us": wall * 1e6 / times / each, "cpu_us": cpu * 1e6 / times / each})
    result.rows = condense(rows, ["form"])
    by_form = {row["form"]: row for row in result.rows}
    plain = by_form["save() of an Event"]
    for row in result.rows:
        row["to_save"] = ratio(row["us"], plain["us"])
        row["cpu_to_save"] = ratio(row["cpu_us"], plain["cpu_us"])
    statements = _statements()
    result.notes += [f"medians of {slices} slices of {SLICE}; wall and CPU of this process", *statements]
    inserts = sum(statement.startswith("INSERT") for statement in statements)
    result.at_most("emit / save()", ratio(by_form["emit"]["us"], plain["us"]), 1.5)
    result.reported("emit / save(), CPU", ratio(by_form["emit"]["cpu_us"], plain["cpu_us"]), "x")
    result.at_least("emit / emit_many, per event", ratio(by_form["emit"]["us"], result.rows[-1]["us"]), 10)
    others = abs(inserts - 1) + len(statements) - inserts
    result.at_most("statements before commit beside one INSERT", others, 0, "")
    return result


def _statements() -> list[str]:
    """Return the beginnings of the statements of one warm emit before its COMMIT."""
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        emit(EVENT_TYPE, DATA, tenant_id="acme")
    found = [query["sql"] for query in captured.captured_queries]
    end = found.index("COMMIT") if "COMMIT" in found else len(found)
    return [" ".join(statement.split())[:60] + " …" for statement in found[:end] if statement != "BEGIN"]


def _insert(application: Application) -> Callable[[], None]:
    """Return a function that inserts one row with its values ready: nothing but the driver and the database."""
    fields = Event._meta.concrete_fields
    columns = ", ".join(field.column for field in fields)
    statement = f"INSERT INTO {Event._meta.db_table} ({columns}) VALUES ({', '.join(['%s'] * len(fields))})"
    event = _event(application)
    values = [field.get_db_prep_save(field.pre_save(event, True), connection) for field in fields]
    place = fields.index(Event._meta.pk)

    def insert() -> None:
        values[place] = str(uuid7())
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.cursor.execute(statement, values)

    return insert


def _event(application: Application) -> Event:
    now = timezone.now()
    return Event(
        application=application,
        tenant_id="acme",
        event_type=EVENT_TYPE,
        payload=json.dumps(DATA),
        payload_hash="",
        occurred_at=now,
        created_at=now,
    )


def _save(application: Application) -> None:
    with transaction.atomic():
        _event(application).save(force_insert=True)


def _emit() -> None:
    with transaction.atomic():
        emit(EVENT_TYPE, DATA, tenant_id="acme")


def _emit_many() -> None:
    with transaction.atomic():
        emit_many({"event_type": EVENT_TYPE, "data": DATA, "tenant_id": "acme"} for _ in range(MANY))
