"""What is told of Celery's tasks that run, or are published, in this process."""

import functools
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import celery
import pytest
from celery import beat, schedules, signals
from celery.exceptions import Retry
from django.db import transaction
from django.utils import timezone

from django_relay import context
from django_relay.models import Event, PublishFailure
from django_relay.sources import celery as source
from django_relay.sources import celery_facts, jobs
from tests.factories import USING
from tests.sources.hearing import job_settings, told

pytestmark = pytest.mark.django_db

RAN = ["job.enqueued", "job.started", "job.completed"]
app = celery.Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
seen: list = []
published: list = []


@app.task
def fine(word=""):
    seen.append((context.current_tenant(), context.current_origin()))
    return word


@app.task
def broken():
    raise LookupError("no such thing")


@app.task(bind=True, max_retries=2)
def mending(self):
    seen.append("called")
    if len(seen) < 2:
        raise self.retry(exc=LookupError("not yet"), countdown=0)


@app.task
def enqueues_another():
    fine.apply()


class AtSunset(schedules.schedule):
    """A project's own schedule."""

    def __str__(self):
        return "at sunset"


def hear(headers, **kwargs):
    published.append(dict(headers))


@pytest.fixture(autouse=True)
def _hears_celery():
    seen.clear()
    published.clear()
    with job_settings():
        source.connect()
        signals.after_task_publish.connect(hear)
        yield
        signals.after_task_publish.disconnect(hear)
        for signal, receiver in source._RECEIVERS:
            signal.disconnect(receiver)


class TestEager:
    def test_a_task_run_in_this_process_is_told_of(self):
        with context.tenant("acme"), context.caused_by("order 7"):
            result = fine.apply()
        assert told() == RAN
        assert set(Event.objects.values_list("tenant_id", "origin")) == {("acme", "order 7")}
        assert seen == [("acme", f"job:{result.id}")]

    def test_an_exception_is_told_of_whether_or_not_it_reaches_the_caller(self):
        broken.apply()
        with pytest.raises(LookupError):
            broken.apply(throw=True)
        life = ["job.enqueued", "job.started", "job.failed"]
        assert told() == life * 2
        assert {json.loads(event.payload)["error"]["message"] for event in failures()} == {"no such thing"}

    def test_a_retry_is_another_attempt(self):
        mending.apply()
        assert told() == ["job.enqueued", "job.started", "job.retrying", "job.started", "job.completed"]

    def test_a_task_started_by_a_task_names_it_as_origin(self):
        result = enqueues_another.apply()
        origins = set(Event.objects.exclude(subject=f"job:{result.id}").values_list("origin", flat=True))
        assert origins == {f"job:{result.id}"}

    def test_nothing_is_told_of_what_is_suppressed(self):
        with context.suppressed():
            fine.apply()
        assert told() == []


class TestPublishing:
    @pytest.mark.django_db(transaction=True)
    def test_a_task_is_told_of_once_its_transaction_commits(self):
        with transaction.atomic(USING):
            fine.delay()
            assert told() == []
        assert told() == ["job.enqueued"]

    @pytest.mark.django_db(transaction=True)
    def test_a_transaction_that_is_rolled_back_tells_of_nothing(self):
        with transaction.atomic(USING):
            fine.delay()
            transaction.set_rollback(True, using=USING)
        assert told() == []

    def test_the_message_carries_what_was_said(self):
        with context.tenant("acme"), context.attributes(actor="u1"):
            fine.delay("secret")
        [headers] = published
        carried = json.loads(headers["django_relay"])
        assert carried["baggage"] == {"tenant": "acme", "attributes": {"actor": ["u1"]}}
        assert "secret" not in headers["django_relay"]

    def test_headers_copied_from_another_task_say_nothing_of_this_one(self):
        with context.tenant("acme"):
            fine.delay()
        fine.apply_async(headers={"django_relay": published[0]["django_relay"]})
        assert json.loads(published[1]["django_relay"])["baggage"] == {}

    def test_tasks_of_celery_itself_are_left_alone(self):
        app.send_task("celery.backend_cleanup")
        assert "django_relay" not in published[0]

    def test_a_database_that_fails_does_not_keep_a_message_back(self, monkeypatch):
        monkeypatch.setattr(jobs, "report", lambda name, fact: 1 / 0)
        fine.delay()
        assert len(published) == 1

    def test_a_header_that_means_nothing_is_replaced(self):
        fine.apply_async(headers={"django_relay": "no JSON"})
        assert "baggage" in json.loads(published[0]["django_relay"])


class TestNeverRaises:
    def test_into_celery(self, monkeypatch, caplog):
        monkeypatch.setattr(celery_facts, "fact", lambda *args, **kwargs: 1 / 0)
        assert fine.apply().get() == ""
        fine.delay()
        assert len(published) == 1
        assert "A job was not told of." in caplog.text


class TestBeat:
    @pytest.mark.parametrize(
        ("schedule", "text"),
        [
            (schedules.crontab(hour="3", minute="0", day_of_week="mon-fri"), "0 3 * * mon-fri"),
            (schedules.schedule(timedelta(seconds=90)), "every 90 s"),
            (AtSunset(timedelta(days=1)), "at sunset"),
        ],
        ids=["crontab", "interval", "other"],
    )
    @pytest.mark.django_db(transaction=True)
    def test_an_entry_that_comes_due_is_told_of(self, schedule, text):
        scheduler = beat.Scheduler(app=app, lazy=True)
        scheduler.apply_entry(beat.ScheduleEntry(name="nightly", task=fine.name, schedule=schedule, app=app))
        assert told() == ["cron.fired", "job.enqueued"]
        fired, enqueued = (json.loads(event.payload) for event in Event.objects.order_by("id"))
        assert (fired["entry_name"], fired["schedule"], fired["job_id"]) == ("nightly", text, enqueued["job_id"])
        assert enqueued["scheduled"]


class TestOutsideTheProcessThatRan:
    def test_a_lost_job_whose_message_the_broker_has_is_run_again(self):
        for acks_late, last in ((True, "job.retrying"), (False, "job.failed")):
            fact = source.JobFact(source="celery", job_id=str(acks_late), baggage={"acks_late": acks_late})
            fact = jobs.started(fact)
            source._tell_lost(fact.with_(error=source.JobError("lost"), completed_at=timezone.now()))
            assert told()[-1] == last

    def test_no_connection_is_left_behind(self):
        connection = source.connections[USING]
        connection.ensure_connection()
        with source._for_a_moment():
            pass
        assert connection.connection is not None


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (LookupError("no"), ("LookupError", "no")),
        (Retry(exc=LookupError("not yet")), ("LookupError", "not yet")),
        (Retry("later"), ("celery.exceptions.Retry", "later")),
        (source.JobError, ("type", "<class 'django_relay.sources.job_facts.JobError'>")),
    ],
    ids=["builtin", "retry", "retry without a cause", "no exception"],
)
def test_what_went_wrong(raised, expected):
    error = celery_facts.error(raised)
    assert (error.type, error.message) == expected


def test_when_it_runs_again():
    at = datetime(2030, 1, 1, tzinfo=UTC)
    assert celery_facts.moment(at) == at
    assert celery_facts.moment(None) is None
    assert timedelta(0) < celery_facts.moment(5) - timezone.now() <= timedelta(seconds=5)


def test_a_project_that_does_not_ask_for_jobs_never_imports_celery():
    code = "import django, sys; django.setup(); print('celery' in sys.modules)"
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=True)
    assert run([sys.executable, "-c", code]).stdout.strip() == "False"


def failures():
    assert not PublishFailure.objects.exists()
    return Event.objects.filter(event_type="dispatch.job.failed")
