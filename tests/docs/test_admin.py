"""The admin's page in the documentation tells the permissions as the code asks for them."""

import re
from pathlib import Path

from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser

PAGE = (Path(__file__).parents[2] / "docs" / "admin.md").read_text()
ADMINS = {model.__name__: admin.site._registry[model] for model in apps.get_app_config("django_relay").get_models()}


class Asked(AnonymousUser):
    """Somebody who has no permission, and notes which is asked for."""

    def has_perm(self, perm, obj=None):
        self.wanted = perm.removeprefix("django_relay.")
        return False


def told(columns):
    """Return the cells of those rows of tables that name a permission."""
    lines = [line for line in PAGE.splitlines() if re.fullmatch(r"\|.*`\w+` \|", line)]
    cells = [tuple(cell.strip(" `") for cell in line.strip("|").split("|")) for line in lines]
    return {row for row in cells if len(row) == columns}


def test_every_operation_is_told_with_its_permission():
    assert told(3) == {
        (name, str(operation.label), operation.permission.removeprefix("django_relay."))
        for name, modeladmin in ADMINS.items()
        for operation in getattr(modeladmin, "operations", ())
    }


def test_every_form_that_makes_something_is_told_with_its_permission(rf):
    made = set()
    for name, modeladmin in ADMINS.items():
        request = rf.get("/")
        request.user = Asked()
        modeladmin.has_add_permission(request)
        if hasattr(request.user, "wanted"):
            made.add((name, request.user.wanted))
    assert told(2) == made


def test_what_it_shows_is_there():
    for path in re.findall(r"\]\((images/[^)]+)\)", PAGE):
        assert (Path(__file__).parents[2] / "docs" / path).exists(), path
