"""What is told of Django's tasks that run in this process, in each framework that is installed."""

import sys
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from django.utils.module_loading import import_string

from django_relay import context
from django_relay.models import Event, JobRun
from django_relay.pipeline import upkeep
from django_relay.sources import django_tasks as source
from tests.factories import USING
from tests.sources.hearing import job_settings, told

pytestmark = pytest.mark.django_db

RAN = ["job.enqueued", "job.started", "job.completed"]
FRAMEWORKS = [name for name in source.FRAMEWORKS if find_spec(name)]
seen: list = []


def fine(word=""):
    seen.append((context.current_tenant(), context.current_origin()))


def broken():
    raise LookupError("no such thing:\n  really")


async def waiting():
    seen.append((context.current_tenant(), context.current_origin()))


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    seen.clear()
    with job_settings():
        source.connect()
        yield request.param
        for name in FRAMEWORKS:
            signals = import_module(f"{name}.signals")
            signals.task_enqueued.disconnect(source._enqueued)
            signals.task_started.disconnect(source._started)
            signals.task_finished.disconnect(source._finished)


@pytest.fixture
def enqueue(framework, monkeypatch):
    """Return a function that enqueues another; ``backend`` is one of the framework's own."""

    def do(function, *arguments, backend="immediate.ImmediateBackend", **changes):
        with override_settings(TASKS={"default": {"BACKEND": f"{framework}.backends.{backend}"}}):
            task = import_string(f"{framework}.task")(function)
            monkeypatch.setattr(sys.modules[__name__], function.__name__, task)  # as the decorator does
            task = task.using(**changes) if changes else task
            return task.enqueue(*arguments)

    return do


class TestInThisProcess:
    def test_a_task_is_told_of_and_runs_for_its_tenant(self, enqueue):
        with context.tenant("acme"), context.caused_by("order 7"):
            result = enqueue(fine)
        assert told() == RAN
        assert set(Event.objects.values_list("tenant_id", "origin")) == {("acme", "order 7")}
        assert seen == [("acme", f"job:{result.id}")]

    def test_a_coroutine_runs_for_its_tenant_too(self, enqueue):
        with context.tenant("acme"):
            result = enqueue(waiting)
        assert seen == [("acme", f"job:{result.id}")]

    def test_an_exception_is_told_of_with_its_message(self, enqueue):
        enqueue(broken)
        assert told("error")[-1] == (
            "job.failed",
            {"type": "LookupError", "message": "no such thing:\n  really"},
        )
        assert told() == ["job.enqueued", "job.started", "job.failed"]

    def test_nothing_is_told_of_what_is_suppressed(self, enqueue):
        with context.suppressed():
            enqueue(fine)
        assert told() == []
        assert len(seen) == 1

    def test_arguments_are_not_shown(self, enqueue):
        enqueue(fine, "secret")
        assert not Event.objects.filter(payload__contains="secret").exists()


class TestElsewhere:
    """The dummy backend runs nothing: a worker elsewhere does, which gets the result from the backend."""

    def run(self, result):
        object.__setattr__(result, "status", type(result.status)["RUNNING"])
        source._started(task_result=result)
        object.__setattr__(result, "status", type(result.status)["SUCCESSFUL"])
        object.__setattr__(result, "finished_at", timezone.now())
        source._finished(task_result=result)

    def test_what_was_said_is_remembered_for_the_worker(self, enqueue):
        with context.tenant("acme"):
            result = enqueue(fine, backend="dummy.DummyBackend")
        assert told() == ["job.enqueued"]
        self.run(result)
        assert told() == RAN
        assert set(Event.objects.values_list("tenant_id", flat=True)) == {"acme"}
        assert JobRun.objects.get().attempt == 1

    def test_that_it_was_suppressed_is_remembered_too(self, enqueue):
        with context.suppressed():
            result = enqueue(fine, backend="dummy.DummyBackend")
        self.run(result)
        assert told() == []

    def test_a_transaction_that_is_rolled_back_tells_of_nothing(self, enqueue):
        with transaction.atomic(USING):
            enqueue(fine, backend="dummy.DummyBackend")
            transaction.set_rollback(True, using=USING)
        assert told() == []
        assert not JobRun.objects.exists()

    def test_it_is_remembered_until_it_may_run(self, enqueue):
        run_after = timezone.now() + timedelta(days=30)
        enqueue(fine, backend="dummy.DummyBackend", run_after=run_after)
        assert upkeep.prune_job_runs(now=run_after + timedelta(days=6), using=USING) == 0
        assert upkeep.prune_job_runs(now=run_after + timedelta(days=8), using=USING) == 1


class TestLost:
    @pytest.mark.parametrize(
        ("status", "last"),
        [("SUCCESSFUL", "job.completed"), ("READY", "job.retrying"), ("RUNNING", "job.failed"), (None, "job.failed")],
        ids=["it was done", "it waits again", "it is said to run", "nobody knows"],
    )
    def test_the_backend_says_what_became_of_it(self, enqueue, framework, monkeypatch, status, last):
        result = enqueue(fine, backend="dummy.DummyBackend")
        source._started(task_result=result)
        fact, stack = source._open.pop(result.id)
        stack.close()

        def found(job_id):
            assert job_id == result.id
            if status is None:
                raise LookupError
            object.__setattr__(result, "status", type(result.status)[status])
            return result

        backends = {"default": SimpleNamespace(get_result=found)}
        monkeypatch.setattr(import_module(framework), "task_backends", backends)
        source._tell_lost(fact.with_(completed_at=timezone.now()))
        assert told()[-1] == last


class TestNeverRaises:
    def test_into_the_framework(self, enqueue, monkeypatch, caplog):
        monkeypatch.setattr(source, "_fact", lambda task_result: 1 / 0)
        enqueue(fine)
        assert len(seen) == 1
        assert "A job was not told of." in caplog.text
