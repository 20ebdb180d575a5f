"""What users import, and nothing less."""

import subprocess
import sys

import pytest

import django_relay

NAMES = {
    "WebhookDefinition",
    "aemit",
    "deterministic_event_id",
    "emit",
    "emit_best_effort",
    "emit_many",
    "register",
    "register_event_type",
    "verify",
}


class TestPublicNames:
    def test_are_these(self):
        assert set(django_relay.__all__) == NAMES

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_are_there(self, name):
        assert getattr(django_relay, name)

    def test_that_do_not_exist_raise(self):
        with pytest.raises(AttributeError, match="no attribute 'send'"):
            _ = django_relay.send

    def test_import_nothing_of_django_until_used(self):
        code = "import sys, django_relay; assert 'django' not in sys.modules; django_relay.deterministic_event_id(1)"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
