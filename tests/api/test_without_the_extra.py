import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
sys.modules["drf_spectacular"] = sys.modules["drf_spectacular.openapi"] = None
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "example_project.settings"
from django.conf import settings
settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if "spectacular" not in name]
settings.REST_FRAMEWORK = {}
import django
django.setup()
from django.test import Client
from django_relay.api import resources
assert resources.SCHEMA is None
answer = Client().get("/webhooks/api/v1/endpoints", headers={"Host": "localhost"})
assert answer.status_code == 401, answer.status_code
"""


def test_the_api_works_without_drf_spectacular():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
