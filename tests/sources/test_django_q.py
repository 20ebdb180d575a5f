"""What is told of django-q2's jobs, whatever its settings; its parts run in this process."""

import logging
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import Failure, OrmQ, Schedule, Success
from django_q.scheduler import scheduler
from django_q.tasks import async_chain, async_iter, async_task

from django_relay import context
from django_relay.models import Event, JobRun, PublishFailure
from django_relay.runners import django_q as runner
from django_relay.runners import presence
from django_relay.sources import django_q, jobs
from tests.factories import USING
from tests.sources.hearing import MemoryBroker, django_q_source, give_back, take, told, work

pytestmark = pytest.mark.django_db

HERE = "tests.sources.test_django_q."
RAN = ["job.enqueued", "job.started", "job.completed"]
FAILED = ["job.enqueued", "job.started", "job.failed", "job.dlq"]
seen: list = []


def fine(*args, **kwargs):
    seen.append((context.current_tenant(), dict(context.current_attributes()), context.current_origin()))


def broken(*args):
    raise LookupError("no such thing")


def no_arguments():
    seen.append("no arguments")


def mending():
    seen.append("called")
    if len(seen) == 1:
        raise LookupError("not yet")


def enqueues_another():
    async_task(HERE + "fine")


@pytest.fixture(autouse=True)
def _hears_django_q(monkeypatch):
    seen.clear()
    monkeypatch.setattr(Conf, "ORM", USING)
    monkeypatch.setattr(Conf, "POLL", 0)
    monkeypatch.setattr(MemoryBroker, "waiting", [])
    for module in ("worker", "monitor", "scheduler"):  # they run in the test's own transaction
        monkeypatch.setattr(f"django_q.{module}.close_old_django_connections", lambda: None)
    logging.getLogger("django-q").disabled = True
    with django_q_source():
        yield
    logging.getLogger("django-q").disabled = False
    assert not django_q._open
    assert not PublishFailure.objects.exists()


@pytest.fixture
def memory_broker(monkeypatch):
    monkeypatch.setattr(Conf, "BROKER_CLASS", "tests.sources.hearing.MemoryBroker")


class TestJobs:
    def test_one_that_succeeds(self):
        job_id = async_task(HERE + "fine", 7, task_name="seven", group="numbers", secret="hunter2")
        work()
        assert told("job_id", "name", "queue", "func", "group", "attempt", "scheduled") == [
            ("job.enqueued", job_id, "seven", "tests", HERE + "fine", "numbers", None, False),
            ("job.started", job_id, "seven", "tests", HERE + "fine", "numbers", 1, False),
            ("job.completed", job_id, "seven", "tests", HERE + "fine", "numbers", 1, False),
        ]
        assert {event.subject for event in Event.objects.all()} == {f"job:{job_id}"}
        assert "hunter2" not in "".join(event.payload for event in Event.objects.all())

    def test_one_given_as_a_function(self):
        async_task(fine)
        work()
        assert [func for _name, func in told("func")] == [HERE + "fine"] * 3

    def test_one_that_fails_with_retries_left_and_then_succeeds(self, monkeypatch):
        monkeypatch.setattr(Conf, "MAX_ATTEMPTS", 3)
        async_task(HERE + "mending")
        take()
        lock = OrmQ.objects.get().lock
        error = {"type": "LookupError", "message": "not yet"}
        [retrying] = told("attempt", "error", "next_run_at")[2:]
        assert retrying[:3] == ("job.retrying", 1, error)
        assert datetime.fromisoformat(retrying[3]) == lock
        give_back()
        work()
        assert told("attempt")[3:] == [("job.started", 2), ("job.completed", 2)]

    def test_one_that_fails_until_attempts_run_out(self, monkeypatch):
        monkeypatch.setattr(Conf, "MAX_ATTEMPTS", 2)
        async_task(HERE + "broken")
        take()
        give_back()
        take()
        ends = ["job.started", "job.retrying", "job.started", "job.failed", "job.dlq"]
        assert told() == ["job.enqueued", *ends]
        assert (Failure.objects.count(), OrmQ.objects.count()) == (1, 0)

    def test_one_without_a_limit_of_attempts_is_always_retrying(self):
        async_task(HERE + "broken")
        for _ in range(3):
            take()
            give_back()
        assert told("attempt")[1:] == [
            (name, attempt) for attempt in (1, 2, 3) for name in ("job.started", "job.retrying")
        ]

    def test_one_whose_failures_are_acknowledged_fails_at_once(self, monkeypatch):
        monkeypatch.setattr(Conf, "ACK_FAILURES", True)
        async_task(HERE + "broken")
        work()
        assert told() == FAILED

    def test_one_whose_function_is_not_there(self):
        async_task("tests.nowhere.nothing", ack_failure=True)
        work()
        assert told("error")[2][1]["type"] == "ValueError"

    def test_successes_that_are_not_saved_are_told(self, monkeypatch):
        monkeypatch.setattr(Conf, "SAVE_LIMIT", -1)
        async_task(HERE + "fine")
        work()
        assert told() == RAN
        assert not Success.objects.exists()

    def test_results_in_the_cache_are_told_and_enter_no_list_of_failures(self, monkeypatch):
        monkeypatch.setattr(Conf, "MAX_ATTEMPTS", 1)  # of which a cached result knows nothing
        async_task(HERE + "fine", cached=True)
        async_task(HERE + "broken", cached=True)
        async_task(HERE + "broken", cached=True, ack_failure=True)
        for _ in range(3):
            take()
        by_job = {}
        for name, job_id in told("job_id"):
            by_job.setdefault(job_id, []).append(name)
        assert sorted(map(tuple, by_job.values())) == sorted(
            [tuple(RAN), ("job.enqueued", "job.started", "job.retrying"), ("job.enqueued", "job.started", "job.failed")]
        )
        assert not Failure.objects.exists()

    def test_those_of_an_iteration_are_told_one_by_one(self):
        group = async_iter(HERE + "fine", [1, 2])
        work()
        assert sorted(told("group")) == sorted((name, group) for name in RAN * 2)

    def test_one_that_ran_and_is_given_out_again_is_told_once(self):
        async_task(HERE + "fine")
        take(is_recorded=False)
        give_back()
        work()
        assert told() == RAN
        assert len(seen) == 2

    def test_arguments_are_shown_where_the_project_asks(self):
        with django_q_source(ARGUMENTS=True):
            async_task(HERE + "fine", 7, until=timedelta(1))
            work()
        shown = {"args": [7], "kwargs": {"until": "datetime.timedelta(days=1)"}}
        assert [arguments for _name, arguments in told("arguments")] == [shown] * 3

    @pytest.mark.parametrize("argument", ["a\x00b", "\ud800", float("nan"), "long " * 10_000])
    def test_arguments_that_no_event_can_hold_are_shown_in_short(self, argument):
        with django_q_source(ARGUMENTS=True):
            async_task(HERE + "fine", argument)
            work()
        assert told() == RAN
        assert all(len(arguments["args"][0]) <= 4_000 for _name, arguments in told("arguments"))


class TestSync:
    def test_one_that_succeeds(self):
        async_task(HERE + "fine", sync=True)
        assert told() == RAN

    def test_one_that_raises_raises_in_the_caller_and_is_kept_nowhere(self):
        with pytest.raises(LookupError, match="no such thing"):
            async_task(HERE + "broken", sync=True)
        assert told("error")[2:] == [("job.failed", {"type": "LookupError", "message": "no such thing"})]

    def test_one_inside_another(self, monkeypatch):
        monkeypatch.setattr(Conf, "SYNC", True)
        with context.tenant("acme"):
            job_id = async_task(HERE + "enqueues_another")
        assert told() == ["job.enqueued", "job.started", *RAN, "job.completed"]
        assert {event.tenant_id for event in Event.objects.all()} == {"acme"}
        inner = Event.objects.exclude(subject=f"job:{job_id}")
        assert {event.origin for event in inner} == {f"job:{job_id}"}
        assert seen[0][0] == "acme"
        assert context.current_tenant() is None


class TestEnqueued:
    @pytest.mark.django_db(transaction=True)
    def test_in_a_transaction_that_is_rolled_back_it_was_not(self):
        with transaction.atomic(USING):
            async_task(HERE + "fine")
            assert told() == ["job.enqueued"]
            transaction.set_rollback(True, USING)
        assert told() == []

    @pytest.mark.django_db(transaction=True)
    def test_with_a_broker_outside_the_database_it_was_and_the_worker_says_so(self, memory_broker):
        with transaction.atomic(USING):
            async_task(HERE + "fine")
            transaction.set_rollback(True, USING)
        assert told() == []
        work()
        assert told() == RAN

    @pytest.mark.django_db(transaction=True)
    def test_with_such_a_broker_the_worker_may_be_faster_than_the_commit(self, memory_broker):
        with transaction.atomic(USING):
            async_task(HERE + "fine")
            assert told() == []
            work()
        assert told() == RAN

    @pytest.mark.django_db(transaction=True)
    def test_outside_a_transaction_it_is_told_at_once(self, memory_broker):
        async_task(HERE + "fine")
        assert told() == ["job.enqueued"]

    def test_by_a_process_without_the_source_the_worker_says_so(self):
        signal, receiver, sender = django_q._RECEIVERS[1]
        signal.disconnect(receiver, sender=sender)
        async_task(HERE + "fine")
        assert told() == []
        work()
        assert told() == RAN

    def test_with_a_broker_that_forgets_a_failure_is_final(self, memory_broker, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True, using=USING):
            async_task(HERE + "broken")
        work()
        assert told() == FAILED


class TestWhatTravels:
    def test_tenant_attributes_and_origin(self):
        with context.tenant("acme"), context.attributes(plan="pro"), context.caused_by("evt_1"):
            job_id = async_task(HERE + "fine")
        work()
        events = list(Event.objects.all())
        assert {(event.tenant_id, event.origin) for event in events} == {("acme", "evt_1")}
        assert all(event.attributes == {"plan": ["pro"]} for event in events)
        assert seen == [("acme", {"plan": ["pro"]}, f"job:{job_id}")]
        assert (context.current_tenant(), context.current_origin()) == (None, "")

    def test_to_what_a_job_enqueues(self):
        with context.tenant("acme"):
            async_task(HERE + "enqueues_another")
        work()
        assert len(seen) == 1
        assert {event.tenant_id for event in Event.objects.all()} == {"acme"}

    def test_nothing_of_a_job_enqueued_while_suppressed_is_told_but_its_code_is_heard(self):
        with context.suppressed():
            async_task(HERE + "enqueues_another")
        take()
        assert told() == ["job.enqueued"]
        assert JobRun.objects.count() == 0

    def test_attributes_that_cannot_travel_stay_behind(self, caplog):
        with context.attributes(what=object()):
            async_task(HERE + "fine")
        work()
        assert told() == RAN
        assert "Attributes cannot travel with a job" in caplog.text


class TestChains:
    def test_one_that_completes(self):
        with context.tenant("acme"):
            run_id = async_chain([(HERE + "fine", (1,)), HERE + "no_arguments", (HERE + "fine", (), {"word": 1})])
        work()
        runs = [row for row in told("run_id", "step_number", "steps", "step") if row[0].startswith("workflow.")]
        assert runs == [
            ("workflow.started", run_id, None, 3, None),
            ("workflow.step.completed", run_id, 1, 3, HERE + "fine"),
            ("workflow.step.completed", run_id, 2, 3, HERE + "no_arguments"),
            ("workflow.step.completed", run_id, 3, 3, HERE + "fine"),
            ("workflow.completed", run_id, None, 3, None),
        ]
        assert {event.tenant_id for event in Event.objects.all()} == {"acme"}
        assert [job[0] for job in seen if job != "no arguments"] == ["acme", "acme"]

    def test_one_that_fails_in_the_middle_fails_once_whatever_is_run_of_the_rest(self, monkeypatch):
        monkeypatch.setattr(Conf, "MAX_ATTEMPTS", 2)
        async_chain([HERE + "fine", HERE + "broken", HERE + "fine", HERE + "fine"])
        work()
        give_back()
        work()
        assert [name for name in told() if name.startswith("workflow.")] == [
            "workflow.started",
            "workflow.step.completed",
            "workflow.step.failed",
            "workflow.failed",
        ]
        assert told().count("job.completed") == 1 + 2 * 2

    def test_one_whose_failed_step_mends_has_failed(self):
        async_chain([HERE + "mending", HERE + "no_arguments"])
        take()
        give_back()
        work()
        assert [name for name in told() if name.startswith("workflow.")] == [
            "workflow.started",
            "workflow.step.failed",
            "workflow.failed",
        ]

    def test_one_in_the_cache(self):
        async_chain([HERE + "no_arguments"] * 2, cached=True)
        work()
        assert told().count("workflow.step.completed") == 2
        assert told()[-1] == "workflow.completed"

    def test_two_runs_with_one_name_are_two(self):
        for _ in range(2):
            async_chain([HERE + "no_arguments"] * 2, group="nightly")
            work()
        assert told("run_id").count(("workflow.completed", "nightly")) == 2

    def test_one_whose_step_could_not_be_told_of_begins_no_other_run(self, monkeypatch, caplog):
        monkeypatch.setattr(django_q, "_given_back_at", lambda ack_id: 1 / 0)
        async_chain([HERE + "broken", HERE + "no_arguments"])
        work()
        assert seen == ["no arguments"]
        assert [name for name in told() if name.startswith("workflow.")] == ["workflow.started"]
        assert "A job was not told of." in caplog.text

    def test_a_step_that_runs_twice_is_one(self):
        async_chain([HERE + "no_arguments"] * 2)
        take(is_recorded=False)
        give_back()
        work()
        assert [name for name in told() if name.startswith("workflow.")] == [
            "workflow.started",
            "workflow.step.completed",
            "workflow.step.completed",
            "workflow.completed",
        ]


class TestSchedules:
    def make(self, **values):
        past = timezone.now() - timedelta(seconds=1)
        return Schedule.objects.create(**{"func": HERE + "no_arguments", "name": "nightly", "next_run": past, **values})

    @pytest.mark.parametrize(
        ("kind", "values", "shown"),
        [
            (Schedule.ONCE, {}, "once"),
            (Schedule.DAILY, {}, "daily"),
            (Schedule.MINUTES, {"minutes": 5}, "every 5 min"),
        ],
    )
    def test_one_that_fires(self, kind, values, shown):
        self.make(schedule_type=kind, **values)
        scheduler()
        job_id = told("job_id")[0][1]
        assert told("job_id", "scheduled") == [("job.enqueued", job_id, True), ("cron.fired", job_id, None)]
        assert told("entry_name", "schedule", "func")[1][1:] == ("nightly", shown, HERE + "no_arguments")
        work()
        assert told("scheduled")[2:] == [("job.started", True), ("job.completed", True)]
        assert Schedule.objects.exists() == (kind != Schedule.ONCE)

    def test_one_that_is_changed_or_deleted_by_hand_did_not_fire(self):
        entry = self.make(schedule_type=Schedule.HOURLY)
        scheduler()
        entry.refresh_from_db()
        Event.objects.all().delete()
        entry.save()
        entry.delete()
        assert told() == []

    def test_two_fire_twice(self):
        self.make(schedule_type=Schedule.HOURLY)
        self.make(schedule_type=Schedule.ONCE, name="")
        scheduler()
        assert told().count("cron.fired") == 2

    def test_ours_is_not_told(self):
        self.make(schedule_type=Schedule.HOURLY, func=runner.TEND)
        scheduler()
        work()
        assert told() == []


class TestLost:
    def lose(self, **values):
        """Enqueue a job and have it begin in a process that is gone."""
        job_id = async_task(HERE + "fine", **values)
        task = django_q.SignedPackage.loads(OrmQ.objects.get().payload)
        OrmQ.objects.update(lock=timezone.now() + timedelta(seconds=60))
        task["ack_id"] = OrmQ.objects.get().pk
        django_q._starting(sender="tests", task=task, func=fine)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        JobRun.objects.filter(job_id=job_id).update(pid=gone.pid)
        fact, stack = django_q._open.pop(id(task))
        stack.close()
        return fact

    def sweep(self):
        return jobs.sweep(now=timezone.now(), using=USING)

    def test_one_that_the_broker_will_give_out_again_is_retrying(self):
        self.lose()
        assert self.sweep() == 1
        [retrying] = told("attempt", "error", "next_run_at")[2:]
        assert retrying[:3] == ("job.retrying", 1, {"type": "lost", "message": "The worker that ran it is gone."})
        assert datetime.fromisoformat(retrying[3]) == OrmQ.objects.get().lock
        assert self.sweep() == 0
        give_back()
        work()
        assert told("attempt")[3:] == [("job.started", 2), ("job.completed", 2)]

    def test_one_that_is_given_out_before_a_sweep_is_retrying_all_the_same(self):
        self.lose()
        give_back()
        work()
        assert told("attempt")[2:] == [("job.retrying", 1), ("job.started", 2), ("job.completed", 2)]

    def test_one_that_is_in_no_queue_any_more_has_failed(self):
        self.lose()
        OrmQ.objects.all().delete()
        assert self.sweep() == 1
        assert told("error")[2:] == [("job.failed", {"type": "lost", "message": "The worker that ran it is gone."})]

    def test_one_that_lives_is_not_lost(self):
        fact = self.lose()
        JobRun.objects.update(hostname="another machine")
        assert self.sweep() == 0
        JobRun.objects.update(lost_at=timezone.now() - timedelta(seconds=1))
        assert self.sweep() == 1
        assert fact.attempt == 1

    def test_one_that_was_given_up_and_still_completes_is_completed_if_it_was_to_run_again(self):
        fact = self.lose()
        self.sweep()
        jobs.completed(fact.with_(completed_at=timezone.now()))
        assert told()[2:] == ["job.retrying", "job.completed"]

    def test_one_that_was_given_up_for_good_and_still_completes_contradicts_nothing(self):
        fact = self.lose()
        OrmQ.objects.all().delete()
        self.sweep()
        jobs.completed(fact.with_(completed_at=timezone.now()))
        assert told()[2:] == ["job.failed"]

    def test_one_whose_end_was_recorded_but_not_told_has_completed(self):
        fact = self.lose()
        OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=1))
        now = timezone.now()
        Success.objects.create(id=fact.job_id, name="n", func="f", started=now, stopped=now, success=True)
        assert self.sweep() == 1
        assert told()[2:] == ["job.completed"]


class TestNothingFeedsItself:
    def test_two_hundred_passes_make_no_event(self, settings):
        settings.DJANGO_RELAY = {
            **settings.DJANGO_RELAY,
            "PASS_SECONDS": 0.001,
            "RUNNER": "django_relay.runners.django_q.DjangoQRunner",
        }
        for _ in range(200):
            token = presence.ask(runner.RUNNER, now=timezone.now(), using=USING)
            async_task(runner.PASS, token, q_options={"sync": True, "save": False, "timeout": 60})
        runner.tend()
        assert told() == []
        assert JobRun.objects.count() == 0
        assert OrmQ.objects.count() > 0  # successors, enqueued by the passes


class TestNeverRaises:
    def test_into_django_q2(self, monkeypatch, caplog):
        def fail(*args, **kwargs):
            raise RuntimeError("ours is broken")

        monkeypatch.setattr(django_q, "_fact", fail)
        async_chain([HERE + "no_arguments"] * 2)
        work()
        assert seen == ["no arguments"] * 2
        assert "A job was not told of." in caplog.text

    def test_when_what_all_sources_share_fails(self, monkeypatch, caplog):
        monkeypatch.setattr(jobs, "report", lambda name, fact: 1 / 0)
        async_task(HERE + "no_arguments")
        work()
        assert seen == ["no arguments"]
        assert told() == []
        assert "Events of a job were not stored." in caplog.text
