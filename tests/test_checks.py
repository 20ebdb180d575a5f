import base64
from datetime import timedelta

import pytest
from django.conf import settings
from django.core import checks as django_checks
from django.db import DEFAULT_DB_ALIAS, connections
from django.test import override_settings

from django_relay import checks, conf

KEY = base64.b64encode(b"1" * 32).decode()


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


def ids(found):
    return [message.id.removeprefix("django_relay.") for message in found]


def ours(**options):
    """What ``manage.py check`` says of us."""
    return [found for found in django_checks.run_checks(**options) if str(found.id).startswith("django_relay")]


class TestSettings:
    def test_the_defaults_and_the_examples_settings_are_fine(self):
        for values in ({}, settings.DJANGO_RELAY):
            with override_settings(DJANGO_RELAY=values):
                assert checks.check_settings(None) == []

    def test_every_default_fits_its_own_type(self):
        values = {name: getattr(conf.Settings(), name) for name in conf.annotations()}
        values["ENCRYPTION_KEYS"] = dict(values["ENCRYPTION_KEYS"])
        with override_settings(DJANGO_RELAY=values):
            assert checks.check_settings(None) == []

    def test_an_unknown_setting_gets_a_near_miss(self):
        with relay(RETRY_SHEDULE=[1], ZZZ=1):
            near, far = checks.check_settings(None)
        assert (near.id, near.hint) == ("django_relay.E001", "Did you mean 'RETRY_SCHEDULE'?")
        assert (far.id, far.hint) == ("django_relay.E001", None)

    @pytest.mark.parametrize(
        "values",
        [
            {"TIMEOUT_SECONDS": "15"},
            {"TIMEOUT_SECONDS": True},
            {"TIMEOUT_SECONDS": None},
            {"TIMEOUT_SECONDS": 0},
            {"TIMEOUT_SECONDS": 31},
            {"LEASE_SECONDS": -1},
            {"MAX_IN_FLIGHT": 1.5},
            {"MAX_IN_FLIGHT": 0},
            {"MAX_IN_FLIGHT": "64"},
            {"PASSES": 0},
            {"ALLOW_HTTP": 1},
            {"ENABLED": 1},
            {"ENCRYPTION_KEYS": ["key"]},
            {"RETRY_SCHEDULE": "5"},
            {"RETRY_SCHEDULE": [5, 0]},
            {"RETRY_SCHEDULE": [5, "6"]},
            {"RETRY_SCHEDULE": 5},
            {"RETRY_POLICY": "sometimes"},
            {"RETRY_JITTER": 1.1},
            {"RETRY_JITTER": -0.1},
            {"SCHEMA_VALIDATION": "BLOCK"},
            {"ALLOWED_NETWORKS": "10.0.0.0/8"},
            {"ALLOWED_NETWORKS": ["10.0.0.0/99"]},
            {"ALLOWED_NETWORKS": ["10.0.0.1/8"]},
            {"DLQ_RETENTION_DAYS": 29},
            {"Q_CLUSTER_NAME": 1},
            {"RETENTION_BATCH": 0},
            {"DISABLE_AFTER": 5},
            {"DISABLE_AFTER": timedelta(0)},
            {"DISABLE_AFTER": timedelta(days=90)},
            {"DISABLE_MIN_FAILURES": 0},
            {"DISABLE_MIN_FAILURES": "20"},
            {"HOUR_RETENTION_DAYS": 0},
            {"OPERATIONAL_TENANT": 1},
            {"OPERATIONAL_TENANT": "a" * 256},
            {"OPERATIONAL_TENANT": "a\x00"},
        ],
        ids=str,
    )
    def test_wrong_types_and_impossible_values(self, values):
        with relay(**values):
            (error,) = checks.check_settings(None)
        assert error.id == "django_relay.E002"
        assert next(iter(values)) in error.msg

    @pytest.mark.parametrize(
        "values",
        [
            {"ENABLED": lambda: True},
            {"ENABLED": "some.path"},
            {"TIMEOUT_SECONDS": 7},
            {"RETRY_SCHEDULE": ()},
            {"RETRY_SCHEDULE": [0.5]},
            {"ALLOWED_NETWORKS": ("::1/128",)},
            {"Q_CLUSTER_NAME": None},
            {"DLQ_RETENTION_DAYS": 30},
            {"DISABLE_AFTER": None},
            {"DISABLE_AFTER": timedelta(minutes=1)},
            {"OPERATIONAL_TENANT": "operations"},
            {"OPERATIONAL_TENANT": None},
        ],
        ids=lambda values: next(iter(values)),
    )
    def test_what_is_allowed(self, values):
        with relay(**values):
            assert checks.check_settings(None) == []

    def test_a_lease_must_outlast_the_longest_attempt(self):
        with relay(LEASE_SECONDS=39.9):
            assert ids(checks.check_settings(None)) == ["E003"]
        with relay(LEASE_SECONDS=40):
            assert checks.check_settings(None) == []

    @pytest.mark.parametrize("value", [["ENABLED"], "x", None, 1])
    def test_what_is_no_dict_is_said_once_and_breaks_no_other_check(self, value):
        with override_settings(DJANGO_RELAY=value):
            assert ids(ours(include_deployment_checks=True)).count("E001") == 1

    def test_keys_of_the_wrong_type_break_no_other_check(self):
        with relay(ENCRYPTION_KEYS=["key"]):
            assert "E002" in ids(ours())


class TestKeys:
    def test_fine(self):
        with relay(ENCRYPTION_KEYS={"2026-11": KEY}):
            assert checks.check_keys(None) == []

    def test_none_in_production(self):
        with relay(ENCRYPTION_KEYS={}):
            assert ids(checks.check_keys(None)) == ["E004"]

    def test_none_in_debug(self):
        with relay(ENCRYPTION_KEYS={}), override_settings(DEBUG=True):
            (warning,) = checks.check_keys(None)
        assert (warning.id, warning.is_serious()) == ("django_relay.W001", False)

    @pytest.mark.parametrize("keys", [{"a": "short"}, {"a b": KEY}, {2026: KEY}, {"a": KEY, "b": None}], ids=str)
    def test_malformed_and_the_message_shows_no_key(self, keys):
        with relay(ENCRYPTION_KEYS=keys):
            (error,) = checks.check_keys(None)
        assert error.id == "django_relay.E004"
        assert KEY not in error.msg


class TestForEver:
    def test_a_retention_without_end_is_refused(self):
        with relay(DELIVERY_RETENTION_DAYS=1_000_000):
            (error,) = checks.check_settings(None)
        assert (error.id, "at most" in error.msg) == ("django_relay.E002", True)

    def test_a_switch_that_cannot_be_loaded(self):
        with relay(ENABLED="false"):
            (error,) = checks.check_seams(None)
        assert (error.id, "ENABLED" in error.msg) == ("django_relay.E006", True)


class TestSeams:
    def test_fine(self):
        assert checks.check_seams(None) == []

    @pytest.mark.parametrize("path", ["no.such.module", "django_relay.testing.Nothing", "nodots", ""])
    @pytest.mark.parametrize("name", ["TRANSPORT", "RUNNER"])
    def test_what_cannot_be_loaded(self, name, path):
        with relay(**{name: path}):
            (error,) = checks.check_seams(None)
        assert error.id == "django_relay.E006"
        assert name in error.msg

    def test_curl_that_is_not_installed(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with relay(TRANSPORT="django_relay.transport.curl.CurlTransport"):
            (error,) = checks.check_seams(None)
        assert error.id == "django_relay.E006"
        assert 'pip install "django-relay[curl]"' in error.msg
        with relay(TRANSPORT="auto"):
            assert checks.check_seams(None) == []

    def test_the_runner_is_asked(self):
        from django_q.conf import Conf

        with relay(RUNNER="django_relay.runners.django_q.DjangoQRunner", PASSES=Conf.WORKERS):
            assert ids(checks.check_seams(None)) == ["W010"]
        with relay(RUNNER="django_relay.runners.django_q.DjangoQRunner", PASS_SECONDS=Conf.RETRY):
            assert ids(checks.check_seams(None)) == ["W011"]
        own = {"relay": {"workers": 1, "retry": 90}}
        with relay(RUNNER="django_relay.runners.django_q.DjangoQRunner", PASSES=9, Q_CLUSTER_NAME="relay"):
            with override_settings(Q_CLUSTER={**settings.Q_CLUSTER, "ALT_CLUSTERS": own}):
                assert checks.check_seams(None) == []
            own["relay"]["retry"] = 30
            with override_settings(Q_CLUSTER={**settings.Q_CLUSTER, "ALT_CLUSTERS": own}):
                assert ids(checks.check_seams(None)) == ["W011"]
            (error,) = checks.check_seams(None)
            assert (error.id, "'relay'" in error.msg) == ("django_relay.E009", True)

    def test_the_django_q2_runner_needs_its_app(self):
        apps = [name for name in settings.INSTALLED_APPS if name != "django_q"]
        with relay(RUNNER="django_relay.runners.django_q.DjangoQRunner"), override_settings(INSTALLED_APPS=apps):
            (error,) = checks.check_seams(None)
        assert error.id == "django_relay.E008"


class TestDatabase:
    def options(self, **options):
        return {**connections[DEFAULT_DB_ALIAS].settings_dict, "OPTIONS": options}

    def test_the_databases_of_the_tests_are_fine(self, backend):
        assert checks.check_database(None) == []

    def test_sqlite_as_django_makes_it(self, monkeypatch):
        monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "settings_dict", self.options())
        assert ids(checks.check_database(None)) == ["W002", "W003"]

    def test_sqlite_with_either(self, monkeypatch):
        monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "settings_dict", self.options(transaction_mode="immediate"))
        assert ids(checks.check_database(None)) == ["W003"]
        monkeypatch.setattr(
            connections[DEFAULT_DB_ALIAS], "settings_dict", self.options(init_command="PRAGMA journal_mode = WAL;")
        )
        assert ids(checks.check_database(None)) == ["W002"]

    def test_another_database_is_refused(self, monkeypatch):
        monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "vendor", "oracle")
        assert ids(checks.check_database(None)) == ["E007"]


class TestDeployment:
    SAFE = {"ALLOW_HTTP": False, "ALLOWED_NETWORKS": []}

    def test_a_safe_configuration(self, backend):
        with relay(**self.SAFE):
            assert ids(checks.check_deployment(None)) == (["W006"] if backend == "sqlite" else [])

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"ALLOW_HTTP": True}, "W004"),
            ({"ALLOWED_NETWORKS": ["10.0.0.0/8"]}, "W005"),
            ({"RUNNER": "django_relay.runners.inline.InlineRunner"}, "W007"),
        ],
    )
    def test_names_what_is_unsafe(self, values, expected):
        with relay(**{**self.SAFE, **values}):
            assert set(ids(checks.check_deployment(None))) == {"W006", expected}

    def test_only_with_deploy(self):
        with relay(ALLOW_HTTP=True):
            assert "W004" not in ids(ours())
            assert "W004" in ids(ours(include_deployment_checks=True))
