"""Three kinds of staff walk over every address of the admin and try every operation."""

import re

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import URLPattern

from django_relay.admin.operations import Operated
from django_relay.models import AuditEntry, EndpointHour, Erasure, JobRun, PublishFailure, SigningSecret, WorkerPresence
from tests.admin.conftest import SUPPORT
from tests.factories import (
    INVOICE,
    make_api_key,
    make_attempt,
    make_delivery,
    make_dlq_entry,
    make_endpoint,
    make_event_type,
    make_portal_session,
    make_replay,
)

pytestmark = pytest.mark.django_db

BASE = "/admin/django_relay/"
MODELS = list(apps.get_app_config("django_relay").get_models())
NEEDED = {  # what a page needs besides being let in, by its name
    "django_relay_event_add": ["send_event"],
    "django_relay_apikey_add": ["add_apikey"],
    "django_relay_portalsession_add": ["open_portal"],
    "django_relay_erasure_add": ["add_erasure"],
    "django_relay_endpoint_add": ["add_endpoint"],
    "django_relay_application_add": ["add_application"],
    "django_relay_eventtype_add": ["add_eventtype"],
    "django_relay_tenants": ["view_endpoint", "view_delivery", "view_dlqentry"],
    "django_relay_dlqentry_all": ["view_dlqentry", "replay_delivery"],
}
FORMS = {"event_type": "invoice.paid", "overlap_seconds": "0", "hours": "24", "why": "", "replaced_by": ""}


@pytest.fixture
def rows():
    """One row of each model, by its name."""
    entry = make_dlq_entry()
    make_attempt(entry.delivery)
    make_event_type("made.here")
    make_endpoint()
    failure = PublishFailure.objects.create(
        event_type="invoice.paid", arguments={"event_type": "invoice.paid", "data": {}}, error="gone"
    )
    hour = EndpointHour.objects.create(endpoint=entry.endpoint, hour="2026-01-01T10:00Z", delivered=3)
    made = {
        "dlqentry": entry,
        "replay": make_replay(),
        "apikey": make_api_key()[0],
        "portalsession": make_portal_session()[0],
        "publishfailure": failure,
        "endpointhour": hour,
        "workerpresence": WorkerPresence.objects.create(runner="process", state="working", seen_at="2026-01-01T10:00Z"),
        "jobrun": JobRun.objects.create(source="django_q", job_id="1"),
        "erasure": Erasure.objects.create(application=entry.endpoint.application, tenant_id="gone"),
    }
    return {model._meta.model_name: made.get(model._meta.model_name) or model.objects.first() for model in MODELS}


def addresses(rows):
    """Give every address of the app in the admin: its path, the name of its page, its model and row."""
    for model in MODELS:
        name, row = model._meta.model_name, rows[model._meta.model_name]
        modeladmin = admin.site._registry[model]
        for pattern in modeladmin.get_urls():
            assert isinstance(pattern, URLPattern)
            if pattern.name is None:
                continue  # Django's redirect of addresses without "change/"
            key = row.pk if row is not None else "missing"
            route = re.sub(r"<path:object_id>", key, str(pattern.pattern))
            if "<slug:operation>" not in route:
                yield f"{BASE}{name}/{route}", pattern.name, model, None
            elif pattern.name == "django_relay_dlqentry_all":
                yield f"{BASE}{name}/{route.replace('<slug:operation>', 'replay')}", pattern.name, model, None
            else:
                for operation in modeladmin.operations:
                    path = f"{BASE}{name}/{route.replace('<slug:operation>', operation.name)}"
                    yield path, pattern.name, model, operation


def expected(name, model, operation, permissions):
    """Return which statuses the page may answer with, given somebody's permissions (``None`` is everything)."""

    def has(*codenames):
        return permissions is None or set(codenames) <= set(permissions)

    kind = model._meta.model_name
    view = has(f"view_{kind}") or has(f"change_{kind}")
    if operation is not None:
        allowed = has(f"view_{kind}") and has(operation.permission.removeprefix("django_relay."))
    elif name in NEEDED:
        allowed = has(*NEEDED[name])
    elif name.endswith(("_add", "_delete")):
        return {403}  # history is not made or deleted by hand, nor is anything else without its own page
    else:
        allowed = view
    return {200, 302, 409} if allowed else {403}


@pytest.mark.parametrize("who", ["boss", "support", "stranger"])
def test_everybody_sees_what_their_permissions_say(who, request, client, rows):
    user = request.getfixturevalue(who)
    client.force_login(user)
    permissions = {"boss": None, "support": SUPPORT, "stranger": ()}[who]
    wrong = []
    for path, name, model, operation in addresses(rows):
        if rows[model._meta.model_name] is None and "missing" in path:
            continue
        status = client.get(path).status_code
        if status not in expected(name, model, operation, permissions):
            wrong.append((path, status))
    assert wrong == []


@pytest.mark.parametrize("who", ["boss", "support", "stranger"])
def test_everybody_does_what_their_permissions_say_and_that_is_on_record(who, request, client, rows):
    client.force_login(request.getfixturevalue(who))
    permissions = {"boss": None, "support": SUPPORT, "stranger": ()}[who]
    secrets = [key for secret in SigningSecret.objects.all() for key in [secret.key]]
    wrong, done = [], 0
    for path, name, model, operation in addresses(rows):
        if operation is None or operation.name == "delete":
            continue
        before = AuditEntry.objects.count()
        status = client.post(path, FORMS).status_code
        if expected(name, model, operation, permissions) == {403}:
            if status != 403 or AuditEntry.objects.count() != before:
                wrong.append((path, status, "was not refused"))
        elif status not in {200, 303, 409}:
            wrong.append((path, status, "failed"))
        elif status != 409:
            done += 1
            unchanged = {"enable", "discard"}  # of what is enabled, or was sent again just before
            if AuditEntry.objects.count() == before and operation.name not in unchanged:
                wrong.append((path, status, "is not on record"))
    assert wrong == []
    assert done >= {"boss": 12, "support": 3, "stranger": 0}[who]
    told = str(list(AuditEntry.objects.values_list("changes", flat=True)))
    assert not [key for key in (*secrets, *(row.key for row in SigningSecret.objects.all())) if key in told]
    assert "whsec_" not in told
    assert "rlp_" not in told


@pytest.mark.parametrize("who", ["boss", "support", "stranger"])
def test_everybody_does_to_selected_rows_what_their_permissions_say_and_that_is_on_record(who, request, client, rows):
    user = request.getfixturevalue(who)
    client.force_login(user)
    kept = {"event_type": "invoice.paid", "arguments": {"event_type": "invoice.paid", "data": INVOICE}, "error": "gone"}
    rows |= {"delivery": make_delivery(), "publishfailure": PublishFailure.objects.create(**kept)}
    wrong, done = [], 0
    for model in MODELS:
        modeladmin, name = admin.site._registry[model], model._meta.model_name
        for operation in getattr(modeladmin, "operations", ()):
            if not operation.label_of_many or operation.name == "delete":
                continue
            before = AuditEntry.objects.count()
            data = {"action": f"do_{operation.name}", "_selected_action": [rows[name].pk], "confirmed": "yes", **FORMS}
            status = client.post(f"{BASE}{name}/", data).status_code
            recorded = AuditEntry.objects.count() - before
            if user.has_perms([operation.permission, f"django_relay.view_{name}"]):
                done += 1
                if status != 303 or (not recorded and operation.name != "enable"):
                    wrong.append((name, operation.name, status, recorded))
            elif recorded or status == 303:
                wrong.append((name, operation.name, status, "was not refused"))
    assert wrong == []
    assert done >= {"boss": 9, "support": 4, "stranger": 0}[who]


class TestTheLists:
    def test_every_model_has_one(self):
        assert [model for model in MODELS if model not in admin.site._registry] == []

    def test_every_operation_of_a_list_is_offered_by_permission(self, boss, support, client, rows, rf):
        for model in MODELS:
            modeladmin = admin.site._registry[model]
            if isinstance(modeladmin, Operated):
                request = rf.get("/")
                request.user = support
                offered = {f"do_{one.name}" for one in modeladmin.operations if one.label_of_many}
                allowed = {
                    f"do_{one.name}"
                    for one in modeladmin.operations
                    if one.label_of_many and support.has_perm(one.permission)
                }
                assert set(modeladmin.get_actions(request)) == allowed
                request.user = boss
                assert set(modeladmin.get_actions(request)) == offered

    def test_an_action_that_is_not_offered_does_nothing(self, support, client):
        endpoint = make_endpoint()
        client.force_login(support)
        data = {"action": "do_disable", "_selected_action": [endpoint.pk], "index": "0", "confirmed": "yes"}
        client.post(f"{BASE}endpoint/", data)
        endpoint.refresh_from_db()
        assert endpoint.enabled

    def test_selecting_across_pages_takes_what_was_selected(self, boss, client):
        first, second = make_delivery(), make_delivery()
        data = {"action": "do_cancel", "_selected_action": [first.pk], "select_across": "1", "confirmed": "yes"}
        assert client.post(f"{BASE}delivery/", data).status_code == 303
        first.refresh_from_db()
        second.refresh_from_db()
        assert (first.state, second.state) == ("cancelled", "pending")


def test_the_dashboard_shows_a_stranger_nothing(client, stranger):
    make_dlq_entry()
    client.force_login(stranger)
    assert client.get(BASE).status_code == 404  # Django's: there is no app for who may see none of its models


def test_the_dashboard_shows_support_what_it_may_see(client, support):
    make_dlq_entry()
    client.force_login(support)
    text = client.get(BASE).content.decode()
    assert "Open in the DLQ" in text
    assert "Most failing endpoints" in text
    assert "API keys" not in text
