"""Django's settings of the benchmarks' own process and of all that it starts, from the environment.

``BENCH_DATABASE_URL``, ``BENCH_CONN_MAX_AGE``; ``BENCH_RELAY`` and ``BENCH_Q``, JSON over ``DJANGO_RELAY`` and
``Q_CLUSTER``.
"""

import json
import os
import sys
from pathlib import Path

from example_project.settings import MIDDLEWARE, TEMPLATES, database

sys.path.append(str(Path(__file__).parent / "peers"))  # the app "shop" is the peers' too

__all__ = ["MIDDLEWARE", "TEMPLATES"]

DEBUG = False
SECRET_KEY = "benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.auth",
    "django_q",
    "django_relay",
    "benchmarks",
    "shop",
]
DATABASES = {"default": database(os.environ["BENCH_DATABASE_URL"])}
DATABASES["default"]["CONN_MAX_AGE"] = int(os.environ.get("BENCH_CONN_MAX_AGE", "0"))

Q_CLUSTER = {
    "name": "idiom",
    "orm": "default",
    "workers": 2,
    "timeout": 60,
    "retry": 120,
    "log_level": "WARNING",
    "ALT_CLUSTERS": {"relay": {"workers": 2, "timeout": 60, "retry": 120}},
    **json.loads(os.environ.get("BENCH_Q", "{}")),
}
ALLOWED_HOSTS = ["localhost"]
ROOT_URLCONF = "example_project.urls"
STATIC_URL = "static/"
LOGGING = {"version": 1, "loggers": {"django_relay": {"level": "ERROR"}}}
DJANGO_RELAY = {
    "ENCRYPTION_KEYS": {"bench": "YmVuY2htYXJrcyBrZXkgb2YganVzdCAzMiBieXRlcyE="},
    "Q_CLUSTER_NAME": "relay",
    "RUNNER": "django_relay.runners.process.ProcessRunner",
    "ALLOW_HTTP": True,
    "ALLOWED_NETWORKS": ["127.0.0.0/8"],
    **json.loads(os.environ.get("BENCH_RELAY", "{}")),
}
