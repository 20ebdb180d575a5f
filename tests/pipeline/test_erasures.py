import uuid
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_relay import emit_best_effort, exceptions
from django_relay.models import (
    ApiKey,
    Application,
    Attempt,
    Delivery,
    DLQEntry,
    Endpoint,
    EndpointHour,
    EndpointPace,
    Erasure,
    Event,
    PortalSession,
    PublishFailure,
    Replay,
    SigningSecret,
    TenantLock,
)
from django_relay.pipeline import dlq, endpoint_tests, erasures, leases, replays
from django_relay.testing import FakeTransport, deliver_pending
from tests.factories import (
    USING,
    make_api_key,
    make_application,
    make_delivery,
    make_endpoint,
    make_event,
    make_event_type,
    make_link,
    make_portal_session,
)
from tests.people import ALICE, BOB, CHARLIE
from tests.threads import together

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
TABLES = (
    ApiKey, Attempt, Delivery, DLQEntry, Endpoint, EndpointHour, EndpointPace, Event, PortalSession, PublishFailure,
    Replay, SigningSecret, TenantLock,
)  # fmt: skip


def make_everything(person, application="default"):
    """Make some of whatever is stored of a tenant: in every state, of several endpoints, one of them deleted."""
    of = {"person": person, "application": application}
    endpoint = make_endpoint(**of, url=f"{person.url}/{application}", retry_schedule=[], rate_limit=1_000)
    other = make_endpoint(**of, event_types=["order.*"])
    for _ in range(5):
        make_event(**of)
    make_event(**of, event_type="order.placed")
    endpoint_tests.send(other, "order.placed")
    answers = {endpoint.url: iter([200, 500, 500, 500])}
    deliver_pending(transport=FakeTransport(lambda request: next(answers.get(request.url, iter(())), 200)))
    entry = DLQEntry.objects.open().filter(endpoint=endpoint).first()
    dlq.replay(entry)
    replays.start("failed", tenant_id=person.tenant_id, application=application)
    deliver_pending(transport=FakeTransport([500, 200]))
    make_event(**of)
    make_delivery(endpoint=endpoint, next_attempt_at=timezone.now() + HOUR)
    replays.start("failed", tenant_id=person.tenant_id, application=application)
    make_event(**of)
    emit_best_effort("nope", {}, tenant_id=person.tenant_id, application=application)
    emit_best_effort("nope", {"not": object()}, tenant_id=person.tenant_id, application=application)
    make_endpoint(**of).delete()
    make_api_key(person, application=application)
    make_link(person, application=application)
    make_portal_session(person, application=application)


def rows():
    """Return all that is stored, by table."""
    return {model: {row["id"]: row for row in model.objects.values()} for model in TABLES}


def owned_by(person, found):
    """Return the ids of the rows that are this person's tenant's in the default application, by table."""
    default = Application.objects.get(slug="default").pk
    owned = {Endpoint: set(), Delivery: set()}
    for model in (ApiKey, Endpoint, Event, PortalSession, Replay, TenantLock):
        theirs = [row for row in found[model].values() if row["tenant_id"] == person.tenant_id]
        owned[model] = {row["id"] for row in theirs if row["application_id"] == default}
    for model in (Delivery, DLQEntry, EndpointHour, EndpointPace, SigningSecret):
        owned[model] = {row["id"] for row in found[model].values() if row["endpoint_id"] in owned[Endpoint]}
    owned[Attempt] = {row["id"] for row in found[Attempt].values() if row["delivery_id"] in owned[Delivery]}
    owned[PublishFailure] = {
        row["id"]
        for row in found[PublishFailure].values()
        if row["tenant_id"] == person.tenant_id and "'second'" not in str(row["arguments"])
    }
    return owned


def without(owned, found):
    return {model: {pk: row for pk, row in found[model].items() if pk not in owned[model]} for model in TABLES}


def start(person=ALICE, **wanted):
    return erasures.start(person.tenant_id, **wanted)


def advance():
    return erasures.advance(now=timezone.now(), using=USING)


def run(erasure):
    while advance():
        pass
    erasure.refresh_from_db()
    return erasure


@pytest.fixture
def _two_applications():
    make_application("second")
    for slug in ("default", "second"):
        make_event_type("order.placed", application=slug)
    make_event_type("invoice.paid", application="second")


@pytest.mark.usefixtures("_two_applications")
class TestErase:
    def test_everything_of_the_tenant_goes_and_nothing_of_anybody_else(self):
        for person, application in ((CHARLIE, "default"), (ALICE, "default"), (ALICE, "second"), (CHARLIE, "second")):
            make_everything(person, application)
        make_endpoint(BOB)
        before = rows()
        mine = owned_by(ALICE, before)
        assert all(mine.values())
        erasure = run(start(actor="Charlie, of support"))
        assert rows() == without(mine, before)
        assert (erasure.state, erasure.requested_by, erasure.stage) == ("completed", "Charlie, of support", "")
        assert erasure.started_at <= erasure.completed_at
        assert erasure.deleted == {
            "api_keys": 1,
            "portal_sessions": 2,
            "endpoints": 3,  # a fourth one was deleted already
            "replays": len(mine[Replay]),
            "attempts": len(mine[Attempt]),
            "dlq_entries": len(mine[DLQEntry]),
            "deliveries": len(mine[Delivery]),
            "events": len(mine[Event]),
            "publish_failures": 2,
            "hours": len(mine[EndpointHour]),
        }

    def test_in_small_steps_as_well(self, monkeypatch):
        monkeypatch.setattr(erasures, "_SCANNED", 2)
        monkeypatch.setattr(erasures, "_AT_ONCE", 1)
        make_everything(ALICE)
        make_everything(CHARLIE)
        before = rows()
        run(start())
        assert rows() == without(owned_by(ALICE, before), before)

    def test_what_is_made_meanwhile_stays(self):
        make_everything(ALICE)
        erasure = start()
        new = make_endpoint(BOB)
        event = make_event(person=BOB)
        run(erasure)
        assert list(Endpoint.objects.all()) == [new]
        assert list(Event.objects.all()) == [event]
        assert len(new.secrets) == 1

    def test_who_has_access_and_secrets_go_first_and_nothing_is_sent_any_more(self):
        make_everything(ALICE)
        start()
        advance()
        assert not ApiKey.objects.exists()
        assert not PortalSession.objects.exists()
        advance()
        assert not SigningSecret.objects.exists()
        assert not Endpoint.objects.open().exists()
        assert leases.claim(50, now=timezone.now(), using=USING).leases == []

    def test_what_is_in_flight_is_waited_for(self):
        endpoint = make_endpoint()
        for _ in range(3):
            make_delivery(endpoint=endpoint)
        second = Delivery.objects.order_by("pk")[1]
        now = timezone.now()
        lease = {"lease_token": uuid.uuid4(), "leased_at": now, "leased_until": now + HOUR}
        Delivery.objects.filter(pk=second.pk).update(**lease)
        erasure = run(start())
        assert (erasure.state, erasure.stage, erasure.deleted["deliveries"]) == ("running", "deliveries", 1)
        Delivery.objects.filter(pk=second.pk).update(leased_until=now)
        assert run(erasure).state == "completed"
        assert not Delivery.objects.exists()

    def test_the_workers_do_it(self):
        make_everything(ALICE)
        erasure = start()
        deliver_pending()
        erasure.refresh_from_db()
        assert erasure.state == "completed"
        assert not Endpoint.objects.exists()

    def test_of_nothing_is_done_at_once(self):
        erasure = run(erasures.start("nobody"))
        assert (erasure.state, set(erasure.deleted.values())) == ("completed", {0})

    def test_afterwards_the_tenant_may_come_back(self):
        make_everything(ALICE)
        run(start())
        make_everything(ALICE)
        assert run(start()).state == "completed"
        assert Erasure.objects.count() == 2


class TestStart:
    def test_again_is_the_one_in_progress(self, caplog, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            first = start(actor="Bob")
            assert start(actor="Alice") == first
        assert [(r.event, r.actor) for r in caplog.records] == [("erasure.started", "Bob")]
        assert start(CHARLIE) != first

    def test_what_cannot_be_is_refused(self):
        with pytest.raises(exceptions.UnknownApplication):
            start(application="nope")
        with pytest.raises(exceptions.InvalidInput) as caught:
            erasures.start("a\x00")
        assert caught.value.code == "bad_tenant_id"
        assert not Erasure.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_several_at_once_are_one(self):
        assert len({result.pk for result in together(lambda number: start(), 4)}) == 1


class TestAdvance:
    def test_nothing_to_do_costs_one_query(self, django_assert_num_queries):
        with django_assert_num_queries(1):
            assert advance() == 0

    def test_one_that_fails_rests_and_is_tried_again(self, monkeypatch, caplog):
        make_endpoint()
        erasure = start()

        def fail(*arguments):
            raise ValueError("nonsense")

        with monkeypatch.context() as patch:
            patch.setitem(erasures.STAGES, "events", fail)
            assert run(erasure).stage == "events"
            assert advance() == 0
        assert [r.event for r in caplog.records if r.levelname == "ERROR"] == ["erasure.failed"]
        later = timezone.now() + timedelta(minutes=2)
        while erasures.advance(now=later, using=USING):
            pass
        erasure.refresh_from_db()
        assert erasure.state == "completed"

    def test_a_database_that_fails_is_the_workers_to_wait_for(self, monkeypatch):
        make_endpoint()
        erasure = start()

        def fail(*arguments):
            raise OperationalError("the server closed the connection")

        with monkeypatch.context() as patch:
            patch.setitem(erasures.STAGES, "events", fail)
            with pytest.raises(OperationalError):
                run(erasure)
        assert run(erasure).state == "completed"

    @pytest.mark.django_db(transaction=True)
    def test_workers_at_once_do_each_step_once(self, monkeypatch):
        monkeypatch.setattr(erasures, "_SCANNED", 2)
        endpoint = make_endpoint()
        for _ in range(10):
            make_delivery(endpoint=endpoint)
        erasure = start()
        together(lambda number: [advance() for _ in range(10)], 3)
        run(erasure)
        assert (erasure.state, erasure.deleted["deliveries"], erasure.deleted["events"]) == ("completed", 10, 10)
