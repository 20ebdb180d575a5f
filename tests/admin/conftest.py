"""Three kinds of staff, and an admin site of the example project to walk."""

import pytest
from django.contrib.auth.models import Permission, User

SUPPORT = (
    *(f"view_{name}" for name in (
        "application", "eventtype", "endpoint", "event", "delivery", "attempt", "dlqentry", "replay", "workerpresence",
    )),
    "replay_delivery",
)  # fmt: skip
"""What those may who help customers: look, and send again."""


def make_staff(name, permissions=(), *, superuser=False):
    """Make a member of staff with some of the app's permissions."""
    user = User.objects.create(username=name, is_staff=True, is_superuser=superuser)
    user.set_password("secret")
    user.save()
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="django_relay", codename__in=permissions)
    )
    return user


@pytest.fixture
def boss(db, client):
    """A superuser, signed in with ``client``."""
    user = make_staff("boss", superuser=True)
    client.force_login(user)
    return user


@pytest.fixture
def support(db):
    """Somebody of support: views and sends again."""
    return make_staff("support", SUPPORT)


@pytest.fixture
def stranger(db):
    """Staff of another department: no permission of ours at all."""
    return make_staff("stranger")
