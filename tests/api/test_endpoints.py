import pytest

from django_relay.api.endpoints import EndpointResource
from django_relay.models import AuditEntry, Endpoint
from tests import meanwhile
from tests.api.callers import code_of, operator, tenant
from tests.factories import make_endpoint
from tests.people import ALICE, CHARLIE

pytestmark = pytest.mark.django_db

GIVEN = {"url": "https://acme.example/webhooks", "event_types": ["invoice.*"]}


class TestCreate:
    def test_shows_the_secret_once(self):
        alice = tenant()
        made = alice.post("endpoints", {**GIVEN, "headers": {"X-Key": "hidden-value"}, "filters": {"region": "eu"}})
        assert made.status_code == 201, made.data
        assert made.data["secret"].startswith("whsec_")
        assert made.data["header_names"] == ["X-Key"]
        assert made.data["filters"] == {"region": ["eu"]}
        shown = alice.get(f"endpoints/{made.data['id']}")
        assert shown.status_code == 200
        assert "secret" not in shown.data
        assert b"hidden-value" not in made.content + shown.content
        assert shown.data == {key: value for key, value in made.data.items() if key != "secret"}

    def test_is_the_callers_tenants(self):
        made = tenant().post("endpoints", GIVEN)
        assert Endpoint.objects.get(pk=made.data["id"]).tenant_id == ALICE.tenant_id
        assert code_of(tenant().post("endpoints", {**GIVEN, "tenant_id": "globex"})) == "unknown_field"
        assert code_of(operator().post("endpoints", GIVEN)) == "required"
        theirs = operator().post("endpoints", {**GIVEN, "tenant_id": "globex"})
        assert theirs.data["tenant_id"] == "globex"

    @pytest.mark.parametrize(
        ("wrong", "pointer", "code"),
        [
            ({"url": "http://10.0.0.1/"}, "/url", "address_not_public"),
            ({"url": 7}, "/url", "wrong_type"),
            ({"event_types": []}, "/event_types", "wrong_type"),
            ({"event_types": ["a b"]}, "/event_types", "bad_pattern"),
            ({"event_types": "invoice.paid"}, "/event_types", "wrong_type"),
            ({"rate_limit": 10_001}, "/rate_limit", "out_of_range"),
            ({"rate_limit": "5"}, "/rate_limit", "wrong_type"),
            ({"format": "xml"}, "/format", "bad_choice"),
            ({"headers": {"Host": "evil"}}, "/headers", "forbidden_header"),
            ({"headers": []}, "/headers", "wrong_type"),
            ({"filters": {"a": {}}}, "/filters", "bad_filter"),
            ({"secret": "password"}, "/secret", "bad_secret"),
            ({"enabled": False}, "/enabled", "unknown_field"),
            ({"id": "ep_1"}, "/id", "unknown_field"),
            ({"retry_schedule": ["soon"]}, "/retry_schedule", None),
            ({"description": "x" * 501}, "/description", None),
        ],
        ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
    )
    def test_says_what_is_wrong_and_where(self, wrong, pointer, code):
        answer = tenant().post("endpoints", {**GIVEN, **wrong})
        assert answer.status_code == 400
        assert code in (None, code_of(answer))
        assert [error["pointer"] for error in answer.data["errors"]] == [pointer]
        assert not Endpoint.objects.exists()

    def test_says_everything_that_is_missing(self):
        answer = tenant().post("endpoints", {})
        assert [error["pointer"] for error in answer.data["errors"]] == ["/url", "/event_types"]


class TestChange:
    def test_patch_changes_what_is_given(self):
        endpoint = make_endpoint(headers={"X-Key": "secret-value"}, description="old")
        answer = tenant().patch(f"endpoints/{endpoint.pk}", {"description": "new"})
        assert (answer.status_code, answer.data["description"]) == (200, "new")
        assert answer.data["header_names"] == ["X-Key"]
        (entry,) = AuditEntry.objects.filter(action="endpoint.updated")
        assert entry.changes == {"description": {"before": "old", "after": "new"}}

    def test_put_replaces_the_rest_by_what_is_usual(self):
        endpoint = make_endpoint(description="old", rate_limit=5, headers={"X-Key": "v"}, filters={"a": "b"})
        answer = tenant().put(f"endpoints/{endpoint.pk}", GIVEN)
        assert answer.status_code == 200, answer.data
        shown = {name: answer.data[name] for name in ("description", "rate_limit", "header_names", "filters")}
        assert shown == {"description": "", "rate_limit": 0, "header_names": [], "filters": {}}

    def test_a_change_that_is_refused_changes_nothing(self):
        endpoint = make_endpoint(description="old")
        assert tenant().patch(f"endpoints/{endpoint.pk}", {"description": "new", "url": "x"}).status_code == 400
        endpoint.refresh_from_db()
        assert endpoint.description == "old"

    def test_delete_is_final(self):
        endpoint, alice = make_endpoint(), tenant()
        assert alice.delete(f"endpoints/{endpoint.pk}").status_code == 204
        assert code_of(alice.get(f"endpoints/{endpoint.pk}")) == "not_found"
        assert code_of(alice.delete(f"endpoints/{endpoint.pk}")) == "not_found"


class TestEnabling:
    @pytest.mark.parametrize("method", ["PATCH", "POST"])
    def test_by_the_tenant(self, method):
        endpoint, alice = make_endpoint(), tenant()
        answer = alice.call(method, f"endpoints/{endpoint.pk}/disable")
        assert (answer.data["enabled"], answer.data["disabled_reason"]) == (False, "tenant")
        assert alice.call(method, f"endpoints/{endpoint.pk}/enable").data["enabled"] is True

    def test_what_staff_stopped_only_staff_starts_again(self):
        endpoint = make_endpoint()
        endpoint.disable("staff")
        assert code_of(tenant().post(f"endpoints/{endpoint.pk}/enable")) == "disabled_by_staff"
        assert operator().post(f"endpoints/{endpoint.pk}/enable").data["enabled"] is True


class TestList:
    def test_is_the_tenants_by_the_page(self):
        made = [make_endpoint() for _ in range(3)]
        make_endpoint(CHARLIE)
        alice = tenant()
        first = alice.get("endpoints", limit=2)
        assert [row["id"] for row in first.data["data"]] == [made[2].pk, made[1].pk]
        assert first.data["has_more"] is True
        second = alice.get("endpoints", limit=2, cursor=first.data["next_cursor"])
        assert [row["id"] for row in second.data["data"]] == [made[0].pk]
        assert (second.data["has_more"], second.data["next_cursor"]) == (False, None)
        assert code_of(tenant(CHARLIE).get("endpoints", cursor=first.data["next_cursor"])) == "bad_cursor"

    def test_costs_the_same_whatever_its_length(self, django_assert_max_num_queries):
        alice = tenant()
        alice.get("endpoints")
        for _ in range(5):
            make_endpoint(headers={"X-Key": "v"})
        with django_assert_max_num_queries(5):
            assert len(alice.get("endpoints").data["data"]) == 5


class TestSecret:
    def test_every_look_is_on_record(self):
        endpoint = make_endpoint()
        answer = tenant().get(f"endpoints/{endpoint.pk}/secret")
        assert answer.data["secret"] == endpoint.secrets[0]
        assert answer.headers["Cache-Control"] == "no-store"
        entry = AuditEntry.objects.get(action="endpoint.secret_revealed")
        assert entry.object_id == endpoint.pk

    def test_needs_its_scope(self):
        answer = tenant(scopes=["read", "write"]).get(f"endpoints/{make_endpoint().pk}/secret")
        assert (answer.status_code, code_of(answer), answer.data["missing_scope"]) == (403, "scope_missing", "secrets")

    def test_rotation_keeps_the_old_one_for_the_overlap(self):
        endpoint, alice = make_endpoint(), tenant()
        old = endpoint.secrets[0]
        answer = alice.post(f"endpoints/{endpoint.pk}/rotate-secret", {"overlap_seconds": 3600})
        assert answer.status_code == 200, answer.data
        assert [row["secret"] for row in answer.data["secrets"]] == [answer.data["secret"], old]
        assert answer.data["secrets"][0]["expires_at"] is None
        alone = alice.post(f"endpoints/{endpoint.pk}/rotate-secret", {"overlap_seconds": 0, "scheme": "v1a"})
        assert [row["scheme"] for row in alone.data["secrets"]] == ["v1a"]
        assert alone.data["secrets"][0]["public_key"].startswith("whpk_")
        for text in AuditEntry.objects.values_list("changes", flat=True):
            assert "whs" not in str(text)


@pytest.mark.parametrize(
    ("method", "place", "status"),
    [("PATCH", "", 409), ("DELETE", "", 204), ("GET", "/secret", 404), ("POST", "/rotate-secret", 400)],
)
def test_one_that_others_delete_meanwhile_is_not_changed(monkeypatch, method, place, status):
    meanwhile.delete_each_endpoint_once_found(monkeypatch, EndpointResource, "endpoint")
    endpoint = make_endpoint(description="Books")
    answer = tenant().call(
        method, f"endpoints/{endpoint.pk}{place}", {"description": "new"} if method == "PATCH" else None
    )
    assert answer.status_code == status
    assert status == 204 or code_of(answer) in {"endpoint_deleted", "not_found"}
    assert Endpoint.objects.get().description == "Books"
    assert not AuditEntry.objects.filter(action__in=["endpoint.updated", "endpoint.deleted"]).exists()
