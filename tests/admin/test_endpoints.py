"""The form of an endpoint, its headers' values that go in and never come out, and sending everything again."""

import pytest

from django_relay.admin.endpoints import EndpointAdmin
from django_relay.models import Application, AuditEntry, Endpoint, Replay
from tests import meanwhile
from tests.factories import make_delivery, make_endpoint, make_event, make_event_type

pytestmark = pytest.mark.django_db

BASE = "/admin/django_relay/endpoint/"
SECRET = "hush-hush-1"


def form(**values):
    usual = {
        "url": "https://alice.example/webhooks", "description": "", "event_types": "*", "filters": "{}",
        "rate_limit": "0", "format": "standard", "retry_schedule": "", "timeout_seconds": "", "metadata": "{}",
        "own_headers": "",
    }  # fmt: skip
    return {**usual, **values}


def change(client, endpoint, **values):
    return client.post(f"{BASE}{endpoint.pk}/change/", form(url=endpoint.url, **values))


@pytest.fixture
def endpoint():
    return make_endpoint(headers={"X-Key": SECRET, "X-Room": "7"})


class TestOwnHeaders:
    def test_are_named_and_never_shown(self, boss, client, endpoint):
        page = client.get(f"{BASE}{endpoint.pk}/change/").content.decode()
        assert "X-Key:\nX-Room:\n" in page
        assert SECRET not in page

    def test_a_name_keeps_its_value_a_line_left_out_goes_and_one_with_a_value_is_new(self, boss, client, endpoint):
        assert change(client, endpoint, own_headers="X-Key:\nX-New: fresh : value").status_code == 302
        endpoint.refresh_from_db()
        assert endpoint.headers == {"X-Key": SECRET, "X-New": "fresh : value"}
        entry = AuditEntry.objects.get()
        assert (entry.action, entry.changes) == ("endpoint.updated", {"headers": "changed"})

    def test_a_new_endpoint_has_those_that_were_typed(self, boss, client):
        owner = {"application": Application.objects.get(slug="default").pk, "tenant_id": "acme"}
        assert client.post(f"{BASE}add/", form(**owner, own_headers=f"X-Key: {SECRET}")).status_code == 302
        assert Endpoint.objects.get().headers == {"X-Key": SECRET}
        assert SECRET not in str(list(AuditEntry.objects.values_list("changes", flat=True)))

    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            ("X-Other:", "X-Other has no value: write it as Name: value."),
            (f"Host: {SECRET}", "Host"),
            (f"bad name: {SECRET}", "name"),
            (f"X-Key: {SECRET}\x07", "X-Key"),
        ],
    )
    def test_what_is_wrong_is_said_without_the_value(self, boss, client, endpoint, lines, said):
        response = change(client, endpoint, own_headers=lines)
        page = response.content.decode()
        assert said in str(response.context["adminform"].form.errors["own_headers"])
        assert SECRET not in page
        endpoint.refresh_from_db()
        assert endpoint.headers == {"X-Key": SECRET, "X-Room": "7"}

    def test_typed_values_are_asked_for_again_where_something_else_is_wrong(self, boss, client, endpoint):
        response = change(client, endpoint, event_types="no pattern!", own_headers="X-Key: a-fresh-value\nX-Room:")
        errors = response.context["adminform"].form.errors
        assert {"event_types", "own_headers"} == set(errors)
        assert "a-fresh-value" not in response.content.decode()

    def test_other_changes_leave_them_alone(self, boss, client, endpoint):
        assert change(client, endpoint, description="new", own_headers="X-Key:\r\nX-Room:\r\n").status_code == 302
        endpoint.refresh_from_db()
        assert (endpoint.description, endpoint.headers) == ("new", {"X-Key": SECRET, "X-Room": "7"})
        assert list(AuditEntry.objects.get().changes) == ["description"]


class TestAnEndpointThatIsDeletedMeanwhile:
    """By others, between the moment in which a request found it and that in which it does something to it."""

    @pytest.fixture(autouse=True)
    def others(self, monkeypatch):
        meanwhile.delete_each_endpoint_once_found(monkeypatch, EndpointAdmin, "get_object")

    def test_is_not_changed_and_the_list_says_so(self, boss, client, endpoint):
        response = change(client, endpoint, description="new")
        assert (response.status_code, response["Location"]) == (303, BASE)
        assert "The endpoint was deleted." in client.get(BASE).content.decode()
        assert Endpoint.objects.get().description == ""
        assert not AuditEntry.objects.exists()

    @pytest.mark.parametrize("name", ["enable", "disable", "test", "rotate"])
    def test_is_not_operated_on(self, boss, client, endpoint, name):
        make_event_type("order.placed", example={})
        chosen = {"event_type": "order.placed", "overlap_seconds": "0"}
        response = client.post(f"{BASE}{endpoint.pk}/do/{name}/", chosen)
        assert response.status_code == 409
        assert "deleted" in str(response.context["form"].errors)
        assert not AuditEntry.objects.exists()

    def test_is_deleted_once(self, boss, client, endpoint):
        assert client.post(f"{BASE}{endpoint.pk}/do/delete/").status_code == 303
        assert not AuditEntry.objects.exists()


def test_a_form_says_what_is_wrong_with_a_url(boss, client, endpoint):
    response = client.post(f"{BASE}{endpoint.pk}/change/", form(url="http://127.0.0.1:99999/"))
    assert "url" in response.context["adminform"].form.errors


@pytest.mark.parametrize(("name", "kind", "count"), [("all", "all", 2), ("missing", "missing", 1)])
def test_everything_is_sent_again_or_what_is_missing(boss, client, endpoint, name, kind, count):
    make_delivery(endpoint=endpoint, event=make_event(), state="delivered", attempt_count=1)
    missed = make_event()
    type(missed).objects.filter(pk=missed.pk).update(status="no_match")
    assert client.post(f"{BASE}{endpoint.pk}/do/{name}/", {"hours": "24"}).status_code == 303
    replay = Replay.objects.get()
    assert (replay.kind, replay.total_count) == (kind, count)
    assert AuditEntry.objects.get().changes["kind"]["after"] == kind
