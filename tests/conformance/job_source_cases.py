"""What every job source promises, as tests against real workers; a source's own test class subclasses
:class:`JobSourceCases` and gives it a :class:`JobSystem`."""

import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from django_relay.models import Event, JobRun, PublishFailure
from django_relay.rules import schemas
from django_relay.sources import job_events
from tests.processes import Process, Stage, wait_until

ENQUEUED, STARTED, COMPLETED, FAILED, RETRYING, DLQ = (
    f"job.{name}" for name in ("enqueued", "started", "completed", "failed", "retrying", "dlq")
)
RAN = (ENQUEUED, STARTED, COMPLETED)
AGAIN = (ENQUEUED, STARTED, RETRYING, STARTED)
RUN_COMPLETED = ("workflow.started", *["workflow.step.completed"] * 3, "workflow.completed")
RUN_FAILED = ("workflow.started", "workflow.step.completed", "workflow.step.failed", "workflow.failed")
_VALIDATORS = {name: schemas.compile(job_events.schema(event)) for name, event in job_events.EVENTS.items()}


@dataclass(frozen=True)
class Job:
    """What to enqueue: one of ``job_functions`` and its arguments, or with ``steps`` a workflow of several."""

    function: str = ""
    arguments: tuple[Any, ...] = ()
    tenant: str | None = None
    steps: tuple[str, ...] = ()


class JobSystem(Protocol):
    """A job system with its workers, on a stage."""

    def start(self) -> Process:
        """Start workers, two at least, with a time-out of a few seconds, and return once they work."""

    def enqueue(self, jobs: Sequence[Job]) -> list[str]:
        """Enqueue jobs as a project's code does, in a process of its own; return their ids, of workflows the run's."""

    def schedule(self, function: str) -> str:
        """Have the function run soon, once, by a schedule; return the entry's name."""

    def stop(self, workers: Process) -> None:
        """Stop workers as an operator does, and wait until they have ended."""


@dataclass(frozen=True)
class Told:
    """One event as a receiver got it; the name without its prefix."""

    name: str
    data: Mapping[str, Any]
    path: str


class JobSourceCases:
    """Runs once for each job system, each time on another stage."""

    LIVES: Mapping[str, Sequence[str]]
    """What is told of a job that does this, in this order: ``succeed``, ``fail``, ``flaky``, ``hang``, ``die``.

    Without ``hang`` where jobs have no time-out.
    """
    REPORTS: Collection[str] = frozenset(job_events.EVENTS)
    """The events that the source tells."""

    @pytest.fixture
    def stage_of_jobs(self, stage: Stage) -> Stage:
        """A stage with an endpoint of tenant acme and one of the global tenant, that take one request at a time."""
        stage.relay = {"JOBS": {}, "MAX_IN_FLIGHT_PER_ENDPOINT": 1, "FIRST_IN_FLIGHT_PER_ENDPOINT": 1}
        for path, tenant_id in (("/acme", "acme"), ("/global", ""), ("/other", "globex")):
            stage.endpoint(path, tenant_id=tenant_id, event_types=["dispatch.**"])
        return stage

    @pytest.fixture
    def system(self, stage_of_jobs: Stage) -> Iterator[JobSystem]:
        """The job system; a subclass gives it."""
        raise NotImplementedError

    def test_every_job_is_told_of_once_in_order_and_to_its_tenant_alone(self, stage_of_jobs, system):
        stage = stage_of_jobs
        for name in ("flaky", "die"):
            (stage.folder / name).mkdir()
        jobs = {
            "succeed": Job("succeed", ("acme's own",), tenant="acme"),
            "succeed globally": Job("succeed"),
            "fail": Job("fail", tenant="acme"),
            "flaky": Job("flaky", (str(stage.folder / "flaky"),)),
            "hang": Job("hang", tenant="acme"),
            "die": Job("die", (str(stage.folder / "die"),), tenant="acme"),
        }
        jobs = {label: job for label, job in jobs.items() if job.function in self.LIVES}
        runs = {
            "completes": Job(steps=("succeed", "succeed", "succeed"), tenant="acme"),
            "fails": Job(steps=("succeed", "fail", "succeed"), tenant="acme"),
        }
        runs = runs if "workflow.started" in self.REPORTS else {}
        stage.worker()
        workers = system.start()
        ids = system.enqueue([*jobs.values(), *runs.values()])
        labels = dict(zip(ids, [*jobs, *runs], strict=True))
        wait_until(lambda: self._swept(stage), 30, "the job that died is found")
        self._wait_until_told(stage, ids)
        system.stop(workers)
        if "shutdown" in self.REPORTS:
            wait_until(lambda: "shutdown" in {item.name for item in told(stage)}, 15, "the stop is told")
        stage.wait_until_drained()

        lives, of_runs = defaultdict(list), defaultdict(list)
        for item in told(stage):
            if item.name.startswith("workflow."):
                of_runs[labels[item.data["run_id"]]].append(item.name)
            elif item.name.startswith("job."):
                lives[labels.get(item.data["job_id"], item.data["job_id"])].append(item.name)
        expected = {label: list(self.LIVES[job.function]) for label, job in jobs.items()}
        assert {label: lives[label] for label in jobs} == expected
        of_chains = {"completes": list(RUN_COMPLETED), "fails": list(RUN_FAILED)}
        assert of_runs == {label: of_chains[label] for label in runs}
        steps = sorted(tuple(life) for job_id, life in lives.items() if job_id not in jobs)
        assert steps == sorted(self.lives_of_steps())
        assert [item.name for item in told(stage)].count("shutdown") == ("shutdown" in self.REPORTS)
        assert {item.name for item in told(stage)} <= {*self.REPORTS}
        self._check_details(stage, dict(zip([*jobs, *runs], ids, strict=True)), jobs)

    def lives_of_steps(self) -> list[tuple[str, ...]]:
        """Return what is told of the jobs of both workflows; how often the rest is run after a failure is the system's."""
        return []

    def _swept(self, stage: Stage) -> bool:
        """Look for lost jobs, as upkeep does every minute, and say whether the one that died is found."""
        for process in stage.processes:
            process.is_running()  # as init does: a process is gone once its parent has heard of its death
        assert stage.command("relay_prune").wait(30) == 0
        return any(
            run.attempt > 1 or run.state != "running" for run in JobRun.objects.filter(facts__func__endswith=".die")
        )

    def _wait_until_told(self, stage: Stage, ids: Sequence[str], seconds: float = 45) -> None:
        """Wait until nothing runs, or is to be run again, for a while."""
        quiet_since = time.monotonic()
        ends_at, seen = time.monotonic() + seconds, -1
        while time.monotonic() - quiet_since < 2:
            open_ = JobRun.objects.filter(state__in=["running", "retrying"]).count()
            begun = JobRun.objects.count()
            if open_ or begun < len(ids) or Event.objects.count() != seen:
                quiet_since, seen = time.monotonic(), Event.objects.count()
            assert time.monotonic() < ends_at, list(JobRun.objects.values_list("state", "attempt", "facts__func"))
            time.sleep(0.1)

    def _check_details(self, stage: Stage, ids: Mapping[str, str], jobs: Mapping[str, Job]) -> None:
        assert not PublishFailure.objects.exists(), list(PublishFailure.objects.values("event_type", "error"))
        found = told(stage)
        for item in found:
            assert not schemas.errors(_VALIDATORS[item.name], item.data), item
        by_id = {job_id: label for label, job_id in ids.items()}
        for item in found:
            label = by_id.get(item.data.get("job_id", ""))
            is_acmes = jobs[label].tenant == "acme" if label in jobs else item.name != "shutdown"  # else of a run
            assert item.path == ("/acme" if is_acmes else "/global"), item
        assert all("acme's own" not in request.body for request in stage.receiver.requests())
        errors = {
            label: [
                item.data["error"] for item in found if item.data.get("job_id") == ids[label] and "error" in item.data
            ]
            for label in jobs
        }
        assert errors["fail"][0] == {"type": "ValueError", "message": "it is broken:\nbadly"}
        assert errors["die"][0]["type"] == "lost"
        assert "hang" not in errors or "time" in errors["hang"][0]["type"].lower()

    def test_a_schedule_that_fires_is_told_and_so_is_what_it_enqueues(self, stage_of_jobs, system):
        if "cron.fired" not in self.REPORTS:
            pytest.skip("it has no schedules")
        stage = stage_of_jobs
        entry = system.schedule("succeed")
        stage.worker()
        workers = system.start()
        wait_until(
            lambda: COMPLETED in {item.name for item in told(stage)}, 50, "the scheduled job is told of", every=0.2
        )
        system.stop(workers)
        stage.wait_until_drained()
        fired = [item.data for item in told(stage) if item.name == "cron.fired"]
        life = [item for item in told(stage) if item.name.startswith("job.")]
        assert [(item["entry_name"], item["schedule"]) for item in fired] == [(entry, "once")]
        assert [item.name for item in life] == list(RAN)
        assert {item.data["job_id"] for item in life} == {fired[0]["job_id"]}
        assert all(item.data["scheduled"] for item in life)
        assert [item.name for item in told(stage)][-1] == "shutdown"

    def test_an_event_that_a_job_emits_names_the_job(self, stage_of_jobs, system):
        workers = system.start()
        [job_id] = system.enqueue([Job("emits", ("2026-7",))])
        event = wait_until(lambda: Event.objects.filter(event_type="invoice.paid").first(), 20, "the job emits")
        assert event.origin == f"job:{job_id}"
        system.stop(workers)


def told(stage: Stage) -> list[Told]:
    """Return the events that came to the stage's receiver, each once, in their order of arrival."""
    seen: set[str] = set()
    found = []
    for request in stage.receiver.requests():
        if request.id not in seen:
            seen.add(request.id)
            message = json.loads(request.body)
            found.append(Told(message["type"].removeprefix("dispatch."), message["data"], request.path))
    return found
