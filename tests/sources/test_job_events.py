import pytest

from django_relay.catalog import registry
from django_relay.rules import schemas
from django_relay.sources import job_events
from tests.sources.hearing import job_settings

NAMES = [
    "dispatch.job.enqueued", "dispatch.job.started", "dispatch.job.completed", "dispatch.job.failed",
    "dispatch.job.retrying", "dispatch.job.dlq", "dispatch.workflow.started", "dispatch.workflow.step.completed",
    "dispatch.workflow.step.failed", "dispatch.workflow.completed", "dispatch.workflow.failed", "dispatch.cron.fired",
    "dispatch.shutdown",
]  # fmt: skip


def declared():
    return {item.name: item for item in registry.definitions() if item.group in ("jobs", "workflows", "cron", "system")}


class TestCatalog:
    def test_has_the_thirteen_types_with_all_that_tenants_are_shown(self):
        with job_settings():
            found = declared()
            assert registry.faults() == []
        assert list(found) == NAMES
        for item in found.values():
            assert item.description.endswith(".")
            assert item.schema["required"]
            assert set(item.example) >= set(item.schema["required"])

    def test_has_none_of_them_while_the_source_is_off(self):
        assert declared() == {}

    def test_has_those_that_are_asked_for(self):
        with job_settings(EVENTS=["dispatch.cron.fired", "dispatch.shutdown"]):
            assert list(declared()) == ["dispatch.cron.fired", "dispatch.shutdown"]

    def test_promises_nothing_of_data_that_the_project_makes(self):
        with job_settings(PAYLOADS={"dispatch.cron.fired": "json.dumps"}):
            found = declared()
        assert (found["dispatch.cron.fired"].schema, found["dispatch.cron.fired"].example) == (None, None)
        assert found["dispatch.shutdown"].schema is not None


@pytest.mark.parametrize("event", job_events.EVENTS.values(), ids=lambda event: event.name)
def test_a_schema_refuses_data_that_lacks_what_it_promises(event):
    validator = schemas.compile(job_events.schema(event))
    example = job_events.example(event)
    assert schemas.errors(validator, example) == []
    for name in event.required:
        assert schemas.errors(validator, {key: value for key, value in example.items() if key != name})
