"""The life of Celery's tasks, heard from real workers on a real Redis."""

import json
import signal

import pytest

from django_relay.sources import celery as source
from tests.conformance.job_source_cases import COMPLETED, ENQUEUED, FAILED, RAN, RETRYING, STARTED, JobSourceCases
from tests.processes import wait_until
from tests.sources import redis_server

pytestmark = pytest.mark.process

ENQUEUE = """
import json
from contextlib import nullcontext
from celery import chain
from django_relay.sources import tenant
from tests.sources import celery_app

ids = []
for job in json.loads({jobs!r}):
    with nullcontext() if job["tenant"] is None else tenant(job["tenant"]):
        if job["steps"]:
            result = chain(getattr(celery_app, step).si() for step in job["steps"]).apply_async()
            while result.parent is not None:
                result = result.parent
            ids.append(result.id)
        else:
            ids.append(getattr(celery_app, job["function"]).delay(*job["arguments"]).id)
print(json.dumps(ids))
"""


class Celery:
    """Celery with Redis as broker and result backend."""

    def __init__(self, stage, url):
        self.stage = stage
        self.beat = []
        url = url.replace("unix://", "redis+socket://")
        stage.django = {"CELERY_BROKER_URL": url, "CELERY_BEAT_FILE": str(stage.folder / "beat")}

    def start(self):
        arguments = ["-A", "tests.sources.celery_app", "worker", "--concurrency", "3", "--loglevel", "INFO"]
        workers = self.stage.program("celery", *arguments, *self.beat)
        wait_until(lambda: "ready." in workers.output, 20, "the worker works")
        return workers

    def enqueue(self, jobs):
        return self.run(ENQUEUE.format(jobs=json.dumps([vars(job) for job in jobs])))

    def run(self, code):
        script = self.stage.script(code)
        assert script.wait(20) == 0, script.output
        return json.loads(script.output.splitlines()[-1])

    def schedule(self, function):
        assert function == "succeed"
        self.beat = ["-B"]
        return "once upon a time"

    def stop(self, workers):
        workers.send(signal.SIGTERM)
        workers.wait(30)


class TestCelery(JobSourceCases):
    LIVES = {
        "succeed": RAN,
        "fail": (ENQUEUED, STARTED, FAILED),
        "flaky": (ENQUEUED, STARTED, RETRYING, STARTED, COMPLETED),
        "hang": (ENQUEUED, STARTED, FAILED),
        "die": (ENQUEUED, STARTED, RETRYING, STARTED, COMPLETED),
    }
    REPORTS = source.REPORTS

    @pytest.fixture
    def system(self, stage_of_jobs):
        with redis_server.started(stage_of_jobs.folder) as url:
            yield Celery(stage_of_jobs, url)

    def lives_of_steps(self):
        return [RAN, RAN, RAN, RAN, (ENQUEUED, STARTED, FAILED)]
