"""The life of django-q2's jobs, heard from real clusters."""

import json
import signal
import time

import pytest

from django_relay.models import Event
from tests.conformance.job_source_cases import (
    AGAIN,
    COMPLETED,
    DLQ,
    ENQUEUED,
    FAILED,
    RAN,
    RETRYING,
    STARTED,
    JobSourceCases,
)
from tests.processes import PASS_SECONDS, wait_until
from tests.sources import redis_server

pytestmark = pytest.mark.process

ENQUEUE = """
import json
from contextlib import nullcontext
from django.db import transaction
from django_q.tasks import async_chain, async_task
from django_relay.sources import tenant

ids = []
for job in json.loads({jobs!r}):
    with nullcontext() if job["tenant"] is None else tenant(job["tenant"]):
        path = "tests.sources.job_functions."
        if job["steps"]:
            ids.append(async_chain([path + step for step in job["steps"]]))
        else:
            ids.append(async_task(path + job["function"], *job["arguments"]))
print(json.dumps(ids))
"""
SCHEDULE = """
from datetime import timedelta
from django.utils import timezone
from django_q.tasks import schedule
schedule({path!r}, name="once upon a time", schedule_type="O", next_run=timezone.now() - timedelta(seconds=1))
"""


class DjangoQ:
    """django-q2, with whatever broker the stage's settings name."""

    def __init__(self, stage):
        self.stage = stage

    def start(self):
        workers = self.stage.command("qcluster")
        wait_until(lambda: workers.output.count("ready for work") >= 2, 20, "the cluster's workers work")
        return workers

    def enqueue(self, jobs):
        script = self.stage.script(ENQUEUE.format(jobs=json.dumps([vars(job) for job in jobs])))
        assert script.wait(20) == 0, script.output
        return json.loads(script.output.splitlines()[-1])

    def schedule(self, function):
        script = self.stage.script(SCHEDULE.format(path=f"tests.sources.job_functions.{function}"))
        assert script.wait(20) == 0, script.output
        return "once upon a time"

    def stop(self, workers):
        workers.send(signal.SIGTERM)
        workers.wait(30)


SETTINGS = {"name": "shop", "workers": 3, "timeout": 3, "retry": 5, "max_attempts": 2, "guard_cycle": 0.3, "recycle": 2}


class TestClusters:
    def test_one_that_is_killed_has_not_been_stopped(self, stage):
        stage.relay, stage.jobs = {"JOBS": {}}, SETTINGS
        workers = DjangoQ(stage).start()
        workers.kill()
        assert not Event.objects.exists()

    def test_one_that_runs_passes_alone_is_ours(self, stage):
        stage.relay = {"JOBS": {}}
        stage.endpoint("/hooks")
        passes = stage.cluster()
        [event_id] = stage.emit(1)
        stage.wait_for_requests(1)
        time.sleep(2 * PASS_SECONDS)
        passes.send(signal.SIGTERM)
        passes.wait(30)
        assert [event.pk for event in Event.objects.all()] == [event_id]


class TestOrmBroker(JobSourceCases):
    LIVES = {
        "succeed": RAN,
        "fail": (*AGAIN, FAILED, DLQ),
        "flaky": (*AGAIN, COMPLETED),
        "hang": (*AGAIN, FAILED, DLQ),
        "die": (*AGAIN, COMPLETED),
    }

    @pytest.fixture
    def system(self, stage_of_jobs):
        stage_of_jobs.jobs = SETTINGS
        return DjangoQ(stage_of_jobs)

    def lives_of_steps(self):
        # django-q2 enqueues the rest of a chain after each attempt that failed
        return [RAN, RAN, RAN, RAN, (ENQUEUED, STARTED, RETRYING, STARTED, FAILED, DLQ), RAN, RAN]


class TestRedisBroker(JobSourceCases):
    # It takes half a minute, and schedules are rows of the database, whatever the broker.
    test_a_schedule_that_fires_is_told_and_so_is_what_it_enqueues = None

    LIVES = {
        "succeed": RAN,
        "fail": (ENQUEUED, STARTED, FAILED, DLQ),
        "flaky": (ENQUEUED, STARTED, FAILED, DLQ),
        "hang": (ENQUEUED, STARTED, FAILED, DLQ),
        "die": (ENQUEUED, STARTED, FAILED),
    }

    @pytest.fixture
    def system(self, stage_of_jobs):
        with redis_server.started(stage_of_jobs.folder) as url:
            stage_of_jobs.jobs = {**SETTINGS, "orm": None, "redis": url}
            yield DjangoQ(stage_of_jobs)

    def lives_of_steps(self):
        return [RAN, RAN, RAN, RAN, (ENQUEUED, STARTED, FAILED, DLQ), RAN]
