"""Settings of the example: SQLite by default, PostgreSQL with DATABASE_URL.

They are fit for a developer's machine only: ``manage.py check --deploy`` names what production must change.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent


def database(url: str) -> dict[str, Any]:
    """Return Django's settings for ``sqlite:///path`` or ``postgresql://user:password@host:port/name?host=/socket``."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": parts.path[1:],
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    query = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.get("host", parts.hostname or ""),
        "PORT": str(parts.port or ""),
    }


DEBUG = os.environ.get("DEBUG", "1") == "1"
SECRET_KEY = "an example's key, known to everybody"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ROOT_URLCONF = "example_project.urls"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_q",
    "django_relay",
    "example_project.shop",
]
# The API's description, if it is installed: pip install "django-relay[openapi]" drf-spectacular-sidecar.
INSTALLED_APPS += [name for name in ("drf_spectacular", "drf_spectacular_sidecar") if find_spec(name)]
if "drf_spectacular" in INSTALLED_APPS:
    REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}  # of its own pages
SPECTACULAR_SETTINGS = {
    "TITLE": "Webhooks",
    "DESCRIPTION": "Send webhooks, and manage the endpoints that receive them.\n\n"
    "How large a body may be is the API's to say (413). How slowly it may arrive is the web server's: the API waits "
    "for a body as long as the server lets it (nginx: `client_body_timeout`, with `proxy_request_buffering on`, so "
    "that no worker waits; gunicorn: `--timeout`).",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [],  # enums stay where they are used
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": database(os.environ.get("DATABASE_URL", f"sqlite:///{BASE_DIR / 'example.sqlite3'}"))}

Q_CLUSTER = {
    "name": "shop",
    "orm": "default",
    "workers": 2,
    "timeout": 60,
    "retry": 120,
    "max_attempts": 1,
    "save_limit": 50,
    "catch_up": False,
    "poll": 0.2,
    "log_level": os.environ.get("Q_LOG_LEVEL", "INFO"),
    # Deliveries run on a cluster of their own, so that they never queue behind the shop's jobs:
    # Q_CLUSTER_NAME=relay manage.py qcluster
    "ALT_CLUSTERS": {"relay": {"workers": 2, "timeout": 60, "retry": 120}},
}

DJANGO_RELAY = {
    "ENCRYPTION_KEYS": {"example": "ZXhhbXBsZSBrZXkgb2YgZXhhY3RseSAzMiBieXRlcyE="},
    "Q_CLUSTER_NAME": "relay",
    # The customer's receiver of the example lives on this machine and speaks plain HTTP.
    "ALLOW_HTTP": True,
    "ALLOWED_NETWORKS": ["127.0.0.0/8", "::1/128"],
}
# The environment may shorten the waits, for the demo and for tests that start real processes.
if "RELAY_RETRY_SCHEDULE" in os.environ:
    DJANGO_RELAY["RETRY_SCHEDULE"] = [float(wait) for wait in os.environ["RELAY_RETRY_SCHEDULE"].split(",")]
for _name in ("PASS_SECONDS", "POLL_SECONDS"):
    if f"RELAY_{_name}" in os.environ:
        DJANGO_RELAY[_name] = float(os.environ[f"RELAY_{_name}"])

# What the worker does, a line a fact: RELAY_LOG_LEVEL=INFO.
if "RELAY_LOG_LEVEL" in os.environ:
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "loggers": {"django_relay": {"handlers": ["console"], "level": os.environ["RELAY_LOG_LEVEL"]}},
    }
