"""The life of Celery's tasks, heard from real workers on a real Redis."""

import json
import signal
from collections import Counter, defaultdict

import pytest

from django_relay.models import Event, JobRun
from django_relay.sources import celery as source
from tests.conformance.job_source_cases import COMPLETED, ENQUEUED, FAILED, RAN, RETRYING, STARTED, Job, JobSourceCases
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

OTHERS = """
import json, time
from tests.sources import celery_app as tasks

ids = {{
    "retried in vain": tasks.never.delay(),
    "too long": tasks.hang_softly.delay(),
    "killed": tasks.die_early.delay({folder!r}),
    "replaced": tasks.replaced.delay("fine"),
    "replaced by what fails": tasks.replaced.delay("fail"),
    "ignored": tasks.ignored.delay(),
    "rejected": tasks.rejected.delay(),
    "expired": tasks.succeed.apply_async(expires=-5),
    "revoked": tasks.succeed.apply_async(countdown=4),
    "terminated": tasks.hang.delay(),
}}
ids["revoked"].revoke()
while ids["terminated"].state == "PENDING":
    time.sleep(0.1)
ids["terminated"].revoke(terminate=True)
print(json.dumps({{label: result.id for label, result in ids.items()}}))
"""
CANVASES = """
import json
from celery import chain, chord, group
from tests.sources.celery_app import fail, succeed

one, bad = succeed.si(), fail.si()
print(json.dumps({
    "chord": chord([one, one], one).apply_async().parent.id,
    "chord of chains": chord([chain(one, one), one], one).apply_async().parent.id,
    "chord that fails": chord([one, bad], one).apply_async().parent.id,
    "chain with a group": chain(one, group(one, one), one).apply_async().parent.parent.id,
    "chain that ends in a group": chain(one, group(one, one)).apply_async().parent.id,
}))
"""


class Celery:
    """Celery with Redis as broker and result backend."""

    def __init__(self, stage, url):
        self.stage = stage
        self.beat = []
        url = url.replace("unix://", "redis+socket://")
        stage.django = {"CELERY_BROKER_URL": url, "CELERY_BEAT_FILE": str(stage.folder / "beat")}

    def start(self):
        arguments = ["-A", "tests.sources.celery_app", "worker", "-c", "3", "-l", "INFO"]
        workers = self.stage.program("celery", *arguments, "--without-mingle", "--without-gossip", *self.beat)
        wait_until(lambda: "ready." in workers.output, 60, "the worker works")
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

    def test_what_only_celery_has(self, stage_of_jobs, system):
        stage = stage_of_jobs
        (stage.folder / "die").mkdir()
        workers = system.start()
        ids = system.run(OTHERS.format(folder=str(stage.folder / "die")))
        wait_until(lambda: len(_lives(ids, last=True)) == len(ids), 60, "all is told", every=0.2)
        again = (ENQUEUED, STARTED, RETRYING, STARTED)
        assert _lives(ids) == {
            "retried in vain": (*again, FAILED),
            "too long": (ENQUEUED, STARTED, FAILED),
            "killed": (ENQUEUED, STARTED, FAILED),
            "replaced": (*again, COMPLETED),
            "replaced by what fails": (*again, FAILED),
            "ignored": RAN,
            "rejected": (ENQUEUED, STARTED, FAILED),
            "expired": (ENQUEUED, FAILED),
            "revoked": (ENQUEUED, FAILED),
            "terminated": (ENQUEUED, STARTED, FAILED),
        }
        errors = {
            label: json.loads(Event.objects.get(event_type="dispatch.job.failed", subject=f"job:{job_id}").payload)[
                "error"
            ]
            for label, job_id in ids.items()
            if _lives(ids)[label][-1] == FAILED
        }
        assert {label: error["type"] for label, error in errors.items()} == {
            "retried in vain": "tests.sources.job_functions.NotYet",
            "too long": "billiard.exceptions.SoftTimeLimitExceeded",
            "killed": "lost",
            "replaced by what fails": "ValueError",
            "rejected": "celery.exceptions.Reject",
            "expired": "expired",
            "revoked": "revoked",
            "terminated": "terminated",
        }
        system.stop(workers)

    def test_chords_are_workflows(self, stage_of_jobs, system):
        workers = system.start()
        runs = system.run(CANVASES)
        step = "step.completed"
        chord = [("started", None, 2), (step, 1, 2), (step, 1, 2), (step, 2, 2), ("completed", None, 2)]
        expected = {
            "chord": chord,
            "chord of chains": [*chord, (step, 1, 2)],
            "chain with a group": [
                ("started", None, 3),
                (step, 1, 3),
                (step, 2, 3),
                (step, 2, 3),
                (step, 3, 3),
                ("completed", None, 3),
            ],
            "chain that ends in a group": [("started", None, None), (step, 1, None), (step, 2, None), (step, 2, None)],
        }
        # Celery starts a chord's body before it says that the last of its header succeeded: two workers, in any order.
        wait_until(lambda: _is_over(set(runs.values())), 40, "all is told", every=0.2)
        found = _steps(runs)
        failed = found.pop("chord that fails")
        assert failed[0][0] == "started"
        assert ("completed", None, 2) not in failed
        assert {label: told[0] for label, told in found.items()} == {label: told[0] for label, told in expected.items()}
        assert {label: Counter(told) for label, told in found.items()} == {
            label: Counter(told) for label, told in expected.items()
        }
        system.stop(workers)

    def test_a_worker_that_is_killed_is_found_by_the_sweep(self, stage_of_jobs, system):
        workers = system.start()
        [job_id] = system.enqueue([Job("hang_softly")])
        wait_until(JobRun.objects.exists, 20, "it runs")
        workers.kill()
        assert stage_of_jobs.command("relay_prune").wait(30) == 0
        assert _lives({"killed": job_id}) == {"killed": (ENQUEUED, STARTED, FAILED)}


def _steps(runs):
    """Return what was told of each workflow, by its label: kind of event, number of the step, number of steps."""
    names = {run_id: label for label, run_id in runs.items()}
    found = defaultdict(list)
    told = Event.objects.filter(event_type__contains=".workflow.").order_by("pk")
    for name, payload in told.values_list("event_type", "payload"):
        data = json.loads(payload)
        kind = name.removeprefix("dispatch.workflow.")
        found[names[data["run_id"]]].append((kind, data.get("step_number"), data.get("steps")))
    return found


def _lives(ids, *, last=False):
    """Return the events of each job by its label; with ``last``, only of jobs that have ended."""
    labels = {f"job:{job_id}": label for label, job_id in ids.items()}
    found = defaultdict(list)
    for subject, name in (
        Event.objects.filter(event_type__startswith="dispatch.job.", subject__in=labels)
        .order_by("pk")
        .values_list("subject", "event_type")
    ):
        found[labels[subject]].append(name.removeprefix("dispatch."))
    return {label: tuple(names) for label, names in found.items() if not last or names[-1] in (COMPLETED, FAILED)}


def _is_over(run_ids):
    steps = Event.objects.filter(event_type__contains=".workflow.").values_list("event_type", flat=True)
    ended = [name for name in steps if name.endswith(("workflow.completed", "workflow.failed"))]
    return len(ended) == len(run_ids) - 1 and not JobRun.objects.filter(state="running").exists()
