"""Endpoints: the list, a new one, and changing one."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay.models import AuditEntry, Endpoint
from django_relay.portal import endpoints
from django_relay.rules import signing
from tests import meanwhile
from tests.factories import make_delivery, make_endpoint, make_event, make_event_type
from tests.people import ALICE, CHARLIE
from tests.portal.visitors import Visitor, text_of

pytestmark = pytest.mark.django_db

FORM = {"url": "https://alice.example/hooks", "subscribe": "all", "format": "standard"}


@pytest.fixture
def visitor():
    return Visitor()


def added(visitor, **values):
    return visitor.post("add_endpoint", **{**FORM, **values})


class TestOneThatIsDeletedMeanwhile:
    """By others, between the moment in which a request found it and that in which it does something to it."""

    @pytest.fixture(autouse=True)
    def others(self, monkeypatch):
        meanwhile.delete_each_endpoint_once_found(monkeypatch, endpoints, "find")

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("edit_endpoint", FORM),
            ("reveal_secret", {}),
            ("rotate_secret", {"overlap_seconds": 0}),
            ("testing", {"event_type": "order.placed", "data": "{}"}),
            ("enable_endpoint", {}),
            ("disable_endpoint", {}),
        ],
    )
    def test_is_not_there(self, visitor, name, values):
        make_event_type("order.placed")
        endpoint = make_endpoint(description="Books")
        response = visitor.post(name, endpoint.pk, **values)
        if response.status_code == 303:
            response = visitor.client.get(response["Location"])
        assert response.status_code == 404
        assert Endpoint.objects.get().description == "Books"
        assert not AuditEntry.objects.filter(object_id=endpoint.pk).exclude(action="endpoint.secret_revealed").exists()

    def test_is_deleted_once(self, visitor):
        endpoint = make_endpoint()
        assert visitor.post("delete_endpoint", endpoint.pk).status_code == 303
        assert not AuditEntry.objects.filter(object_id=endpoint.pk).exists()


class TestTheList:
    def test_says_what_to_do_while_it_is_empty(self, visitor):
        page = visitor.page("endpoints")
        assert "Hear of what happens" in page
        assert "/webhooks/endpoints/add/" in page

    def test_shows_state_subscription_and_url(self, visitor):
        make_endpoint(event_types=["invoice.paid"])
        make_endpoint(url="https://alice.example/2").disable("gone")
        page = visitor.page("endpoints")
        assert "Enabled" in page
        assert "Disabled: gone" in page
        assert "invoice.paid" in page

    def test_is_narrowed_down(self, visitor):
        kept = make_endpoint(url="https://one.example/", description="Ledger", event_types=["invoice.*"])
        paused = make_endpoint(url="https://two.example/", event_types=["order.*"])
        paused.disable("tenant")
        for query in ({"q": "ledger"}, {"q": kept.pk}, {"state": "enabled"}, {"event_type": "invoice.paid"}):
            page = visitor.page("endpoints", **query)
            assert "one.example" in page
            assert "two.example" not in page
        assert "No endpoint fits" in visitor.page("endpoints", q="nothing like that")

    def test_goes_on_by_key(self, visitor):
        for number in range(30):
            make_endpoint(url=f"https://alice.example/{number:02}")
        first = visitor.page("endpoints")
        assert "/29" in first
        after = first.split("?after=")[1].split('"')[0]
        assert "https://alice.example/00" in visitor.page("endpoints", after=after)
        assert visitor.get("endpoints", after="ep_x").status_code == 404

    def test_asks_no_query_for_a_row(self, visitor):
        def queries():
            with CaptureQueriesContext(connection) as found:
                visitor.page("endpoints")
            return len(found)

        make_endpoint()
        visitor.page("endpoints")
        before = queries()
        for number in range(20):
            make_endpoint(url=f"https://alice.example/{number}")
        assert queries() == before <= 6


class TestANewEndpoint:
    def test_shows_its_secret_once(self, visitor):
        response = added(visitor)
        endpoint = Endpoint.objects.get()
        assert response.status_code == 201
        assert endpoint.secrets[0] in text_of(response)
        for name in ("endpoint", "secret", "edit_endpoint", "attempts", "testing"):
            assert endpoint.secrets[0] not in visitor.page(name, endpoint.pk)
        assert AuditEntry.objects.get(action="endpoint.created").actor == f"portal:{visitor.session.pk}"

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("https://10.0.0.8/", "private or reserved"),
            ("https://[fd00::1]/", "private or reserved"),
            ("ftp://alice.example/", "Only https://"),
            ("https://user:pass@alice.example/", "user name"),
            ("https://alice.example:22/", "port"),
            ("https://", "This is not a URL"),
            ("javascript:alert(1)", "Only https://"),
        ],
    )
    def test_is_refused_with_a_reason(self, visitor, url, said):
        checked = visitor.post("check_url", url=url)
        response = added(visitor, url=url)
        assert response.status_code == 422
        assert said in text_of(response)
        assert said in text_of(checked) or url == "https://"
        assert not Endpoint.objects.exists()

    def test_url_that_is_fine_is_said_to_be_fine(self, visitor):
        assert "can be called" in text_of(visitor.post("check_url", url="https://alice.example/"))

    def test_keeps_what_was_typed_when_something_is_wrong(self, visitor):
        page = text_of(added(visitor, url="https://10.0.0.8/", description="Ledger", subscribe="some", patterns="a.*"))
        assert 'value="Ledger"' in page
        assert "a.*" in page

    def test_takes_types_patterns_filters_and_headers(self, visitor):
        make_event_type("order.placed")
        added(
            visitor,
            subscribe="some",
            event_types=["order.placed", "invoice.paid"],
            patterns="*.created\n job.** ",
            filters='{"region": "eu"}',
            header_name=["X-Token", ""],
            header_value=["t0p", ""],
            rate_limit="7",
            format="raw",
        )
        endpoint = Endpoint.objects.get()
        assert endpoint.event_types == ["order.placed", "invoice.paid", "*.created", "job.**"]
        assert endpoint.filters == {"region": ["eu"]}
        assert endpoint.headers == {"X-Token": "t0p"}
        assert (endpoint.rate_limit, endpoint.format) == (7, "raw")

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"subscribe": "some"}, "Choose at least one"),
            ({"subscribe": "some", "patterns": "in*voice"}, "A pattern is"),
            ({"subscribe": "some", "event_types": ["unknown.type"]}, "Select a valid choice"),
            ({"filters": "{"}, "not JSON; look at line 1"),
            ({"filters": '{"a": {}}'}, "Filters are"),
            ({"filters": "[" * 5_000}, "not JSON"),
            ({"header_name": "Host", "header_value": "x"}, "set by the sender"),
            ({"header_name": "X-A", "header_value": "ü"}, "visible ASCII"),
            ({"header_name": "X-A", "header_value": ""}, "Give the header a value"),
            ({"rate_limit": "-1"}, "greater than or equal to 0"),
            ({"description": "\x00"}, "Null characters"),
            ({"timeout_seconds": "31"}, "less than or equal to 30"),
            ({"retry_schedule": "custom"}, "Write the waits"),
            ({"retry_schedule": "custom", "waits": "5 s, 2 parsecs"}, "“2parsecs” is no wait"),
            ({"retry_schedule": "custom", "waits": "31 d"}, "at most 30 days"),
            ({"retry_schedule": "custom", "waits": "1 s," * 51}, "at most 50"),
            ({"retry_schedule": "never"}, "Select a valid choice"),
        ],
        ids=str,
    )
    def test_says_what_is_wrong(self, visitor, values, said):
        response = added(visitor, **values)
        assert response.status_code == 422
        assert said in text_of(response)

    def test_is_one_too_many(self, visitor, relay_settings):
        relay_settings(MAX_ENDPOINTS_PER_TENANT=1)
        added(visitor)
        assert "as many endpoints as you may have" in text_of(added(visitor))

    def test_takes_a_time_limit_and_a_retry_schedule(self, visitor):
        assert "5 s, 30 s, 2 min, 10 min: 5 attempts in 13 minutes" in visitor.page("add_endpoint")
        for chosen, stored in (
            ({"retry_schedule": "usual"}, None),
            ({"retry_schedule": "quick"}, [5, 30, 120, 600]),
            ({"retry_schedule": "once"}, []),
            ({"retry_schedule": "custom", "waits": "5s, 5 min 2H; 1.5 d, 90"}, [5, 300, 7_200, 129_600, 90]),
            ({"retry_schedule": "usual", "waits": "7 s"}, None),
        ):
            assert added(visitor, timeout_seconds="7", **chosen).status_code == 201
            endpoint = Endpoint.objects.latest("created_at")
            assert (endpoint.timeout_seconds, endpoint.retry_schedule) == (7, stored)
            page = visitor.page("edit_endpoint", endpoint.pk)
            assert f'value="{chosen["retry_schedule"]}" checked' in page

    def test_signs_with_a_shared_secret_or_a_public_key(self, visitor):
        page = text_of(added(visitor, scheme="v1a"))
        (secret,) = Endpoint.objects.get().secrets
        assert secret.startswith("whsk_")
        assert signing.public_key(secret) in page
        assert secret not in page
        page = visitor.page("secret", Endpoint.objects.get().pk)
        assert signing.public_key(secret) in page
        assert "Ed25519PublicKey" in page
        page = text_of(visitor.post("rotate_secret", Endpoint.objects.get().pk, overlap_seconds="0", scheme="v1"))
        assert Endpoint.objects.get().secrets[0] in page
        assert Endpoint.objects.get().secrets[0].startswith("whsec_")

    def test_takes_no_field_that_is_not_on_the_form(self, visitor):
        added(visitor, tenant_id=CHARLIE.tenant_id, enabled="", application="second", metadata="{}")
        endpoint = Endpoint.objects.get()
        assert (endpoint.tenant_id, endpoint.enabled) == (ALICE.tenant_id, True)


class TestAnEndpoint:
    @pytest.fixture
    def endpoint(self):
        return make_endpoint(
            headers={"X-Token": "t0p-s3cret"}, filters={"region": ["eu"]}, event_types=["invoice.paid"]
        )

    def test_never_shows_a_headers_value(self, visitor, endpoint):
        for name in ("endpoint", "edit_endpoint"):
            page = visitor.page(name, endpoint.pk)
            assert "X-Token" in page
            assert "t0p-s3cret" not in page

    def test_keeps_a_header_whose_value_is_not_typed_anew(self, visitor, endpoint):
        values = {**FORM, "subscribe": "some", "event_types": ["invoice.paid"]}
        visitor.post("edit_endpoint", endpoint.pk, **values, header_name=["X-Token", "X-More"], header_value=["", "m"])
        endpoint.refresh_from_db()
        assert endpoint.headers == {"X-Token": "t0p-s3cret", "X-More": "m"}
        visitor.post("edit_endpoint", endpoint.pk, **values, header_name=["", "X-More"], header_value=["", ""])
        endpoint.refresh_from_db()
        assert endpoint.headers == {"X-More": "m"}
        entry = AuditEntry.objects.filter(action="endpoint.updated").order_by("at").first()
        assert "t0p" not in str(entry.changes)

    def test_is_changed(self, visitor, endpoint):
        response = visitor.post("edit_endpoint", endpoint.pk, **{**FORM, "url": "https://alice.example/new"})
        assert response.status_code == 303
        endpoint.refresh_from_db()
        assert (endpoint.url, endpoint.event_types) == ("https://alice.example/new", ["*"])

    def test_keeps_patterns_and_types_apart_when_it_is_edited(self, visitor):
        make_event_type("order.placed")
        endpoint = make_endpoint(event_types=["order.placed", "job.**"])
        page = visitor.page("edit_endpoint", endpoint.pk)
        assert 'value="order.placed" checked' in page
        assert ">job.**</textarea>" in page

    def test_is_paused_and_enabled(self, visitor, endpoint):
        visitor.post("disable_endpoint", endpoint.pk)
        endpoint.refresh_from_db()
        assert endpoint.disabled_reason == "tenant"
        assert "You paused this endpoint" in visitor.page("endpoint", endpoint.pk)
        visitor.post("enable_endpoint", endpoint.pk)
        endpoint.refresh_from_db()
        assert endpoint.enabled
        assert AuditEntry.objects.filter(action__in=["endpoint.enabled", "endpoint.disabled"]).count() == 2

    def test_that_staff_stopped_is_not_enabled_by_its_tenant(self, visitor, endpoint):
        endpoint.disable("staff")
        visitor.post("enable_endpoint", endpoint.pk)
        endpoint.refresh_from_db()
        assert not endpoint.enabled

    def test_that_was_disabled_says_why_since_when_and_what_to_do(self, visitor, endpoint):
        Endpoint.objects.filter(pk=endpoint.pk).update(failing_since=timezone.now())
        endpoint.disable("failing")
        page = visitor.page("endpoint", endpoint.pk)
        for said in ("nothing but failures came back for 5 days", "First failure", "Enable", "Recover what failed"):
            assert said in page

    def test_is_deleted_after_a_question(self, visitor, endpoint):
        make_delivery(endpoint=endpoint)
        assert "1 delivery that waits for it is cancelled" in visitor.page("delete_endpoint", endpoint.pk)
        assert visitor.post("delete_endpoint", endpoint.pk).status_code == 303
        assert visitor.get("endpoint", endpoint.pk).status_code == 404

    def test_tells_limits_schedule_and_addresses(self, visitor, endpoint, relay_settings):
        relay_settings(PORTAL={"SOURCE_ADDRESSES": ["198.51.100.7"]})
        page = visitor.page("endpoint", endpoint.pk)
        for said in ("198.51.100.7", "256 KiB", "15 s", "30 min", "An endpoint that only fails for 5 days"):
            assert said in page

    @pytest.mark.parametrize("span", ["24h", "7d", "30d", "spoilt"])
    def test_shows_how_it_fared(self, visitor, endpoint, span):
        assert "<svg" in visitor.page("endpoint", endpoint.pk, span=span)

    def test_asks_a_bounded_number_of_queries(self, visitor, endpoint):
        for _ in range(8):
            make_delivery(endpoint=endpoint, event=make_event())
        with CaptureQueriesContext(connection) as found:
            visitor.page("endpoint", endpoint.pk)
        assert len(found) <= 12


class TestWithoutTheRight:
    def test_pages_say_why_something_is_missing(self):
        endpoint = make_endpoint()
        visitor = Visitor(capabilities=["view"])
        assert "read-only" in visitor.page("endpoints")
        assert "cannot change endpoints" in visitor.page("add_endpoint")
        assert "cannot change endpoints" in visitor.page("edit_endpoint", endpoint.pk)
        assert "cannot see or rotate" in visitor.page("secret", endpoint.pk)
        assert "cannot send test events" in visitor.page("testing", endpoint.pk)
        assert "cannot send events again" in visitor.page("start_replay", endpoint.pk)
