"""One key, one event: among fifty requests at once, on a real server, and after it was started anew."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.test import override_settings

from django_relay import deterministic_event_id
from django_relay.models import AuditEntry, Endpoint, Event
from tests.api.callers import ROOT, code_of, operator, tenant
from tests.factories import INVOICE, USING, make_api_key
from tests.people import ALICE

BODY = {"event_type": "invoice.paid", "tenant_id": "acme", "data": INVOICE}
UNTHROTTLED = {"operator": None, "tenant": None, "failed": None}


def post(url, token, body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def at_once(url, token, body, times):
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(lambda number: post(url, token, body(number)), range(times)))


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    @pytest.fixture(autouse=True)
    def _unthrottled(self):
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "API_THROTTLES": UNTHROTTLED}):
            yield

    @pytest.mark.parametrize(
        "named",
        [{"idempotency_key": "k-1"}, {"message_id": "k-1"}, {"event_id": deterministic_event_id("k-1")}],
        ids=["idempotency_key", "message_id", "event_id"],
    )
    def test_fifty_requests_store_one_event(self, live_server, named):
        _key, token = make_api_key(operator=True, scopes=["events:send", "read"])
        url = f"{live_server.url}{ROOT}events"
        answers = at_once(url, token, lambda _number: {**BODY, **named}, 50)
        assert sorted({status for status, _body in answers}) == [200, 201]
        assert [status for status, _body in answers].count(201) == 1
        first = answers[0][1]
        assert all(_same(body, first) for _status, body in answers)
        assert Event.objects.count() == 1
        assert AuditEntry.objects.filter(action="event.sent").count() == 1
        status, body = post(url, token, {**BODY, **named})  # later, by another thread and connection
        assert (status, body["id"]) == (200, first["id"])

    def test_the_limit_of_endpoints_holds(self, live_server):
        _key, token = make_api_key(scopes=["write"])
        with override_settings(
            DJANGO_RELAY={**settings.DJANGO_RELAY, "API_THROTTLES": UNTHROTTLED, "MAX_ENDPOINTS_PER_TENANT": 5}
        ):
            url = f"{live_server.url}{ROOT}endpoints"
            answers = at_once(url, token, lambda number: {"url": f"{ALICE.url}/{number}", "event_types": ["*"]}, 20)
        assert sorted(status for status, _body in answers) == [201] * 5 + [409] * 15
        assert {body["code"] for status, body in answers if status == 409} == {"too_many_endpoints"}
        assert Endpoint.objects.using(USING).count() == 5


@pytest.mark.process
class TestAfterARestart:
    """A key is kept by the database, and by no process."""

    def test_the_first_event_is_the_next_servers_answer(self, stage):
        _key, token = make_api_key(operator=True, scopes=["events:send"])
        kinds = [{"idempotency_key": "k-1"}, {"event_id": deterministic_event_id("k-2")}]
        other = {**kinds[0], "data": {**INVOICE, "number": "other"}}
        answers = []
        for _ in range(2):
            server, url = stage.server()
            answers.append([post(f"{url}{ROOT}events", token, {**BODY, **named}) for named in (*kinds, other)])
            server.kill()
        before, after = answers
        assert [status for status, _body in before] == [201, 201, 409]
        assert [status for status, _body in after] == [200, 200, 409]
        assert [body["id"] for _status, body in after[:2]] == [body["id"] for _status, body in before[:2]]
        assert Event.objects.count() == AuditEntry.objects.filter(action="event.sent").count() == 2


def _same(one, other):
    """Return whether both show the event as it was stored; fan-out may have seen it since."""
    changing = {"status", "matched_count", "dispatched_at"}
    return {k: v for k, v in one.items() if k not in changing} == {k: v for k, v in other.items() if k not in changing}


@pytest.mark.django_db
class TestKeys:
    def test_the_same_again_is_the_first_and_other_data_a_conflict(self):
        api = operator()
        first = api.post("events", {**BODY, "idempotency_key": "k"})
        again = api.post("events", {**BODY, "idempotency_key": "k"})
        other = api.post("events", {**BODY, "idempotency_key": "k", "data": {**INVOICE, "number": "other"}})
        assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
        assert again.data == first.data
        assert code_of(other) == "idempotency_conflict"

    def test_has_three_names(self):
        api = operator()
        first = api.post("events", {**BODY, "message_id": "k"})
        assert api.post("events", BODY, headers={"Idempotency-Key": "k"}).data["id"] == first.data["id"]
        assert api.post("events", {**BODY, "message_id": "k", "idempotency_key": "k"}).status_code == 200
        both = api.post("events", {**BODY, "message_id": "a", "idempotency_key": "b"})
        assert (both.status_code, code_of(both)) == (400, "bad_key")

    def test_a_batch_is_stored_whole_or_not_at_all(self):
        api = operator()
        made = api.post("events/batch", {"events": [{**BODY, "idempotency_key": str(n)} for n in range(3)]})
        assert (made.status_code, [item["is_new"] for item in made.data["data"]]) == (201, [True] * 3)
        again = api.post("events/batch", {"events": [{**BODY, "idempotency_key": "2"}]})
        assert (again.status_code, again.data["data"][0]["id"]) == (200, made.data["data"][2]["id"])
        bad = api.post("events/batch", {"events": [BODY, {**BODY, "event_type": "no.such"}]})
        assert bad.status_code == 400
        assert Event.objects.count() == 3

    def test_sending_switched_off_is_said(self):
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "ENABLED": False}):
            answer = operator().post("events", BODY)
        assert (answer.status_code, code_of(answer)) == (503, "sending_disabled")
        assert answer.headers["Retry-After"]

    def test_tenants_send_nothing(self):
        assert tenant().post("events", BODY).status_code == 403
