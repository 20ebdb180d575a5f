"""Settings of the tests: the example project's apps on both databases (see conftest.py)."""

from example_project.settings import *  # noqa: F403
from example_project.settings import DJANGO_RELAY as EXAMPLE_RELAY
from example_project.settings import INSTALLED_APPS as EXAMPLE_APPS
from example_project.settings import database
from tests import databases

DEBUG = False
SECRET_KEY = "tests"
INSTALLED_APPS = [*EXAMPLE_APPS, "tests.sources.library", "tests.sources.market"]
DATABASES = {
    "default": database(f"sqlite:///{databases.folder()}/unused.sqlite3"),
    "postgres": database(databases.postgres_url()),
}
# A file, as in production: journal, locks and several connections behave as they do there.
DATABASES["default"]["TEST"] = {"NAME": str(databases.folder() / "tests.sqlite3")}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DJANGO_RELAY = {
    **EXAMPLE_RELAY,
    "Q_CLUSTER_NAME": None,
    "RUNNER": "django_relay.runners.process.ProcessRunner",
}
Q_CLUSTER = {
    "name": "tests",
    "orm": "default",
    "workers": 2,
    "timeout": 60,
    "retry": 120,
    "save_limit": 50,
}
