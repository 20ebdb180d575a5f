"""The floors and doors hold, and the contracts that say so can fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

FLOORS = "Floors: imports only go down"
STEPS = "Pipeline: steps never call each other; only the worker calls them"
RULES = "Rules are plain Python: no Django, no settings"
SOCKETS = "Door: sockets and HTTP only in transport"
Q2 = "Door: django-q2 only in its runner and its source"
DRF = "Door: DRF only in the API and where sources read serializers"
CRYPTOGRAPHY = "Door: cryptography only in signing and encrypted fields"

VIOLATIONS = [
    (FLOORS, "exceptions.py", "from django_relay import conf"),
    (FLOORS, "ids.py", "from django_relay import signals"),
    (FLOORS, "conf.py", "from django_relay import fields"),
    (FLOORS, "signals.py", "from django_relay import conf"),
    (FLOORS, "fields.py", "from django_relay.rules import filters"),
    (FLOORS, "rules/filters.py", "from django_relay.transport import base"),
    (FLOORS, "transport/base.py", "from django_relay import models"),
    (FLOORS, "models/event.py", "def late():\n    from django_relay.catalog import registry"),
    (FLOORS, "catalog/registry.py", "from django_relay.pipeline import wakeup"),
    (FLOORS, "pipeline/wakeup.py", "from django_relay.runners import inline"),
    (FLOORS, "runners/inline.py", "from django_relay import testing"),
    (FLOORS, "testing.py", "from django_relay.management.commands import relay_worker"),
    (FLOORS, "management/commands/relay_prune.py", "from django_relay import checks"),
    (FLOORS, "checks/__init__.py", "from django_relay import apps"),
    (FLOORS, "services.py", ""),
    (STEPS, "pipeline/leases.py", "from django_relay.pipeline import settlement"),
    (STEPS, "pipeline/outbox.py", "from django_relay.pipeline import worker"),
    (STEPS, "pipeline/wakeup.py", "from django_relay.pipeline import outbox"),
    (STEPS, "pipeline/notifications.py", "from django_relay.pipeline import wakeup"),
    (STEPS, "pipeline/dlq.py", "from django_relay.pipeline import deliveries"),
    (STEPS, "pipeline/matching.py", "from django_relay.pipeline import replays"),
    (STEPS, "pipeline/sweeper.py", ""),
    (RULES, "rules/retries.py", "from django.utils import timezone"),
    (RULES, "rules/retries.py", "from django_relay import conf"),
    (SOCKETS, "pipeline/attempts.py", "import requests"),
    (SOCKETS, "models/endpoint.py", "import socket"),
    (SOCKETS, "rules/envelopes.py", "from urllib.request import urlopen"),
    (Q2, "pipeline/wakeup.py", "from django_q.tasks import async_task"),
    (Q2, "runners/process.py", "from django_q.conf import Conf"),
    (DRF, "models/event_type.py", "from rest_framework import serializers"),
    (DRF, "sources/payloads.py", "from rest_framework import serializers"),
    (CRYPTOGRAPHY, "models/signing_secret.py", "from cryptography.fernet import Fernet"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "django_relay", tmp_path / "django_relay", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


class TestContracts:
    def test_hold(self):
        found = lint(ROOT)
        assert found.returncode == 0, found.stdout

    @pytest.mark.parametrize(("contract", "module", "line"), VIOLATIONS)
    def test_catch_a_seeded_violation(self, copy, contract, module, line):
        path = copy / "django_relay" / module
        path.write_text((path.read_text() if path.exists() else "") + f"\n\n{line}\n")
        found = lint(copy)
        assert found.returncode != 0
        assert f"{contract} BROKEN" in found.stdout, found.stdout + found.stderr
