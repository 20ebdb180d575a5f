"""The catalogue of hostile inputs, each through the API: what is expected, and never a 5xx."""

import base64
import hashlib

import pytest
from django.conf import settings
from django.test import override_settings

from django_relay.models import Endpoint, Event
from tests.api.callers import Api, code_of, operator, tenant
from tests.factories import make_api_key, make_delivery, make_endpoint, make_event_type, make_portal_session
from tests.people import ALICE, CHARLIE
from tests.rules import vectors

pytestmark = pytest.mark.django_db

STRICT = override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "ALLOW_HTTP": False, "ALLOWED_NETWORKS": []})
UPPER_CASE = {"EVT-004", "FLT-014"}
"""Accepted by the catalogue; our names are lower-case words, so that no two differ by case alone."""


def check(answer, case, *, codes=None):
    """Compare an answer with what the catalogue expects."""
    assert answer.status_code < 500, answer.content
    if case["expect"] in {"accept", "canonicalise", "block_at_send"} and case["id"] not in UPPER_CASE:
        assert answer.status_code < 300, answer.data
        return
    assert answer.status_code in {400, 413}, (answer.status_code, answer.data)
    if case["id"] in UPPER_CASE:
        return
    found = {code_of(answer), *(error["code"] for error in answer.data.get("errors", []))}
    assert found & {case["reason"], *(codes or ())}, answer.data


@pytest.fixture
def alice():
    return tenant()


class TestEventTypes:
    @pytest.mark.parametrize("case", vectors.load("event_names"))
    def test_names(self, case):
        value = vectors.given(case)
        answer = operator().post("event-types", {"name": value})
        check(answer, case, codes={"null", "wrong_type"} if case["class"] == "type" else ())
        sent = operator().post("events", {"event_type": value, "tenant_id": "acme", "data": {}})
        assert sent.status_code == (201 if answer.status_code == 201 else 400)


class TestPayloads:
    @pytest.mark.parametrize(
        "case", [case for case in vectors.load("payload") if not isinstance(case.values[0].get("input"), dict)]
    )
    def test_as_data_of_an_event(self, case):
        case = dict(case)
        make_event_type("order.created")
        data = base64.b64decode(case["input_b64"]) if "input_b64" in case else vectors.given(case).encode()
        raw = b'{"event_type":"order.created","tenant_id":"acme","data":' + data + b"}"
        answer = operator().post("events", raw=raw)
        check(answer, case)
        assert Event.objects.count() == (1 if answer.status_code == 201 else 0)

    @pytest.mark.parametrize("number", ["PAY-004", "PAY-005", "PAY-006", "PAY-007"])
    def test_keep_how_numbers_are_spelled_and_the_order_of_keys(self, number):
        (case,) = (case.values[0] for case in vectors.load("payload") if case.id == number)
        data, make = case["input"], make_event_type("order.created").name
        one = f'{{"event_type": "{make}", "tenant_id": "acme", "data": {{"in": [ {data}, -1.50E+3 ]}}}}'
        operator().post("events", raw=one.encode())
        operator().post("events/batch", raw=f'{{"events": [{one}]}}'.encode())
        assert [event.payload for event in Event.objects.all()] == [f'{{"in":[{data},-1.50E+3]}}'] * 2

    @pytest.mark.parametrize("case", [case for case in vectors.load("payload") if case.values[0]["class"] == "json"])
    def test_as_a_whole_body(self, case, alice):
        case = dict(case)
        raw = base64.b64decode(case["input_b64"]) if "input_b64" in case else vectors.given(case).encode()
        check(alice.post("endpoints", raw=raw), case)


class TestEndpoints:
    @pytest.mark.parametrize("case", vectors.load("endpoint_url"))
    def test_urls(self, case, alice):
        with STRICT:
            answer = alice.post("endpoints", {"url": vectors.given(case), "event_types": ["*"]})
        check(answer, case, codes={"null", "too_large"})
        assert Endpoint.objects.count() == (1 if answer.status_code == 201 else 0)
        if "canonical" in case:
            assert answer.data["url"] == case["canonical"]

    @pytest.mark.parametrize("case", vectors.load("custom_headers"))
    def test_headers(self, case, alice):
        given = vectors.given(case)
        headers = (
            {given["name"]: given["value"]} if isinstance(given, dict) and given.keys() == {"name", "value"} else given
        )
        if isinstance(given, dict) and not isinstance(given.get("name", ""), str):
            headers = given["name"]
        answer = alice.post("endpoints", {"url": ALICE.url, "event_types": ["*"], "headers": headers})
        # What no body may hold is refused before it is a header.
        check(answer, case, codes={"bad_json", "wrong_type"})

    @pytest.mark.parametrize("case", vectors.load("filters", "event_pattern"))
    def test_patterns(self, case, alice):
        value = vectors.given(case)
        answer = alice.post(
            "endpoints", {"url": ALICE.url, "event_types": value if isinstance(value, list) else [value]}
        )
        if case["id"] == "FLT-017":  # an empty list is refused: "*" says all
            assert answer.status_code == 400
        else:
            check(answer, case, codes={"too_many", "wrong_type"})

    @pytest.mark.parametrize("case", vectors.load("filters", "payload_filter"))
    def test_filters(self, case, alice):
        answer = alice.post("endpoints", {"url": ALICE.url, "event_types": ["*"], "filters": vectors.given(case)})
        check(answer, case, codes={"wrong_type"})
        assert alice.post(
            "endpoints", {"url": ALICE.url, "event_types": ["*"], "filters": {vectors.given(case): "x"}}
        ).status_code in {201, 400}

    @pytest.mark.parametrize("case", vectors.load("secrets"))
    def test_secrets(self, case, alice):
        answer = alice.post(f"endpoints/{make_endpoint().pk}/rotate-secret", {"secret": vectors.given(case)})
        check(answer, case)
        if answer.status_code >= 400:
            assert vectors.given(case).encode() not in answer.content


class TestIds:
    @pytest.mark.parametrize("case", vectors.load("ids_tokens", "object_id"))
    @pytest.mark.parametrize("place", ["endpoints", "events", "deliveries", "dlq", "replays"])
    def test_none_but_ones_own_are_found(self, case, place, alice):
        from urllib.parse import quote

        value = vectors.given(case)
        if value == "OTHER_TENANT_VALID_ID":
            value = make_endpoint(CHARLIE).pk
        elif value == "DELETED_ID":
            value = make_endpoint().pk
            Endpoint.objects.get(pk=value).delete()
        elif value == "OWN_ID_WRONG_TYPE":
            value = make_delivery().pk if place != "deliveries" else make_endpoint().pk
        answer = alice.get(f"{place}/{quote(value, safe='')}")
        assert answer.status_code == 404
        if answer.data is not None:
            assert code_of(answer) == "not_found"


class TestCredentials:
    @pytest.mark.parametrize("case", vectors.load("ids_tokens", "auth"))
    def test_a_key_opens_in_one_form_alone(self, case):
        key, token = make_api_key(scopes=["read"])
        if "EXPIRED" in str(vectors.given(case)):
            from django.utils import timezone

            type(key).objects.update(expires_at=timezone.now())
        header = (
            vectors.given(case)
            .replace("VALID", token)
            .replace("PREFIX_ONLY", token[:8])
            .replace("EXPIRED", token)
            .replace("HASH_OF_TOKEN", hashlib.sha256(token.encode()).hexdigest())
            .replace("API_KEY_ON_PORTAL", make_portal_session()[1])
        )
        answer = Api().call("GET", "endpoints", headers={"Authorization": header})
        if case["expect"] == "accept":
            assert answer.status_code == 200
        else:
            assert (answer.status_code, code_of(answer)) == (401, "unauthenticated")

    @pytest.mark.parametrize("case", vectors.load("ids_tokens", "idempotency_key"))
    def test_idempotency_keys(self, case):
        make_event_type("order.created")
        key, api = vectors.given(case), operator()
        body = {"event_type": "order.created", "tenant_id": "acme", "data": {}, "idempotency_key": key}
        answer = api.post("events", body)
        if case["expect"] == "conflict_409":
            assert answer.status_code == 201
            again = api.post("events", {**body, "data": {"other": 1}})
            assert (again.status_code, code_of(again)) == (409, "idempotency_conflict")
        else:
            check(answer, case, codes={"bad_json"})


class TestQueries:
    @pytest.mark.parametrize("case", vectors.load("query_params"))
    @pytest.mark.parametrize("place", ["deliveries", "events", "endpoints", "dlq", "replays", "event-types"])
    def test_parameters_are_those_listed(self, case, place, alice):
        answer = alice.get(f"{place}{vectors.given(case)}".replace("status", "state"))
        assert answer.status_code == 400, answer.content
        code_of(answer)
        assert all(error["in"] == "query" for error in answer.data["errors"])

    @pytest.mark.parametrize("case", vectors.load("cursors_paging"))
    @pytest.mark.parametrize("place", ["deliveries", "events", "endpoints", "dlq"])
    def test_cursors_and_limits(self, case, place, alice):
        name = "cursor" if case["class"] == "cursor" else "limit"
        answer = alice.get(place, **{name: vectors.given(case)})
        assert (answer.status_code, code_of(answer)) == (400, f"bad_{name}")

    @pytest.mark.parametrize(
        "text", ["2026-02-30T00:00:00Z", "9999-12-31T23:59:59.999999+23:59", "now", "\x00", "0001-01-01T00:00:00Z"]
    )
    @pytest.mark.parametrize("place", ["deliveries", "events", "dlq"])
    def test_times(self, text, place, alice):
        assert code_of(alice.get(place, since=text)) == "bad_time"

    def test_a_nul_in_any_parameter(self, alice):
        for name in ("event_type", "error_kind", "state", "endpoint_id", "cursor", "status_class"):
            assert alice.get("deliveries", **{name: "a\x00"}).status_code == 400


class TestRequests:
    LEFT_TO_THE_SERVER = {
        "API-048": "a body of a byte a second: what waits for it, and for how long, is the WSGI server's; no view of ours "
        "runs on a part of a body, and the description of the API says which settings bound it"
    }
    ELSEWHERE = {"API-043": "tests/api/test_idempotency.py: test_the_limit_of_endpoints_holds"}

    def test_every_case_of_transport_is_tested_or_left_to_the_server(self):
        cases = {case.id for case in vectors.load("api_request", "transport")}
        here = {"API-036", "API-038", "API-041", "API-044", "API-045", "API-046", "API-047", "API-049"}
        assert cases == here | self.LEFT_TO_THE_SERVER.keys() | self.ELSEWHERE.keys()
        assert "How slowly it may arrive" in settings.SPECTACULAR_SETTINGS["DESCRIPTION"]

    @pytest.mark.parametrize("case", vectors.load("api_request", "mass_assignment"))
    def test_what_is_not_to_give_is_refused(self, case, alice):
        endpoint, given = make_endpoint(), vectors.given(case)
        for answer in (
            alice.patch(f"endpoints/{endpoint.pk}", given),
            alice.put(f"endpoints/{endpoint.pk}", {"url": ALICE.url, "event_types": ["*"], **given}),
            alice.post(f"endpoints/{endpoint.pk}/enable", given),
            operator().post("events", {"event_type": "invoice.paid", "tenant_id": "acme", "data": {}, **given}),
        ):
            assert (answer.status_code, code_of(answer)) == (400, "unknown_field")
        if "secret" not in given:
            answer = alice.post("endpoints", {"url": ALICE.url, "event_types": ["*"], **given})
            assert code_of(answer) == "unknown_field"

    def test_another_tenants_are_not_there(self, alice):
        theirs = make_delivery(endpoint=make_endpoint(CHARLIE))
        endpoint = theirs.endpoint_id
        for answer in (
            alice.patch(f"endpoints/{endpoint}", {"description": "x"}),
            alice.delete(f"endpoints/{endpoint}"),
            alice.post(f"endpoints/{endpoint}/rotate-secret", {}),
            alice.get(f"endpoints/{endpoint}/secret"),
            alice.post(f"endpoints/{endpoint}/test", {"event_type": "invoice.paid"}),
            alice.get(f"events/{theirs.event_id}"),
            alice.post(
                "dlq/replay", {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z", "endpoint_id": endpoint}
            ),
        ):
            assert (answer.status_code, code_of(answer)) == (404, "not_found")
        assert alice.get("deliveries", endpoint_id=endpoint).data["data"] == []
        assert alice.call("GET", f"exports/{endpoint}.csv").status_code == 404
        assert alice.call("GET", f"tenants/acme/endpoints/{endpoint}").status_code == 403
        assert alice.post("portal-sessions", {"tenant_id": "globex"}).status_code == 403
        assert alice.post("events", {"endpoint": endpoint}).status_code == 403

    def test_other_methods_answer_the_same_for_everything(self, alice):
        theirs, unknown = make_endpoint(CHARLIE).pk, "ep_01m82gpm1seher9pzjvj25bt5m"
        for method in ("HEAD", "OPTIONS", "TRACE"):
            first, second = (alice.call(method, f"endpoints/{key}") for key in (theirs, unknown))
            assert first.status_code == second.status_code == (404 if method == "HEAD" else 405)
            assert first.content == second.content

    def test_sizes_types_and_overrides(self, alice):
        assert code_of(alice.post("endpoints", raw=b" " * 10_485_760)) == "too_large"
        form = alice.post("endpoints", raw=b"url=x", content_type="application/x-www-form-urlencoded")
        assert (form.status_code, code_of(form)) == (415, "unsupported_media_type")
        endpoint = make_endpoint()
        override = alice.call("POST", f"endpoints/{endpoint.pk}", {}, headers={"X-HTTP-Method-Override": "DELETE"})
        assert override.status_code == 405
        endpoint.refresh_from_db()
        assert endpoint.deleted_at is None
        body = {"event_type": "invoice.paid", "tenant_id": "acme", "data": {}}
        small = operator().post("events/batch", {"events": [body] * 501})
        assert (small.status_code, small.data["errors"][0]["code"]) == (400, "max_length")
        assert operator().post("events/batch", {"events": [{}] * 10_001}).status_code == 400
        assert alice.call("GET", "endpoints", headers={"Host": "evil.example.com"}).status_code == 400

    def test_the_throttle_knows_no_header_of_the_clients(self):
        throttles = {"failed": "3/minute", "tenant": "4/minute"}
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "API_THROTTLES": throttles}):
            wrong = [
                Api("rlk_" + f"{n:012d}" + "_" + "a" * 43, **{"X-Forwarded-For": f"1.2.3.{n}"}).get("endpoints")
                for n in range(5)
            ]
            assert [answer.status_code for answer in wrong] == [401, 401, 401, 429, 429]
            assert int(wrong[-1].headers["Retry-After"]) > 0
            assert code_of(wrong[-1]) == "throttled"
            assert tenant().get("endpoints").status_code == 200  # from the same address: a proxy's, for all we know
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "API_THROTTLES": {**throttles, "failed": None}}):
            alice, charlie = tenant(), tenant(CHARLIE)
            assert [alice.get("endpoints").status_code for _ in range(5)] == [200] * 4 + [429]
            assert charlie.get("endpoints").status_code == 200
