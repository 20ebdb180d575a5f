"""What the routes do, beyond who may: sending again, tests, tenants, keys, sessions, statistics."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from django.utils import timezone

from django_relay.api import endpoint_tests
from django_relay.models import DLQEntry, Endpoint, EndpointHour, Event, PortalSession
from django_relay.models.endpoint_hour import hour_of
from django_relay.pipeline import fan_out
from django_relay.rules import tokens
from django_relay.testing import FakeTransport, deliver_pending
from tests.api.callers import Api, code_of, operator, tenant
from tests.factories import (
    USING,
    make_attempt,
    make_delivery,
    make_dlq_entry,
    make_endpoint,
    make_event,
    make_portal_session,
)  # fmt: skip
from tests.people import ALICE, CHARLIE

pytestmark = pytest.mark.django_db

SINCE = "2026-01-01T00:00:00Z"


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


def resolve(request):
    return "acme" if request.user.username == "alice" else None


class TestEvents:
    def test_show_their_data_and_who_did_not_match_and_why(self):
        wants, other = make_endpoint(), make_endpoint(event_types=["order.*"])
        picky = make_endpoint(filters={"region": ["us"]})
        event = make_event(attributes={"region": "eu"})
        fan_out.expand(10, now=timezone.now(), using=USING)
        shown = tenant().get(f"events/{event.pk}").data
        assert shown["data"]["number"] == "2026-0042"
        told = {row["endpoint_id"]: (row["matched"], row["reason"], row["filter"]) for row in shown["endpoints"]}
        assert told == {
            wants.pk: (True, "", ""), other.pk: (False, "pattern", ""), picky.pk: (False, "filter", "region"),
        }  # fmt: skip

    def test_lists_hold_no_data(self):
        make_event()
        (row,) = tenant().get("events").data["data"]
        assert "data" not in row

    def test_are_sent_again(self):
        delivery = make_delivery(state="delivered")
        answer = tenant().post(f"events/{delivery.event_id}/replay", {"endpoint_ids": [delivery.endpoint_id]})
        assert (answer.status_code, answer.data["done_count"]) == (202, 1)
        listed = tenant().get(f"events/{delivery.event_id}/deliveries").data["data"]
        assert [row["replay_id"] for row in listed] == [answer.data["id"], None]

    def test_of_others_cannot_be_sent_to_ones_own(self):
        theirs = make_delivery(endpoint=make_endpoint(CHARLIE), state="delivered")
        answer = tenant().post(f"events/{theirs.event_id}/replay", {"endpoint_ids": [make_endpoint().pk]})
        assert answer.status_code == 404
        mine = make_delivery(state="delivered")
        answer = tenant().post(f"events/{mine.event_id}/replay", {"endpoint_ids": [theirs.endpoint_id]})
        assert (answer.status_code, code_of(answer)) == (400, "unknown_endpoint")


class TestTestSends:
    def test_wait_for_what_comes_back(self, monkeypatch):
        endpoint = make_endpoint()
        monkeypatch.setattr(
            endpoint_tests.time, "sleep", lambda _seconds: deliver_pending(transport=FakeTransport(418))
        )
        monkeypatch.setattr(endpoint_tests, "connections", {USING: type("Idle", (), {"in_atomic_block": False})})
        answer = tenant().post(f"endpoints/{endpoint.pk}/test", {"event_type": "invoice.paid"})
        assert answer.status_code == 200, answer.data
        assert answer.data["attempt"]["status_code"] == 418
        assert answer.data["delivery"]["state"] == "failed"
        assert not DLQEntry.objects.exists()

    def test_say_that_nothing_came_back_yet(self):
        answer = tenant().post(f"endpoints/{make_endpoint().pk}/test", {"event_type": "invoice.paid"})
        assert (answer.status_code, answer.data["attempt"]) == (202, None)
        assert Event.objects.get(pk=answer.data["event_id"]).only_endpoint_id


class TestDLQ:
    def test_entries_show_the_data_of_their_event(self):
        entry = make_dlq_entry()
        assert tenant().get(f"dlq/{entry.pk}").data["data"]["number"] == "2026-0042"

    def test_are_replayed_once_at_a_time_and_discarded_for_good(self):
        entry, alice = make_dlq_entry(), tenant()
        assert alice.post(f"dlq/{entry.pk}/replay").data["replay_of"] == entry.delivery_id
        assert code_of(alice.post(f"dlq/{entry.pk}/replay")) == "already_replaying"
        assert alice.delete(f"dlq/{entry.pk}").status_code == 204
        assert alice.get(f"dlq/{entry.pk}").data["state"] == "discarded"
        assert [row["id"] for row in alice.get("dlq", state="discarded").data["data"]] == [entry.pk]

    def test_one_foreign_id_fails_the_whole_call(self):
        mine = make_dlq_entry()
        theirs = make_dlq_entry(make_delivery(endpoint=make_endpoint(CHARLIE), state="failed"))
        window = {"from": SINCE, "to": "2090-01-01T00:00:00Z"}
        alice = tenant()
        assert alice.post("dlq/replay", {**window, "ids": [mine.pk, theirs.pk]}).status_code == 404
        assert alice.post("dlq/replay", {**window, "ids": [mine.pk], "dry_run": True}).data == {"count": 1}
        answer = alice.post("dlq/replay", {**window, "endpoint_id": mine.endpoint_id})
        assert (answer.status_code, answer.data["kind"], answer.data["total_count"]) == (202, "failed", 1)


class TestReplays:
    def test_count_first_then_recover_and_cancel(self):
        entry, alice = make_dlq_entry(), tenant()
        place = f"endpoints/{entry.endpoint_id}/recover"
        assert alice.post(place, {"dry_run": True}).data == {"count": 1}
        made = alice.post(place, {"since": SINCE})
        assert (made.status_code, made.data["state"]) == (202, "pending")
        assert alice.get(f"replays/{made.data['id']}").data["total_count"] == 1
        assert alice.post(f"replays/{made.data['id']}/cancel").data["state"] == "cancelled"
        assert code_of(alice.post(f"replays/{made.data['id']}/cancel")) == "not_in_progress"

    def test_what_is_missing_needs_a_beginning(self):
        endpoint, alice = make_endpoint(), tenant()
        make_event()
        fan_out.expand(10, now=timezone.now(), using=USING)
        answer = alice.post(f"endpoints/{endpoint.pk}/replay-missing", {})
        assert answer.data["errors"][0] == {
            "in": "body", "pointer": "/since", "code": "required", "detail": "This is required.",
        }  # fmt: skip
        later = make_endpoint()
        counted = alice.post(f"endpoints/{later.pk}/replay-missing", {"since": SINCE, "dry_run": True})
        assert counted.data == {"count": 1}

    def test_have_a_limit(self):
        entry, alice = make_dlq_entry(), tenant()
        with relay(MAX_REPLAYS_PER_TENANT=1):
            assert alice.post(f"endpoints/{entry.endpoint_id}/recover").status_code == 202
            assert code_of(alice.post(f"endpoints/{entry.endpoint_id}/recover")) == "too_many_replays"


class TestDeliveries:
    def test_are_retried_and_cancelled(self):
        alice, pending = tenant(), make_delivery(next_attempt_at=timezone.now() + timedelta(hours=1))
        assert alice.post(f"deliveries/{pending.pk}/retry").data["id"] == pending.pk
        assert alice.post(f"deliveries/{pending.pk}/cancel").data["state"] == "cancelled"
        assert code_of(alice.post(f"deliveries/{pending.pk}/cancel")) == "not_pending"

    def test_outlive_their_event(self):
        delivery = make_delivery(state="delivered")
        make_attempt(delivery)
        Event.objects.all().delete()
        assert tenant().get(f"deliveries/{delivery.pk}").data["event_type"] == ""
        assert tenant().get(f"deliveries/{delivery.pk}/attempts").data["data"][0]["event_type"] == ""

    def test_are_held_while_their_endpoint_is_disabled(self):
        delivery = make_delivery()
        delivery.endpoint.disable()
        assert tenant().get(f"deliveries/{delivery.pk}").data["is_held"] is True


class TestStatistics:
    def test_of_an_endpoint(self):
        endpoint = make_endpoint()
        EndpointHour.objects.create(
            endpoint=endpoint, hour=hour_of(timezone.now()), delivered=3, retried=1, status_2xx=3, status_5xx=1,
            within_25_ms=4,
        )  # fmt: skip
        shown = tenant().get(f"endpoints/{endpoint.pk}/stats").data
        assert (shown["total"]["attempts"], shown["total"]["error_rate"]) == (4, 0.25)
        assert shown["total"]["status_classes"]["5xx"] == 1
        assert len(shown["buckets"]) == 24
        assert code_of(tenant().get(f"endpoints/{endpoint.pk}/stats", per="week")) == "bad_choice"
        long_ago = tenant().get(f"endpoints/{endpoint.pk}/stats", since="2000-01-01T00:00:00Z")
        assert (long_ago.status_code, code_of(long_ago)) == (400, "bad_period")

    def test_health_says_what_waits_and_who_works(self):
        make_delivery(next_attempt_at=timezone.now() - timedelta(minutes=5))
        shown = operator().get("health").data
        assert (shown["status"], shown["workers_alive"], shown["pending"]["count"]) == ("no_worker", 0, 1)
        assert shown["oldest_due_age_seconds"] >= 300


class TestTenants:
    def test_are_those_with_endpoints(self):
        for person in (ALICE, CHARLIE, ALICE):
            make_endpoint(person)
        api = operator()
        first = api.get("tenants", limit=1).data
        assert [(row["tenant_id"], row["endpoints"]) for row in first["data"]] == [("acme", 2)]
        second = api.get("tenants", limit=1, cursor=first["next_cursor"]).data
        assert [row["tenant_id"] for row in second["data"]] == ["globex"]
        assert code_of(api.get("tenants/nobody")) == "not_found"

    def test_are_erased_by_the_workers(self):
        make_endpoint()
        made = operator().delete("tenants/acme")
        assert (made.status_code, made.data["state"]) == (202, "pending")
        deliver_pending()
        assert operator().get("tenants/acme").data["erasure"]["state"] in {"pending", "running", "completed"}


class TestKeysAndSessions:
    def test_a_key_is_shown_once_and_ends_at_the_next_request(self):
        api = operator()
        made = api.post("api-keys", {"tenant_id": "acme", "scopes": ["read"]})
        alice = Api(made.data["key"])
        assert alice.get("endpoints").status_code == 200
        listed = api.get("api-keys", tenant_id="acme").data["data"]
        assert "key" not in listed[0]
        assert api.delete(f"api-keys/{made.data['id']}").status_code == 204
        assert alice.get("endpoints").status_code == 401

    def test_nobody_makes_a_key_that_can_do_more_than_himself(self):
        answer = operator(scopes=["read", "write"]).post("api-keys", {"tenant_id": "acme", "scopes": ["secrets"]})
        assert (answer.status_code, code_of(answer)) == (403, "scope_missing")
        assert tenant().post("api-keys", {"tenant_id": "acme"}).status_code == 403

    def test_a_portal_link_works_once_and_all_of_a_tenants_can_be_ended(self):
        api = operator()
        made = api.post("portal-sessions", {"tenant_id": "acme", "capabilities": ["view"]})
        assert made.status_code == 201, made.data
        assert f"#{tokens.PORTAL_LINK}" in made.data["url"]
        assert "url" not in api.get("portal-sessions", tenant_id="acme").data["data"][0]
        assert api.delete("portal-sessions", tenant_id="acme").data == {"revoked": 1}

    @override_settings(ROOT_URLCONF="tests.api.without_portal")
    def test_there_is_no_link_to_a_portal_that_is_not_mounted(self):
        answer = operator().post("portal-sessions", {"tenant_id": "acme"})
        assert (answer.status_code, code_of(answer)) == (409, "portal_not_mounted")
        assert not PortalSession.objects.exists()


class TestCallers:
    def test_a_portal_session_reads_and_writes_with_its_csrf_token(self):
        _session, token = make_portal_session(capabilities=["view", "endpoints"])
        client = Client()
        client.cookies[tokens.PORTAL_COOKIE] = token
        visitor, body = Api(client=client), {"url": ALICE.url, "event_types": ["*"]}
        assert visitor.get("endpoints").status_code == 200
        assert visitor.post("endpoints", body).status_code == 403
        csrf = {tokens.CSRF_HEADER: tokens.csrf_token(token)}
        assert visitor.post("endpoints", body, headers=csrf).status_code == 201
        assert visitor.post("endpoints", body, headers={**csrf, "Sec-Fetch-Site": "cross-site"}).status_code == 403
        endpoint = Endpoint.objects.get()
        assert visitor.get(f"endpoints/{endpoint.pk}/secret").status_code == 403  # not among its capabilities
        assert Api("rlk_wrong", client=client).get("endpoints").status_code == 401  # a wrong key is no way around

    def test_staff_may_what_their_permissions_say(self):
        user = User.objects.create_user("staff", is_staff=True)
        client = Client(enforce_csrf_checks=True)
        client.force_login(user)
        staff = Api(client=client)
        assert staff.get("endpoints").status_code == 403
        user.user_permissions.add(*Permission.objects.filter(codename__startswith="view_"))
        assert staff.get("endpoints").status_code == 200
        assert staff.get("tenants").status_code == 200
        assert staff.post("applications", {"slug": "x"}).status_code == 403  # no CSRF token

    def test_the_hosts_own_users_are_whose_tenant_the_resolver_says(self):
        make_endpoint(CHARLIE)
        mine = make_endpoint()
        client = Client()
        client.force_login(User.objects.create_user("alice"))
        alice = Api(client=client)
        assert alice.get("endpoints").status_code == 401
        with relay(TENANT_RESOLVER="tests.api.test_resources.resolve"):
            assert [row["id"] for row in alice.get("endpoints").data["data"]] == [mine.pk]
            stranger = Client()
            stranger.force_login(User.objects.create_user("somebody"))
            assert Api(client=stranger).get("endpoints").status_code == 401

    def test_nothing_depends_on_the_projects_own_settings_of_the_framework(self):
        from rest_framework.settings import reload_api_settings

        odd = {
            "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
            "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
            "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
            "DATETIME_FORMAT": "%d.%m.%Y",
            "COERCE_DECIMAL_TO_STRING": False,
            "EXCEPTION_HANDLER": "nowhere.to.be.found",
        }
        endpoint, alice = make_endpoint(), tenant()
        with override_settings(REST_FRAMEWORK=odd):
            reload_api_settings(setting="REST_FRAMEWORK", value=odd)
            shown = alice.get(f"endpoints/{endpoint.pk}")
            assert shown.data["created_at"].endswith("Z")
            assert code_of(alice.get("endpoints/x")) == "not_found"
        reload_api_settings(setting="REST_FRAMEWORK", value=settings.REST_FRAMEWORK)


class TestApplications:
    def test_have_catalogs_of_their_own(self):
        api = operator()
        assert api.post("applications", {"slug": "billing"}).status_code == 201
        assert code_of(api.post("applications", {"slug": "billing"})) == "already_exists"
        made = api.post("event-types", {"name": "order.placed", "application": "billing"})
        assert made.status_code == 201, made.data
        names = [row["name"] for row in api.get("event-types", application="billing").data["data"]]
        assert names == ["order.placed"]
        assert code_of(api.get("event-types", application="nowhere")) == "unknown_application"

    def test_event_types_are_deprecated_and_revived(self):
        api = operator()
        assert api.delete("event-types/invoice.paid").data["deprecated"] is True
        names = [row["name"] for row in api.get("event-types").data["data"]]
        assert "invoice.paid" not in names
        assert "invoice.paid" in [row["name"] for row in api.get("event-types", include_deprecated="true").data["data"]]
        assert api.put("event-types/invoice.paid", {"group": "special"}).data["deprecated"] is False
        assert [row["name"] for row in api.get("event-types", group="special").data["data"]] == ["invoice.paid"]
        assert code_of(api.post("event-types", {"name": "invoice.paid"})) == "already_exists"
        assert code_of(api.post("event-types", {"name": "a.b", "schema": {"type": 7}})) == "bad_schema"
