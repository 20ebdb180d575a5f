"""What is done to all that a list of the DLQ shows: to whom it is offered, what is refused, and what there is to do."""

import pytest
from django.contrib.auth.models import Permission

from django_relay.admin import dlq
from django_relay.models import AuditEntry, DLQEntry, Replay
from tests.admin.conftest import make_staff
from tests.factories import make_delivery, make_dlq_entry, make_endpoint
from tests.people import CHARLIE

pytestmark = pytest.mark.django_db

BASE = "/admin/django_relay/dlqentry/"


def test_the_list_leads_there_with_its_filters(boss, client):
    tools = client.get(f"{BASE}?state=open&q=acme").context["relay_tools"]
    assert [tool["url"] for tool in tools] == ["all/replay/?state=open&q=acme", "all/discard/?state=open&q=acme"]


@pytest.mark.parametrize("codenames", [("view_dlqentry",), ("replay_delivery",), ()], ids=str)
@pytest.mark.parametrize("operation", ["replay", "discard"])
def test_it_takes_both_permissions(client, codenames, operation):
    make_dlq_entry()
    user = make_staff("half")
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    assert client.get(f"{BASE}all/{operation}/").status_code == 403
    assert client.post(f"{BASE}all/{operation}/").status_code == 403
    assert Replay.objects.count() == 0
    if "view_dlqentry" in codenames:
        assert client.get(BASE).context["relay_tools"] == []


@pytest.mark.parametrize("query", ["q=nobody", "q=ep_01h455vb4pex5vsknk084sn02q", "span=1h&q=globex"])
def test_where_nothing_matches_there_is_nothing_to_do(boss, client, query):
    make_dlq_entry()
    page = client.get(f"{BASE}all/replay/?{query}").content.decode()
    assert "Nothing of this list is open." in page
    assert "<form method" not in page.split('id="content-main"')[1]
    client.post(f"{BASE}all/replay/?{query}")
    assert Replay.objects.count() == AuditEntry.objects.count() == 0


@pytest.mark.parametrize(
    "query", ["state=replayed", "state=discarded", "status=5xx", "q=dlq_01h455vb4pex5vsknk084sn02q"]
)
def test_a_list_of_anything_else_than_what_is_open_is_refused(boss, client, query):
    make_dlq_entry()
    for response in (client.get(f"{BASE}all/discard/?{query}"), client.post(f"{BASE}all/discard/?{query}")):
        assert response.status_code == 409
        assert response.context["problem"]
    assert DLQEntry.objects.open().count() == 1


def test_nothing_but_the_two_is_there(boss, client):
    assert client.post(f"{BASE}all/delete/").status_code == 404


def test_too_many_tenants_at_once_are_refused(boss, client, monkeypatch):
    for person in ("a", "b", "c"):
        make_dlq_entry(make_delivery(endpoint=make_endpoint(tenant_id=person), state="failed"))
    monkeypatch.setattr(dlq, "TENANTS", 2)
    assert "More than 2 tenants" in client.get(f"{BASE}all/replay/").content.decode()
    monkeypatch.setattr(dlq, "TENANTS", 3)
    assert client.get(f"{BASE}all/replay/").context["count"] == 3
    assert client.post(f"{BASE}all/replay/").status_code == 303
    assert {replay.tenant_id for replay in Replay.objects.all()} == {"a", "b", "c"}
    assert AuditEntry.objects.filter(action="replay.created").count() == 3


def test_only_the_tenant_that_was_looked_for_is_touched(boss, client):
    make_dlq_entry()
    make_dlq_entry(make_delivery(endpoint=make_endpoint(CHARLIE), state="failed"))
    assert client.get(f"{BASE}all/discard/?q=globex").context["count"] == 1
    assert client.post(f"{BASE}all/discard/?q=globex").status_code == 303
    assert Replay.objects.get().tenant_id == "globex"
