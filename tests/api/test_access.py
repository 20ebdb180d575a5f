"""Every route, every method, every kind of caller, from the router's own table: a new route without a rule fails."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from django_relay.api import endpoint_tests, urls
from django_relay.models import ApiKey, AuditEntry, Delivery
from tests.api.callers import Api, code_of, operator, tenant
from tests.factories import (
    INVOICE,
    make_api_key,
    make_attempt,
    make_delivery,
    make_dlq_entry,
    make_endpoint,
    make_portal_session,
    make_replay,
)  # fmt: skip
from tests.people import ALICE, BOB, CHARLIE

pytestmark = pytest.mark.django_db

SINCE = "2026-01-01T00:00:00Z"
BODIES = {
    ("POST", "applications"): {"slug": "billing"},
    ("PATCH", "applications/<slug>"): {"name": "New"},
    ("POST", "event-types"): {"name": "order.shipped"},
    ("PUT", "event-types/<name>"): {"description": "New"},
    ("POST", "endpoints"): {"url": "https://new.example/", "event_types": ["*"]},
    ("PUT", "endpoints/<endpoint_id>"): {"url": "https://new.example/", "event_types": ["*"]},
    ("PATCH", "endpoints/<endpoint_id>"): {"description": "New"},
    ("POST", "endpoints/<endpoint_id>/test"): {"event_type": "invoice.paid"},
    ("POST", "endpoints/<endpoint_id>/replay-missing"): {"since": SINCE},
    ("POST", "events"): {"event_type": "invoice.paid", "tenant_id": "acme", "data": INVOICE},
    ("POST", "events/batch"): {"events": [{"event_type": "invoice.paid", "tenant_id": "acme", "data": INVOICE}]},
    ("POST", "dlq/replay"): {"from": SINCE, "to": "2090-01-01T00:00:00Z"},
    ("POST", "portal-sessions"): {"tenant_id": "acme"},
    ("POST", "api-keys"): {"tenant_id": "acme"},
}
OPERATORS_ALONE = re.compile(r"applications|tenants|portal-sessions|api-keys|stats$|health$")
OPERATORS_CHANGE = re.compile(r"event-types|events$|events/batch$")
NAMED_IN_QUERY = {("POST", "endpoints"), ("POST", "dlq/replay"), ("DELETE", "portal-sessions")}
"""Where operators must say whose."""


def routes():
    for pattern in urls.ROUTES:
        place = re.sub(r"<(?:\w+:)?(\w+)>", r"<\1>", str(pattern.pattern))
        for method in pattern.callback.actions:
            if method != "head":
                yield pytest.param(pattern, method.upper(), place, id=f"{method.upper()} {place}")


ROUTES = list(routes())


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(endpoint_tests, "WAIT_SECONDS", 0)


def make_rows(person):
    """Make one of everything of a person's tenant; return what stands in a path for it."""
    endpoint = make_endpoint(person)
    delivery = make_delivery(endpoint=endpoint, state="failed")
    make_attempt(delivery)
    entry = make_dlq_entry(delivery)
    session, _token = make_portal_session(person)
    return {
        "endpoint_id": endpoint.pk,
        "event_id": delivery.event_id,
        "delivery_id": delivery.pk,
        "entry_id": entry.pk,
        "replay_id": make_replay(person).pk,
        "session_id": session.pk,
        "key_id": make_api_key(person)[0].pk,
        "tenant_id": person.tenant_id,
        "slug": "default",
        "name": "invoice.paid",
    }


def call(api, method, place, rows):
    path = re.sub(r"<(\w+)>", lambda found: str(rows[found[1]]), place)
    named = api.is_operator and (method, place) in NAMED_IN_QUERY
    if (method, place) == ("POST", "deliveries/<delivery_id>/cancel"):
        # only what is pending can be cancelled
        Delivery.objects.filter(pk=rows["delivery_id"]).update(state="pending", completed_at=None)
    return api.call(
        method, path, BODIES.get((method, place)), query={"tenant_id": rows["tenant_id"]} if named else None
    )


def caller(api, *, is_operator=False):
    api.is_operator = is_operator
    return api


def may_tenant(method, place):
    return not OPERATORS_ALONE.match(place) and (method == "GET" or not OPERATORS_CHANGE.match(place))


class TestWalk:
    @pytest.mark.parametrize(("pattern", "method", "place"), ROUTES)
    def test_every_method_says_what_it_needs(self, pattern, method, place):
        view = pattern.callback.cls
        operation = getattr(view, pattern.callback.actions[method.lower()]).operation
        assert operation.summary
        assert operation.answers
        assert operation.scope == "read" or method != "GET" or "secret" in place or "portal" in place
        assert (method, place) in BODIES or not operation.body().fields or operation.body.__name__ in {
            "RecoverGiven", "Rotation", "AgainGiven",
        }  # fmt: skip
        assert operation.operator_only == (not may_tenant(method, place))

    @pytest.mark.parametrize(("pattern", "method", "place"), ROUTES)
    def test_the_operator_gets_in(self, pattern, method, place):
        answer = call(caller(operator(), is_operator=True), method, place, make_rows(ALICE))
        assert answer.status_code in {200, 201, 202, 204}, answer.data

    @pytest.mark.parametrize(("pattern", "method", "place"), ROUTES)
    @pytest.mark.parametrize("person", [ALICE, BOB], ids=["tenant", "colleague"])
    def test_the_tenant_gets_at_its_own(self, pattern, method, place, person):
        answer = call(caller(tenant(person)), method, place, make_rows(ALICE))
        if may_tenant(method, place):
            assert answer.status_code in {200, 201, 202, 204}, answer.data
        else:
            assert (answer.status_code, code_of(answer)) == (403, "operator_only")

    @pytest.mark.parametrize(("pattern", "method", "place"), ROUTES)
    def test_a_stranger_finds_nothing(self, pattern, method, place):
        rows, stranger = make_rows(ALICE), caller(tenant(CHARLIE))
        before = AuditEntry.objects.count()
        answer = call(stranger, method, place, rows)
        if not may_tenant(method, place):
            assert answer.status_code == 403
        elif re.search(r"<(?!name)", place):
            unknown = call(stranger, method, place, {**rows, **_unknown(rows)})
            assert answer.status_code == unknown.status_code == 404
            assert answer.data == unknown.data
            assert _headers(answer) == _headers(unknown)
        elif method == "GET" and "event-types" not in place:
            assert answer.data["data"] == []
        if answer.status_code >= 400:
            assert AuditEntry.objects.count() == before

    @pytest.mark.parametrize(("pattern", "method", "place"), ROUTES)
    def test_a_read_only_key_changes_nothing(self, pattern, method, place):
        rows, reader = make_rows(ALICE), caller(tenant(scopes=["read"]))
        answer = call(reader, method, place, rows)
        if method == "GET" and may_tenant(method, place) and not place.endswith("/secret"):
            assert answer.status_code == 200
        else:
            assert answer.status_code == 403
            assert code_of(answer) in {"scope_missing", "operator_only"}

    @pytest.mark.parametrize(("pattern", "method", "place"), ROUTES)
    def test_nobody_and_the_expired_stay_outside(self, pattern, method, place):
        rows = make_rows(ALICE)
        expired, token = make_api_key(scopes=["read", "write", "replay", "secrets"])
        ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
        for api in (caller(Api()), caller(Api(token))):
            answer = call(api, method, place, rows)
            assert (answer.status_code, code_of(answer)) == (401, "unauthenticated")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize(("pattern", "method", "place"), ROUTES)
    def test_every_change_is_on_record_without_a_secret(self, pattern, method, place):
        if method == "GET" and not place.endswith("/secret"):
            pytest.skip("reads are not recorded")
        rows = make_rows(ALICE)
        api = caller(operator(), is_operator=True)
        before = set(AuditEntry.objects.values_list("pk", flat=True))
        body = BODIES.get((method, place)) or {}
        answer = call(api, method, place, rows)
        assert answer.status_code < 300
        made = AuditEntry.objects.exclude(pk__in=before)
        if "dry_run" not in body and not place.endswith("/enable"):
            assert made, f"{method} {place} is not on record"
        for entry in made:
            assert entry.actor.startswith("key:") or entry.action == "portal_session.revoked"
            assert not re.search(r"wh(?:sec|sk)_|rl[kps]_[0-9a-z]{12}_", str(entry.changes))


def _unknown(rows):
    from django_relay import ids

    return {
        name: ids.new(value[: value.index("_") + 1])
        for name, value in rows.items()
        if name.endswith("_id") and "_" in value
    }


def _headers(answer):
    return {name: value for name, value in answer.headers.items() if name != "Content-Length"} | {
        "length": answer.headers.get("Content-Length")
    }
