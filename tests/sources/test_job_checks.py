import pytest
from django.conf import settings
from django.core import checks as django_checks
from django.test import override_settings

from django_relay import sources
from django_relay.sources import job_checks

BAD_IMPORT = "tests.sources.test_job_checks.missing"
NOT_CALLABLE = "tests.sources.test_job_checks.BAD_IMPORT"


def found(jobs):
    with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "JOBS": jobs}):
        return job_checks.check(None)


class TestJobs:
    @pytest.mark.parametrize(
        "jobs",
        [
            None,
            {},
            {"EVENTS": []},
            {"EVENTS": ["dispatch.job.failed"], "PAYLOADS": {"dispatch.job.dlq": "json.dumps"}},
            {"PREFIX": "acme.work", "EVENTS": ("acme.work.shutdown",), "TENANT_RESOLVER": "json.dumps"},
            {"TENANT_RESOLVER": len, "APPLICATION": "default", "ARGUMENTS": True},
        ],
        ids=str,
    )
    def test_fine_settings_are_fine(self, jobs):
        assert found(jobs) == []

    @pytest.mark.parametrize(
        ("jobs", "check_id", "message", "hint"),
        [
            ({"EVENT": []}, "E040", "has no setting 'EVENT'", "Did you mean 'EVENTS'?"),
            ({"EVENTS": "dispatch.job.failed"}, "E040", "must be a list of event types, not str", None),
            ({"PAYLOADS": ["a"]}, "E040", "must be a dict of event types and dotted paths, not list", None),
            ({"PREFIX": 7}, "E040", "must be text such as 'dispatch', not int", None),
            ({"ARGUMENTS": 1}, "E040", "must be True or False, not int", None),
            ({"PREFIX": "Dispatch"}, "E041", "cannot begin an event type's name", "Give dotted lower-case words"),
            ({"PREFIX": "relay"}, "E041", "operational events", "Give dotted lower-case words"),
            ({"PREFIX": "d" * 120}, "E041", "at most 128 characters", "Give dotted lower-case words"),
            ({"EVENTS": ["dispatch.job.faild"]}, "E042", "'dispatch.job.faild'", "Did you mean 'dispatch.job.failed'?"),
            ({"EVENTS": ["job.failed"]}, "E042", "'job.failed'", "Did you mean 'dispatch.job.failed'?"),
            ({"EVENTS": [7]}, "E042", "there is not: 7", "There are: dispatch.job.enqueued"),
            ({"PAYLOADS": {"dispatch.cron": "json.dumps"}}, "E042", "'dispatch.cron'", "Did you mean 'dispatch.cron"),
            ({"PAYLOADS": {"dispatch.job.dlq": BAD_IMPORT}}, "E043", "ImportError", "takes a JobFact"),
            ({"TENANT_RESOLVER": NOT_CALLABLE}, "E043", "['TENANT_RESOLVER'] cannot be used: it is not callable", "takes"),
            ({"TENANT_RESOLVER": "nowhere.at_all"}, "E043", "ModuleNotFoundError", "takes a JobFact"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named_with_what_would_be_right(self, jobs, check_id, message, hint):
        [error] = found(jobs)
        assert error.id == f"django_relay.{check_id}"
        assert message in error.msg
        assert (hint is None and error.hint is None) or hint in error.hint

    def test_a_value_that_is_no_dict_is_named_once(self):
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "JOBS": ["dispatch.job.failed"]}):
            assert job_checks.check(None) == []
            ours = [item.id for item in django_checks.run_checks() if str(item.id).startswith("django_relay")]
        assert ours == ["django_relay.E002"]

    def test_a_project_without_a_job_system_is_warned(self, monkeypatch):
        monkeypatch.setattr(sources, "SOURCES", {"django_q": sources.SOURCES["django_q"]})
        apps = [app for app in settings.INSTALLED_APPS if app != "django_q"]
        with override_settings(INSTALLED_APPS=apps):
            [warning] = found({})
        assert warning.id == "django_relay.W040"
