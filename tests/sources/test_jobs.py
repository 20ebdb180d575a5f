"""What all job sources share: who gets to know what, once, and without a word that contradicts another."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from django_relay import context
from django_relay.models import Application, Event, JobRun, PublishFailure
from django_relay.pipeline import upkeep
from django_relay.sources import jobs
from django_relay.sources.job_facts import JobError, JobFact, Workflow
from tests.factories import USING
from tests.sources.hearing import job_settings, told
from tests.threads import together

pytestmark = pytest.mark.django_db

HERE = "tests.sources.test_jobs."
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def by_group(fact):
    return fact.group


def for_nobody(fact):
    return None


def refusing(fact):
    raise LookupError("whose is it?")


def short(fact):
    return {"what": fact.type, "job": fact.job_id}


def not_json(fact):
    return object()


def make_fact(job_id="1", **values):
    usual = {"name": "n", "queue": "q", "func": "shop.f", "enqueued_at": NOW}
    return JobFact(source="tests", job_id=job_id, **{**usual, **values})


def ended(fact, **values):
    return fact.with_(completed_at=timezone.now(), **values)


def failing(fact, **values):
    return ended(fact, error=JobError("ValueError", "no"), **values)


class TestWhose:
    def test_without_a_word_the_global_tenants(self):
        with job_settings():
            jobs.enqueued(make_fact())
        assert Event.objects.get().tenant_id == ""
        assert "scope_org_id" not in Event.objects.get().payload

    def test_of_what_the_enqueuing_code_said_before_what_the_resolver_says(self):
        with job_settings(TENANT_RESOLVER=HERE + "by_group"):
            with context.tenant("acme"):
                jobs.enqueued(make_fact("1", group="globex", baggage=jobs.pack()))
            with context.tenant(""):
                jobs.enqueued(make_fact("2", group="globex", baggage=jobs.pack()))
            jobs.enqueued(make_fact("3", group="globex", baggage=jobs.pack()))
        assert [event.tenant_id for event in Event.objects.order_by("id")] == ["acme", "", "globex"]
        assert [scope for _name, scope in told("scope_org_id")] == ["acme", None, "globex"]

    def test_a_resolver_that_does_not_know_leaves_it_to_the_global_tenant(self):
        with job_settings(TENANT_RESOLVER=HERE + "for_nobody"):
            jobs.enqueued(make_fact())
        assert Event.objects.get().tenant_id == ""

    def test_nobodys_where_the_resolver_fails_but_it_is_kept(self):
        with job_settings(TENANT_RESOLVER=HERE + "refusing"):
            jobs.enqueued(make_fact())
        assert not Event.objects.exists()
        failure = PublishFailure.objects.get()
        assert (failure.event_type, failure.error) == ("dispatch.job.enqueued", "LookupError: whose is it?")


class TestWhat:
    def test_only_what_the_project_asks_for(self):
        with job_settings(EVENTS=["dispatch.job.completed"]):
            fact = jobs.started(make_fact())
            jobs.completed(ended(fact))
        assert told() == ["job.completed"]

    def test_under_its_own_prefix_and_in_its_own_application(self):
        Application.objects.create(slug="shop", name="Shop")
        with job_settings(PREFIX="acme.work", APPLICATION="shop"):
            jobs.enqueued(make_fact())
        event = Event.objects.get()
        assert (event.event_type, event.application.slug) == ("acme.work.job.enqueued", "shop")
        assert json.loads(event.payload)["scope_app_id"] == "shop"

    def test_the_projects_own_data(self):
        with job_settings(PAYLOADS={"dispatch.job.enqueued": HERE + "short"}):
            jobs.started(make_fact())
        assert json.loads(Event.objects.earliest("id").payload) == {"what": "dispatch.job.enqueued", "job": "1"}
        assert told("func")[1] == ("job.started", "shop.f")

    @pytest.mark.parametrize("function", ["refusing", "not_json"])
    def test_own_data_that_cannot_be_made_is_kept_as_a_failure_and_holds_up_nothing(self, function):
        with job_settings(PAYLOADS={"dispatch.job.enqueued": HERE + function}):
            jobs.started(make_fact())
        assert told() == ["job.started"]
        assert PublishFailure.objects.get().event_type == "dispatch.job.enqueued"

    def test_long_and_unstorable_words_are_cut_and_cleaned(self):
        with job_settings():
            fact = jobs.started(make_fact("\x00" + "j" * 3_000, name="\ud800", group="g\x00"))
            jobs.failed(ended(fact, error=JobError.of("E" * 999, "m\x00" * 9_999)))
        assert told() == ["job.enqueued", "job.started", "job.failed", "job.dlq"]
        assert not PublishFailure.objects.exists()
        assert len(told("error")[2][1]["message"]) == 1_000

    def test_nothing_while_the_source_is_off(self, settings):
        settings.DJANGO_RELAY = {**settings.DJANGO_RELAY, "JOBS": None}
        fact = jobs.started(make_fact())
        jobs.completed(ended(fact))
        jobs.shutdown(JobFact(source="tests", worker="w"))
        assert not Event.objects.exists()
        assert not JobRun.objects.exists()

    def test_a_stop_once_for_each_start(self):
        with job_settings():
            for started_at in (NOW, NOW, NOW + timedelta(1)):
                fact = JobFact(source="tests", worker="host:1", started_at=started_at)
                jobs.shutdown(fact.with_(completed_at=timezone.now()))
        assert [worker for _name, worker in told("worker")] == ["host:1"] * 2


class TestLives:
    """Each line: what happens, and what may be told of it."""

    def test_enqueued_told_by_several_is_told_once(self):
        with job_settings():
            jobs.enqueued(make_fact())
            jobs.enqueued(make_fact(name="in other words"))
            jobs.started(make_fact())
        assert told() == ["job.enqueued", "job.started"]

    def test_the_number_a_source_gives_to_an_attempt_is_kept(self):
        with job_settings():
            assert jobs.started(make_fact(attempt=4)).attempt == 4
            assert jobs.started(make_fact(attempt=6)).attempt == 6
            assert jobs.started(make_fact()).attempt == 7

    def test_a_new_attempt_says_that_the_last_one_is_lost(self):
        with job_settings():
            jobs.started(make_fact())
            jobs.started(make_fact())
        assert told("attempt")[1:] == [("job.started", 1), ("job.retrying", 1), ("job.started", 2)]

    def test_completed_is_the_last_word(self):
        with job_settings():
            first = jobs.started(make_fact())
            jobs.completed(ended(first))
            again = jobs.started(make_fact())
            jobs.failed(failing(again))
            jobs.retrying(failing(again))
            jobs.completed(ended(again))
        assert told() == ["job.enqueued", "job.started", "job.completed"]

    def test_an_attempt_that_was_replaced_fails_no_more_but_may_complete(self):
        with job_settings():
            first = jobs.started(make_fact())
            second = jobs.started(make_fact())
            jobs.failed(failing(first))
            jobs.retrying(failing(first))
            jobs.completed(ended(first))
            jobs.failed(failing(second))
        assert told("attempt")[4:] == [("job.completed", 1)]

    def test_one_that_failed_for_good_may_be_run_again(self):
        with job_settings():
            jobs.failed(failing(jobs.started(make_fact())))
            jobs.completed(ended(jobs.started(make_fact())))
        assert told("attempt")[2:] == [("job.failed", 1), ("job.dlq", 1), ("job.started", 2), ("job.completed", 2)]

    def test_an_end_without_a_beginning_is_told(self):
        with job_settings():
            for _ in range(2):
                jobs.failed(failing(make_fact()), in_dlq=False)
        assert told() == ["job.failed"]

    def test_a_run_fails_once_and_is_silent_then(self):
        step = Workflow(run_id="r", name="w", step="s", step_number=1, steps=1)
        with job_settings():
            fact = jobs.started(make_fact(workflow=step))
            assert jobs.retrying(failing(fact), fails_run=True).workflow is None
            fact = jobs.started(make_fact(workflow=step))
            assert fact.workflow is None
            jobs.completed(ended(fact))
        names = [name for name in told() if name.startswith("workflow.")]
        assert names == ["workflow.started", "workflow.step.failed", "workflow.failed"]

    def test_a_step_that_is_run_again_fails_no_run_by_itself(self):
        step = Workflow(run_id="r", name="w", step="s", step_number=1, steps=1)
        with job_settings():
            jobs.retrying(failing(jobs.started(make_fact(workflow=step))))
            jobs.completed(ended(jobs.started(make_fact(workflow=step))))
        names = [name for name in told() if name.startswith("workflow.")]
        assert names == ["workflow.started", "workflow.step.completed", "workflow.completed"]


class TestSafety:
    def test_a_statement_that_fails_leaves_the_callers_transaction_usable(self):
        with job_settings(), transaction.atomic(USING):
            with pytest.raises(DatabaseError), transaction.atomic(USING), connection.cursor() as cursor:
                cursor.execute("SELECT nothing FROM nowhere")
            jobs.enqueued(make_fact())
        assert told() == ["job.enqueued"]

    @pytest.mark.django_db(transaction=True)
    def test_a_connection_that_broke_is_renewed(self, backend):
        with job_settings():
            connection.ensure_connection()
            if backend == "postgres":
                connection.connection.close()
            else:
                connection.connection.close()
                connection.connection = None
            fact = jobs.started(make_fact())
        assert fact.attempt == 1
        assert told() == ["job.enqueued", "job.started"]

    @pytest.mark.django_db(transaction=True)
    def test_attempts_that_begin_at_once_get_different_numbers(self):
        with job_settings():
            found = together(lambda _number: jobs.started(make_fact()).attempt, 4)
        assert sorted(found) == [1, 2, 3, 4]
        assert sorted(name for name in told() if name != "job.retrying") == ["job.enqueued", *["job.started"] * 4]

    def test_a_sweep_is_a_chore_of_upkeep(self):
        assert "lost jobs" not in upkeep.CHORES
        with job_settings():
            jobs.started(make_fact(), lost_at=timezone.now() - timedelta(1))
            lost = []
            jobs.connect("tests", lambda fact: lost.append(jobs.retrying(fact)))
            done = dict(upkeep.tidy_all(now=timezone.now(), using=USING))
        assert done == {"lost jobs": 1}
        assert [fact.error.type for fact in lost] == ["lost"]
        assert told()[2:] == ["job.retrying"]

    def test_a_source_that_leaves_it_to_a_later_sweep_is_asked_again(self):
        with job_settings():
            jobs.started(make_fact(), lost_at=timezone.now() - timedelta(1))
            for _ in range(2):
                assert jobs.sweep(now=timezone.now(), using=USING) == 0
        assert told() == ["job.enqueued", "job.started"]
