"""Model changes: what a ``save()`` of a declared model costs, against a plain one and one ``emit`` of the same data.

Twins of the same table: one undeclared, one that declares ``created`` and ``updated``. Measured are ``create()`` and a
``save()`` that changes a field, of a row loaded once, in autocommit (COMMIT with fsync) and in an open transaction;
plain beside an explicit ``emit`` in the same transaction; and loading rows, which a declaration makes remember. Rounds
are interleaved in slices of 50. The statements of each form are counted.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count

from django.apps import apps
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext

from benchmarks.report import Result, condense, progress, ratio
from benchmarks.stage import Stage
from django_relay import emit
from django_relay.sources.model_signals import RelayQuerySet, register

SLICE = 50
_NUMBERS = count(1)
_Form = Callable[[], object]


def run(stage: Stage, scale: str) -> Result:
    result = Result("model_changes")
    slices = 6 if scale == "quick" else 30
    with _tables() as (plain, declared):
        forms = _forms(plain, declared)
        rows = []
        for number in range(slices + 1):  # the first warms up
            progress(f"model_changes: slice {number}/{slices}")
            for (what, how), form in forms.items():
                for where, around in (("autocommit", nullcontext), ("transaction", _undone)):
                    wall, cpu = _measure(form, around)
                    if number:
                        rows.append({"what": what, "model": how, "in": where, "us": wall, "cpu_us": cpu})
            for how, model in (("plain", plain), ("declared", declared)):
                wall, cpu = _measure(lambda model=model: list(model.objects.all()[:1_000]), nullcontext, 1)
                if number:
                    rows.append({"what": "load 1,000", "model": how, "in": "", "us": wall / 1e3, "cpu_us": cpu / 1e3})
        result.rows = condense(rows, ["what", "model", "in"])
        for row in result.rows:
            row["statements"] = _statements(forms.get((row["what"], row["model"])), row["in"])
    _judge(result)
    result.notes.append(f"medians of {slices} slices of {SLICE}; wall and CPU of this process; loading is per row")
    return result


def _judge(result: Result) -> None:
    found = {(row["what"], row["model"], row["in"]): row for row in result.rows}
    for what in ("create", "save"):
        for where in ("autocommit", "transaction"):
            declared, emitting = found[what, "declared", where], found[what, "plain + emit", where]
            name = f"declared / (plain + emit), {what} in {'autocommit' if where == 'autocommit' else 'a transaction'}"
            result.at_most(name, ratio(declared["us"], emitting["us"]), 1.5)
            result.reported(f"{name}, CPU", ratio(declared["cpu_us"], emitting["cpu_us"]), "x")
    twin = found["save", "plain", "autocommit"]["statements"]
    result.at_most("statements of a save of an undeclared model", twin, 1, "")
    result.reported("declared / plain, loading a row", ratio(
        found["load 1,000", "declared", ""]["us"], found["load 1,000", "plain", ""]["us"]), "x")  # fmt: skip


def _forms(plain: type[models.Model], declared: type[models.Model]) -> dict[tuple[str, str], _Form]:
    rows = {model: model.objects.create(number="0") for model in (plain, declared)}

    def create(model: type[models.Model]) -> models.Model:
        return model.objects.create(number=f"n{next(_NUMBERS)}")

    def save(model: type[models.Model]) -> models.Model:
        row = rows[model]
        row.amount = next(_NUMBERS)
        row.save()
        return row

    def emitting(write: Callable[[type[models.Model]], models.Model], name: str) -> _Form:
        def form() -> None:
            with transaction.atomic() if not connection.in_atomic_block else nullcontext():
                row = write(plain)
                data = {"id": row.pk, "number": row.number, "amount": row.amount, "note": row.note}
                if name == "twin.updated":
                    data |= {"changed": ["amount"], "previous": {"amount": 1}}
                emit(name, data, tenant_id="acme", subject=f"benchmarks.Plain:{row.pk}")

        return form

    return {
        ("create", "plain"): lambda: create(plain),
        ("create", "plain + emit"): emitting(create, "twin.created"),
        ("create", "declared"): lambda: create(declared),
        ("save", "plain"): lambda: save(plain),
        ("save", "plain + emit"): emitting(save, "twin.updated"),
        ("save", "declared"): lambda: save(declared),
    }


def _measure(form: _Form, around: Callable, times: int = SLICE) -> tuple[float, float]:
    with around():
        began, burnt = time.monotonic(), time.process_time()
        for _ in range(times):
            form()
        wall, cpu = time.monotonic() - began, time.process_time() - burnt
    return wall * 1e6 / times, cpu * 1e6 / times


def _statements(form: _Form | None, where: str) -> int | None:
    if form is None:
        return None
    with _undone() if where == "transaction" else nullcontext(), CaptureQueriesContext(connection) as captured:
        form()
    return len(captured)


@contextmanager
def _undone() -> Iterator[None]:
    """Open a transaction and roll it back; each slice so begins with nothing remembered."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@contextmanager
def _tables() -> Iterator[tuple[type[models.Model], type[models.Model]]]:
    """Make the twins, and drop them at the end."""
    made = []
    for name in ("Plain", "Declared"):
        fields = {
            "number": models.CharField(max_length=40),
            "amount": models.IntegerField(default=1),
            "note": models.TextField(default="x" * 850),
            "objects": RelayQuerySet.as_manager() if name == "Declared" else models.Manager(),
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "benchmarks"}),
        }
        known = apps.all_models["benchmarks"].get(name.lower())
        made.append(known or type(name, (models.Model,), fields))
    plain, declared = made
    register(declared, "twin", tenant="number", created=True, updated=True, when=_always)
    with connection.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    try:
        yield plain, declared
    finally:
        with connection.schema_editor() as editor:
            for model in made:
                editor.delete_model(model)


def _always(row: models.Model) -> bool:
    return True
