"""The description of the API: complete, committed, true, and good enough for generators."""

import subprocess
import sys
from pathlib import Path

import pytest
import schemathesis
import yaml
from django.conf import settings
from django.core import signals
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import override_settings
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounded
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from django_relay.api import endpoint_tests
from tests.api.test_access import make_rows
from tests.factories import make_api_key
from tests.people import ALICE

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "openapi.yaml"
SCHEMA = schemathesis.openapi.from_dict(yaml.safe_load(FILE.read_text()))
SCHEMA.app = get_wsgi_application()
OPERATIONS = {f"{item.ok().method.upper()} {item.ok().path}": item.ok() for item in SCHEMA.get_all_operations()}

NEGATIVE = GenerationMode.NEGATIVE
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
BOUNDED = bounded(
    max_examples=15, deadline=None, database=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
UNTHROTTLED = {"operator": None, "tenant": None, "failed": None}


class TestFile:
    def test_is_what_the_code_says(self, tmp_path):
        fresh = tmp_path / "openapi.yaml"
        command = [sys.executable, "manage.py", "spectacular", "--file", str(fresh), "--validate", "--fail-on-warn"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert fresh.read_text() == FILE.read_text(), "write it anew: manage.py spectacular --file docs/openapi.yaml"

    def test_describes_every_route_and_every_problem(self):
        from django_relay.api import urls

        paths = yaml.safe_load(FILE.read_text())["paths"]
        described = {(path, method) for path, item in paths.items() for method in item}
        methods = sum(len(set(pattern.callback.actions) - {"head"}) for pattern in urls.ROUTES)
        assert len(described) == methods
        for path, item in paths.items():
            for method, operation in item.items():
                assert {"400", "401", "403", "429", "503"} <= operation["responses"].keys(), (path, method)
                assert operation["security"], (path, method)
                assert operation["summary"], (path, method)


@pytest.fixture
def _one_connection():
    """Keep the test's connection open between requests, as Django's own test client does."""
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)


@pytest.mark.usefixtures("_one_connection")
class TestTruth:
    @pytest.mark.django_db
    @pytest.mark.parametrize("name", OPERATIONS)
    @pytest.mark.parametrize("who", ["operator", "tenant"])
    def test_no_fault_and_no_undocumented_answer(self, name, who, monkeypatch):
        """Whatever is sent that fits the description, or does not; for rows that exist and for those that do not."""
        monkeypatch.setattr(endpoint_tests, "WAIT_SECONDS", 0)
        token, operation = make_token(who), OPERATIONS[name]
        real = {key: value for key, value in make_rows(ALICE).items() if f"{{{key}}}" in operation.path}

        @BOUNDED
        @given(
            case=operation.as_strategy() | operation.as_strategy(NEGATIVE) | operation.as_strategy(path_parameters=real)
        )
        def run(case):
            response = case.call(headers={"Authorization": f"Bearer {token}"})
            case.validate_response(response, checks=CHECKS)

        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "API_THROTTLES": UNTHROTTLED}):
            run()


def make_token(who):
    scopes = ["read", "write", "replay", "secrets"]
    if who == "operator":
        return make_api_key(operator=True, scopes=[*scopes, "portal", "events:send"])[1]
    return make_api_key(scopes=scopes)[1]
