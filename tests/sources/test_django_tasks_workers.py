"""The life of Django's tasks, heard from real workers of ``django_tasks_db``: of Django's framework, or its backport."""

import json
import signal

import pytest
from django.conf import settings

from django_relay.sources import django_tasks as source
from tests.conformance.job_source_cases import ENQUEUED, FAILED, RAN, STARTED, JobSourceCases
from tests.processes import wait_until

pytestmark = pytest.mark.process

ENQUEUE = """
import json
from contextlib import nullcontext
from django_relay.sources import tenant
from tests.sources import django_task_functions

ids = []
for job in json.loads({jobs!r}):
    with nullcontext() if job["tenant"] is None else tenant(job["tenant"]):
        ids.append(getattr(django_task_functions, job["function"]).enqueue(*job["arguments"]).id)
print(json.dumps(ids))
"""


class Workers:
    """Several ``db_worker``, each of which runs one task at a time."""

    def __init__(self, stage, count=2):
        self.processes = [
            stage.command("db_worker", "--no-startup-delay", "--interval", "0.1", "--no-reload") for _ in range(count)
        ]

    def stop(self):
        for process in self.processes:
            process.send(signal.SIGTERM)
        for process in self.processes:
            process.wait(30)


class DjangoTasks:
    """The framework with its reference backend."""

    def __init__(self, stage):
        self.stage = stage
        apps = ["django_tasks_db"]
        stage.django = {
            "INSTALLED_APPS": [*settings.INSTALLED_APPS, *apps],
            "TASKS": {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
        }
        assert stage.command("migrate", "-v0").wait(60) == 0

    def start(self):
        workers = Workers(self.stage)
        wait_until(lambda: all("Starting worker" in process.output for process in workers.processes), 60, "they work")
        return workers

    def enqueue(self, jobs):
        script = self.stage.script(ENQUEUE.format(jobs=json.dumps([vars(job) for job in jobs])))
        assert script.wait(30) == 0, script.output
        return json.loads(script.output.splitlines()[-1])

    def stop(self, workers):
        workers.stop()


class TestDatabaseBackend(JobSourceCases):
    LIVES = {
        "succeed": RAN,
        "fail": (ENQUEUED, STARTED, FAILED),
        "flaky": (ENQUEUED, STARTED, FAILED),
        "die": (ENQUEUED, STARTED, FAILED),
    }
    REPORTS = source.REPORTS

    @pytest.fixture
    def system(self, stage_of_jobs):
        return DjangoTasks(stage_of_jobs)
