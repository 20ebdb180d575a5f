"""Nobody sees another tenant's: every address of the portal, with every id of somebody else, by everybody."""

import itertools

import pytest
from django.test import Client
from django.urls import reverse

from django_relay.models import Replay
from django_relay.pipeline import endpoint_tests, replays
from django_relay.portal.urls import urlpatterns
from tests.factories import make_application, make_attempt, make_delivery, make_dlq_entry, make_endpoint, unknown_id
from tests.people import ALICE, BOB, CHARLIE
from tests.portal.visitors import Visitor

pytestmark = pytest.mark.django_db

ROUTES = {route.name: sorted(route.pattern.converters) for route in urlpatterns}
OPEN = {"enter", "stylesheet", "leave"}
IDS = {"endpoint_id", "event_id", "delivery_id", "replay_id"}
OTHERS = {"name": "invoice.paid", "form": "csv"}
WITH_IDS = sorted(name for name, arguments in ROUTES.items() if IDS & set(arguments))


@pytest.fixture
def rows():
    """One of everything of Alice's tenant."""
    endpoint = make_endpoint()
    delivery = make_delivery(endpoint=endpoint, state="failed", attempt_count=10)
    make_attempt(delivery, endpoint=endpoint)
    make_dlq_entry(delivery)
    replay = replays.start("failed", tenant_id=ALICE.tenant_id)
    test = endpoint_tests.send(endpoint, "invoice.paid")
    return {
        "endpoint_id": endpoint.pk,
        "event_id": delivery.event_id,
        "delivery_id": delivery.pk,
        "replay_id": replay.pk,
        "test_event_id": test.pk,
    }


def arguments(name, rows):
    found = {each: {**OTHERS, **rows}[each] for each in ROUTES[name]}
    if name == "test_result":
        found["event_id"] = rows["test_event_id"]
    return [found[each] for each in order(name)]


def order(name):
    pattern = next(route.pattern for route in urlpatterns if route.name == name)
    return list(pattern.converters)


def test_every_route_is_walked():
    assert set(itertools.chain(*ROUTES.values())) <= IDS | set(OTHERS)


@pytest.mark.parametrize("name", WITH_IDS)
class TestARowOfATenant:
    def test_is_there_for_its_people(self, name, rows):
        for person in (ALICE, BOB):
            assert Visitor(person).get(name, *arguments(name, rows)).status_code in {200, 405}

    def test_is_not_there_for_a_stranger(self, name, rows):
        make_endpoint(CHARLIE)
        stranger = Visitor(CHARLIE)
        given = arguments(name, rows)
        unknown = [unknown_id(each.partition("_")[0] + "_") for each in given]
        for ask in (stranger.get, stranger.post):
            answer, of_unknown = ask(name, *given), ask(name, *unknown)
            assert answer.status_code == of_unknown.status_code
            assert answer.status_code in {404, 405}
            assert not any(value in answer.content.decode() for value in given)

    def test_is_not_there_for_the_same_tenant_of_another_application(self, name, rows):
        make_application("second")
        neighbour = Visitor(ALICE, application="second")
        for ask in (neighbour.get, neighbour.post):
            assert ask(name, *arguments(name, rows)).status_code in {404, 405}

    @pytest.mark.parametrize("spoilt", ["ep_x", "..", "%00", "evt_" + "z" * 26, "🦊", "a" * 300])
    def test_is_not_found_by_a_spoilt_id(self, name, rows, spoilt):
        response = Visitor().get(name, *[spoilt for _ in arguments(name, rows)])
        assert response.status_code in {404, 405}


@pytest.mark.parametrize("name", sorted(ROUTES.keys() - OPEN))
class TestEveryPage:
    def test_asks_for_a_session(self, name, rows):
        url = reverse(f"relay_portal:{name}", args=arguments(name, rows))
        for method in ("get", "post", "put", "delete"):
            assert getattr(Client(), method)(url).status_code == 401

    def test_refuses_what_is_not_of_its_own_pages(self, name, rows):
        visitor, stranger = Visitor(), Visitor(CHARLIE)
        url = reverse(f"relay_portal:{name}", args=arguments(name, rows))
        for data in ({}, {"csrf": "x"}, {"csrf": f"{visitor.token}"}):
            assert visitor.client.post(url, data).status_code in {403, 405}
        foreign = visitor.post(name, *arguments(name, rows), csrf=csrf_of(stranger))
        assert foreign.status_code in {403, 405}
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example.com"},
        ):
            assert visitor.post(name, *arguments(name, rows), headers=headers).status_code in {403, 405}
        assert visitor.client.post(url, "{}", content_type="text/plain").status_code in {403, 405}

    def test_changes_nothing_for_who_may_only_look(self, name, rows):
        before = fingerprint(rows)
        answer = Visitor(capabilities=["view"]).post(name, *arguments(name, rows))
        assert answer.status_code in {403, 405}
        assert fingerprint(rows) == before

    def test_is_shown_to_who_may_only_look(self, name, rows):
        assert Visitor(capabilities=["view"]).get(name, *arguments(name, rows)).status_code in {200, 405}


def csrf_of(visitor):
    return visitor.page("add_endpoint").split('name="csrf" value="')[1].split('"')[0]


def fingerprint(rows):
    from django_relay.models import Delivery, Endpoint, Event, SigningSecret

    return [
        list(model.objects.order_by("pk").values_list("pk"))
        for model in (Endpoint, Delivery, Event, SigningSecret, Replay)
    ] + [list(Endpoint.objects.values_list("enabled", "url", "deleted_at"))]


class TestTheLists:
    def test_hold_nothing_of_another_tenant(self, rows):
        make_endpoint(CHARLIE)
        stranger = Visitor(CHARLIE)
        for name in ("endpoints", "logs", "dlq", "activity", "catalog"):
            page = stranger.page(name)
            assert ALICE.url not in page
            assert not any(value in page for value in rows.values())

    def test_of_the_dlq_do_not_take_another_tenants_endpoint(self, rows):
        page = Visitor(CHARLIE).page("dlq", endpoint=rows["endpoint_id"], state="open")
        assert rows["event_id"] not in page

    def test_lead_by_an_id_to_nothing_of_another_tenant(self, rows):
        for value in rows.values():
            assert Visitor(CHARLIE).get("logs", q=value).status_code == 200
        assert Visitor(ALICE).get("logs", q=rows["event_id"]).status_code == 302
        assert Visitor(ALICE).get("logs", q=rows["delivery_id"]).status_code == 302

    def test_of_chosen_entries_fail_for_one_foreign_id(self, rows):
        from django_relay.models import DLQEntry

        own = make_dlq_entry(make_delivery(endpoint=make_endpoint(CHARLIE), state="failed", attempt_count=10))
        foreign = DLQEntry.objects.get(delivery_id=rows["delivery_id"])
        answer = Visitor(CHARLIE).post("dlq_act", do="replay", entry=[own.pk, foreign.pk])
        assert answer.status_code == 409
        assert not Replay.objects.filter(tenant_id=CHARLIE.tenant_id).exists()
