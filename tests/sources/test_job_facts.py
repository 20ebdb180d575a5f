import json
from datetime import UTC, datetime

import pytest

from django_relay.sources.job_facts import JobError, JobFact, Workflow

NOW = datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC)


class TestJobFact:
    def test_comes_back_from_json_as_it_was(self):
        run = Workflow(run_id="r", name="w", step="s", step_number=1, steps=2, started_at=NOW, key="k")
        fact = JobFact(
            source="django_q", job_id="1", group="g", started_at=NOW, error=JobError("E", "m"), workflow=run,
            baggage={"tenant": "", "attributes": {"a": ["b"]}}, arguments={"args": [1], "kwargs": {}},
        )  # fmt: skip
        assert JobFact.from_json(json.loads(json.dumps(fact.as_json()))) == fact

    def test_of_another_version_is_read_as_far_as_it_is_known(self):
        values = {**JobFact(source="django_q").as_json(), "colour": "red", "dyed_at": "never"}
        assert JobFact.from_json(values) == JobFact(source="django_q")

    def test_never_ran_for_less_than_no_time(self):
        fact = JobFact(source="s", started_at=NOW.replace(microsecond=0), completed_at=NOW)
        assert fact.elapsed_ms == 0
        assert fact.with_(started_at=NOW.replace(second=9)).elapsed_ms == 0
        assert fact.with_(started_at=None).elapsed_ms is None


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ("no : Traceback (most recent call last):\n  File\nValueError: no\n", ("ValueError", "no")),
        (" : Traceback (most recent call last):\n  File\nshop.errors.SoldOut\n", ("shop.errors.SoldOut", "")),
        ("a\nb: c : Traceback (most recent call last):\nKeyError: a\nb: c\n", ("KeyError", "a\nb: c")),
        (
            "x : Traceback (most recent call last):\nOSError: y\n\nTraceback\nValueError: x\na note\n",
            ("ValueError", "x"),
        ),
        ("it is all odd", ("Exception", "it is all odd")),
        ("x : Traceback (most recent call last):\nnothing like it", ("Exception", "x")),
        (None, ("Exception", "None")),
    ],
    ids=["plain", "without a message", "lines", "a cause and a note", "no traceback", "odd traceback", "nothing"],
)
def test_the_type_of_an_error_is_read_from_its_traceback(result, error):
    found = JobError.parse(result)
    assert (found.type, found.message) == error
