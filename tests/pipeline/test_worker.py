import base64
import json
import logging
import os
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, OperationalError, connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay import exceptions, fields
from django_relay.models import Attempt, Delivery, DLQEntry, Endpoint, Event, SigningSecret
from django_relay.pipeline import attempts, dlq, in_hand, leases, rhythm, worker
from django_relay.testing import FakeTransport, deliver_pending
from tests.factories import INVOICE, USING, make_delivery, make_endpoint, make_event
from tests.people import ALICE, CHARLIE
from tests.wrappers import telling

pytestmark = pytest.mark.django_db

OTHER_KEYS = {"other": base64.b64encode(b"x" * 32).decode()}


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


def make_worker(transport=None, now=None):
    return worker.Worker(using=USING, transport=transport or FakeTransport(), clock=lambda: now or timezone.now())


class TestJourney:
    def test_fail_retry_dead_letter_replay(self):
        endpoint = make_endpoint(retry_schedule=[60, 600])
        event, now = make_event(), timezone.now()
        transport = FakeTransport([500, ConnectionError("refused"), 503, 200])
        with relay(RETRY_JITTER=0):
            for wait, count in ((0, 1), (59, 0), (1, 1), (599, 0), (1, 1), (9_999_999, 0)):
                now += timedelta(seconds=wait)
                assert len(deliver_pending(transport=transport, now=now)) == count
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.attempt_count) == ("failed", 3)
        entry = DLQEntry.objects.get()
        assert (entry.endpoint, entry.attempt_count, entry.last_status_code) == (endpoint, 3, 503)
        dlq.replay(entry)
        (attempt,) = deliver_pending(transport=transport)
        assert (attempt.trigger, attempt.status_code) == ("replay", 200)
        assert len({request.headers["webhook-id"] for request in transport.requests}) == 1
        assert len({request.body for request in transport.requests}) == 1
        assert transport.requests[0].headers["webhook-id"] == event.pk
        assert list(
            Attempt.objects.filter(delivery=delivery).order_by("number").values_list("number", "error_kind")
        ) == [
            (1, ""),
            (2, "connection"),
            (3, ""),
        ]

    def test_is_the_same_under_a_wrapper_of_the_hosts_that_changes_what_is_sent(self):
        with connection.execute_wrapper(telling):
            self.test_fail_retry_dead_letter_replay()

    def test_a_dead_endpoint_does_not_delay_the_others(self):
        make_endpoint(ALICE), make_endpoint(CHARLIE)
        make_event(person=ALICE), make_event(person=CHARLIE)
        transport = FakeTransport(lambda request: ConnectionError("x") if "alice" in request.url else 200)
        deliver_pending(transport=transport)
        assert set(Delivery.objects.values_list("tenant_id", "state")) == {("acme", "pending"), ("globex", "delivered")}

    def test_an_emit_from_a_receiver_of_a_signal_is_delivered_by_the_next_turn(self):
        make_endpoint()
        make_event()
        transport = FakeTransport()
        deliver_pending(transport=transport)
        make_event()
        deliver_pending(transport=transport)
        assert len(transport.requests) == 2


class TestRunOnce:
    def test_says_what_it_did(self):
        make_endpoint(), make_endpoint()
        make_event()
        with make_worker() as it:
            turn = it.run_once()
            assert (turn.fanned_out, turn.leased, len(turn.settled)) == (1, 2, 2)
            assert not it.run_once()

    def test_takes_no_more_than_may_be_in_flight(self):
        for _ in range(5):
            make_delivery()
        with relay(MAX_IN_FLIGHT=2), make_worker() as it:
            assert [it.run_once().leased for _ in range(4)] == [2, 2, 1, 0]

    def test_an_endpoint_gets_more_at_once_with_each_success(self):
        class Counting(FakeTransport):
            def completed(self, timeout):
                open_at_once.append(self.in_flight)
                return super().completed(timeout)

        open_at_once, endpoint = [], make_endpoint()
        for _ in range(40):
            make_delivery(endpoint=endpoint)
        with relay(MAX_IN_FLIGHT_PER_ENDPOINT=6), make_worker(Counting()) as it:
            leased = [it.run_once().leased for _ in range(6)]
        assert leased[0] == 1
        assert [count for count in open_at_once if count][:4] == [1, 2, 4, 6]
        assert max(open_at_once) == 6
        assert sum(leased) == Delivery.objects.filter(state="delivered").count() == 40
        assert len([count for count in leased if count]) < 7  # more is leased than begun: fewer batches

    def test_what_waits_for_an_endpoint_that_became_slow_is_given_back(self, monkeypatch):
        class Hanging(FakeTransport):
            def completed(self, timeout):
                return super().completed(timeout) if len(self.requests) < 4 else []

        monkeypatch.setattr(in_hand, "HELD_SECONDS", 0)
        endpoint = make_endpoint()
        for _ in range(30):
            make_delivery(endpoint=endpoint)
        transport = Hanging()
        it = make_worker(transport)
        for _ in range(4):
            it.run_once()
        assert it.in_flight == Delivery.objects.leased().count() > 0
        assert it._in_hand.held == {}
        assert sum(Delivery.objects.values_list("attempt_count", flat=True)) == len(transport.requests) - it.in_flight

    def test_told_to_stop_it_begins_none_of_those_that_wait(self):
        class Stopping(FakeTransport):
            def completed(self, timeout):
                if len(self.requests) == 3:
                    it.stop()
                return super().completed(timeout)

        endpoint = make_endpoint()
        for _ in range(30):
            make_delivery(endpoint=endpoint)
        transport = Stopping()
        with make_worker(transport) as it:
            for _ in range(3):
                it.run_once()
        assert len(transport.requests) == Attempt.objects.count() == 3
        assert not Delivery.objects.leased().exists()

    def test_told_to_stop_it_claims_nothing(self):
        make_endpoint()
        make_event()
        with make_worker() as it:
            it.stop()
            assert not it.run_once()
        assert (Event.objects.get().status, Delivery.objects.count()) == ("pending", 0)

    def test_what_the_transport_did_not_begin_is_given_back(self):
        class Stopped(FakeTransport):
            def completed(self, timeout):
                from dataclasses import replace

                return [replace(o, status_code=None, error_kind="not_sent") for o in super().completed(timeout)]

        delivery = make_delivery()
        with make_worker(Stopped()) as it:
            assert it.run_once().settled == []
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempt_count, delivery.lease_token) == ("pending", 0, None)
        assert Attempt.objects.count() == 0

    def test_a_lost_lease_is_an_attempt_of_unknown_outcome_and_then_sent_again(self):
        delivery, now = make_delivery(), timezone.now()
        make_worker(now=now)._claim()  # and is never heard of again
        transport = FakeTransport()
        attempts = deliver_pending(transport=transport, now=now + timedelta(seconds=45))
        assert [attempt.error_kind for attempt in Attempt.objects.order_by("number")] == ["unknown", ""]
        assert len(attempts) == 2
        assert transport.requests[0].headers["webhook-attempt"] == "2"
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempt_count) == ("delivered", 2)

    def test_a_delivery_whose_worker_always_vanishes_ends_in_the_dlq(self):
        make_delivery(endpoint=make_endpoint(retry_schedule=[1]))
        now = timezone.now()
        for _ in range(3):
            vanished = make_worker(now=now)
            vanished._claim()
            vanished._settle()
            now += timedelta(seconds=46)
        deliver_pending(now=now)
        assert Delivery.objects.get().state == "failed"
        assert DLQEntry.objects.get().error_kind == "unknown"


class TestOneBadApple:
    def test_a_secret_that_cannot_be_read_stops_only_its_endpoint(self, caplog):
        broken, sound = make_endpoint(), make_endpoint()
        SigningSecret.objects.filter(endpoint=broken).update(key=fields.Ciphertext("r1.gone.AAAA"))
        make_event()
        transport = FakeTransport()
        deliver_pending(transport=transport)
        assert Delivery.objects.get(endpoint=sound).state == "delivered"
        held = Delivery.objects.get(endpoint=broken)
        assert (held.state, held.last_error_kind, held.attempt_count) == ("pending", "local_error", 1)
        assert "key 'gone'" in held.last_error
        assert len(transport.requests) == 1
        assert "attempt.not_prepared" in [getattr(record, "event", "") for record in caplog.records]
        assert Endpoint.objects.get(pk=broken.pk).failing_since is None

    def test_headers_that_cannot_be_read_stop_only_their_endpoint(self):
        broken, sound = make_endpoint(), make_endpoint()
        Endpoint.objects.filter(pk=broken.pk).update(headers=fields.Ciphertext("r1.gone.AAAA"))
        make_event()
        deliver_pending()
        assert Delivery.objects.get(endpoint=sound).state == "delivered"
        assert Delivery.objects.get(endpoint=broken).last_error_kind == "local_error"

    def test_one_result_that_cannot_be_recorded_does_not_hold_up_the_batch(self, caplog):
        endpoint = make_endpoint()
        for _ in range(3):
            make_delivery(endpoint=endpoint)
        poisoned = make_delivery(endpoint=endpoint)
        transport = FakeTransport(lambda request: -1 if request.headers["webhook-id"] == poisoned.event_id else 200)
        with make_worker(transport) as it:
            while it.run_once():
                assert it._in_hand.unsettled == []
        assert Delivery.objects.filter(state="delivered").count() == 3
        poisoned.refresh_from_db()
        assert poisoned.state == "pending"
        assert Attempt.objects.count() == 3
        assert [r.delivery_id for r in caplog.records if getattr(r, "event", "") == "attempt.not_recorded"] == [
            poisoned.pk
        ]
        deliver_pending(now=timezone.now() + timedelta(seconds=46))
        poisoned.refresh_from_db()
        assert (poisoned.state, poisoned.attempt_count) == ("delivered", 2)


class TestCheckKeys:
    def test_refuses_to_start_with_the_wrong_keys_and_deliveries_stay_pending(self):
        delivery = make_delivery()
        transport = FakeTransport()
        with (
            relay(ENCRYPTION_KEYS=OTHER_KEYS),
            make_worker(transport) as it,
            pytest.raises(exceptions.RelayConfigurationError, match="opens none"),
        ):
            it.run(until=lambda: it.idle)
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempt_count, delivery.lease_token) == ("pending", 0, None)
        assert transport.requests == []
        deliver_pending(transport=transport)
        assert len(transport.requests) == 1

    def test_refuses_to_start_without_keys(self):
        make_endpoint()
        with relay(ENCRYPTION_KEYS={}), pytest.raises(exceptions.RelayConfigurationError):
            attempts.check_keys(using=USING)

    def test_one_secret_that_opens_is_enough(self):
        make_endpoint()
        broken = make_endpoint()
        SigningSecret.objects.filter(endpoint=broken).update(key=fields.Ciphertext("r1.gone.AAAA"))
        attempts.check_keys(using=USING)

    def test_nothing_to_sign_is_no_reason(self):
        with relay(ENCRYPTION_KEYS=OTHER_KEYS):
            attempts.check_keys(using=USING)


class TestNoSecretLeaks:
    def test_not_into_logs_attempts_or_dumps_whatever_happens(self, caplog, django_capture_on_commit_callbacks):
        for logger in (None, "django", "django.db.backends", "django_relay"):
            caplog.set_level(logging.DEBUG, logger=logger)
        raw = b"canary-4711-canary-4711-canary!!"
        secret = "whsec_" + base64.b64encode(raw).decode()
        endpoint = make_endpoint(secret=secret, headers={"X-Key": "canary-header"}, retry_schedule=[1, 1, 1])
        broken = make_endpoint(secret=secret, headers={"X-Key": "canary-header"}, retry_schedule=[])
        SigningSecret.objects.filter(endpoint=broken).update(
            key=fields.Ciphertext(SigningSecret.objects.get(endpoint=endpoint).__dict__["key"])
        )

        def fail(request):
            assert request.headers["X-Key"] == "canary-header"
            raise RuntimeError("the transport broke")

        answers = [500, ConnectionError("refused"), 410]
        with CaptureQueriesContext(connection), django_capture_on_commit_callbacks(execute=True):
            make_event()
            for days in range(1, 5):
                deliver_pending(
                    transport=FakeTransport(answers.pop(0) if answers else 200),
                    now=timezone.now() + timedelta(days=days),
                )
            endpoint.enable()
            endpoint.rotate_secret(secret=secret)
            for entry in DLQEntry.objects.open():
                dlq.replay(entry)
            deliver_pending(now=timezone.now() + timedelta(days=9))
            make_event()
            with pytest.raises(RuntimeError):
                deliver_pending(transport=FakeTransport(fail), now=timezone.now() + timedelta(days=9))
            endpoint.delete()
        assert len(caplog.records) > 30
        assert Attempt.objects.filter(error_kind="local_error").exists()
        tables = {}
        with connection.cursor() as cursor:
            for model in apps.get_app_config("django_relay").get_models():
                cursor.execute(f"SELECT * FROM {model._meta.db_table}")
                tables[model.__name__] = repr(cursor.fetchall())
        assert "[redacted]" in tables["Attempt"]
        logs = "\n".join(
            f"{record.getMessage()} {record.args!r} {record.exc_text} {record.__dict__!r}" for record in caplog.records
        )
        for place in (logs, caplog.text, *tables.values()):
            for canary in ("canary", secret, base64.b64encode(raw).decode()[:20], raw.hex()):
                assert canary not in place
        assert INVOICE["number"] not in "\n".join(
            record.getMessage() for record in caplog.records if record.name.startswith("django_relay")
        )


class Cut:
    """Fails the n-th query on this connection, once."""

    def __init__(self, number):
        self.left = number

    def __call__(self, execute, sql, parameters, many, context):
        self.left -= 1
        if self.left == 0:
            raise OperationalError("the connection was cut")
        return execute(sql, parameters, many, context)


class TestCuts:
    def drive(self, step, tries=4):
        """Repeat a step that the database may fail, as its caller would."""
        for _ in range(tries):
            try:
                return step()
            except DatabaseError:
                continue
        raise AssertionError("the database is well again, and the step still fails")

    @pytest.mark.django_db(transaction=True)
    def test_whichever_query_fails_a_retry_completes_the_journey(self):
        reached, number = True, 0
        while reached:
            number += 1
            tenant = f"tenant-{number}"
            endpoints = [make_endpoint(tenant_id=tenant, retry_schedule=[1]) for _ in range(2)]
            bad = endpoints[0].url + "/bad"
            Endpoint.objects.filter(pk=endpoints[0].pk).update(url=bad)
            transport = FakeTransport(lambda request, bad=bad: 500 if request.url == bad else 200)
            cut = Cut(number)
            now = timezone.now()
            it = worker.Worker(using=USING, transport=transport, clock=lambda: now)  # noqa: B023
            with connection.execute_wrapper(cut):
                event = self.drive(lambda tenant=tenant: make_event(tenant_id=tenant, idempotency_key="k"))
                for _ in range(3):
                    while self.drive(it.run_once):
                        pass
                    now += timedelta(seconds=60)
            reached = cut.left <= 0
            self.check(event, endpoints)
        assert number > 20  # else the wrapper cut nothing

    def check(self, event, endpoints):
        """The invariants of a finished journey."""
        event.refresh_from_db()
        assert Event.objects.filter(tenant_id=event.tenant_id).count() == 1
        assert (event.status, event.matched_count) == ("dispatched", 2)
        states = dict(Delivery.objects.filter(event=event).values_list("endpoint_id", "state"))
        assert states == {endpoints[0].pk: "failed", endpoints[1].pk: "delivered"}
        for delivery in Delivery.objects.filter(event=event):
            assert (delivery.lease_token, delivery.leased_until) == (None, None)
            attempts = Attempt.objects.filter(delivery=delivery)
            assert attempts.count() >= delivery.attempt_count >= 1
            assert DLQEntry.objects.filter(delivery=delivery).count() == (delivery.state == "failed")

    def test_run_waits_for_a_database_that_fails(self, monkeypatch, caplog):
        monkeypatch.setattr(worker, "_DATABASE_PAUSE_SECONDS", 0.0)
        failures = []

        class Broken(worker.Worker):
            def _look(self, turn):
                if len(failures) < 3:
                    failures.append(1)
                    raise OperationalError("the server closed the connection")
                super()._look(turn)

        monkeypatch.setattr(worker.connections[USING], "close", lambda: None)  # the test's own transaction is open
        with Broken(using=USING, transport=FakeTransport()) as it:
            it.run(until=lambda: it.idle)
        assert len(failures) == 3
        assert [getattr(r, "event", "") for r in caplog.records].count("worker.database_failed") == 3


class TestWhatBreaksMeanwhile:
    """Whatever fails between a claim and its settlement costs nobody else's outcome, place or lease."""

    def test_a_clock_that_fails_while_held_leases_begin(self):
        class Clock:
            fails = False

            def __call__(self):
                if self.fails:
                    raise OperationalError("the server closed the connection")
                return timezone.now()

        clock, endpoint = Clock(), make_endpoint()
        for _ in range(30):
            make_delivery(endpoint=endpoint)
        transport = FakeTransport()
        with worker.Worker(using=USING, transport=transport, clock=clock) as it:
            it.run_once()
            it._look(worker.Turn())
            assert it._in_hand.held
            clock.fails = True
            with pytest.raises(OperationalError):
                it.run_once()
            clock.fails = False
            while it.run_once():
                pass
        assert Attempt.objects.count() == len(transport.requests) == 30
        assert Delivery.objects.filter(state="delivered", attempt_count=1).count() == 30

    @pytest.mark.parametrize("accepts", [True, False])
    def test_a_transport_that_raises(self, accepts):
        class Raising(FakeTransport):
            def submit(self, request):
                if len(self.requests) == 3 and not raised:
                    raised.append(True)
                    if accepts:
                        super().submit(request)
                    raise RuntimeError("out of luck")
                super().submit(request)

        raised = []
        for _ in range(10):
            make_delivery()
        it = make_worker(Raising())
        with pytest.raises(RuntimeError):
            it.run_once()
        it.finish()
        sent = 4 if accepts else 3
        assert Attempt.objects.count() == Delivery.objects.filter(state="delivered").count() == sent
        assert not Delivery.objects.leased().exists()
        while it.run_once():
            pass
        assert set(Delivery.objects.values_list("state", "attempt_count")) == {("delivered", 1)}

    def test_answers_are_taken_while_the_database_is_waited_for(self, monkeypatch):
        monkeypatch.setattr(worker, "_DATABASE_PAUSE_SECONDS", 0.05)
        monkeypatch.setattr(worker.connections[USING], "close", lambda: None)  # the test's own transaction is open
        make_delivery()
        with make_worker() as it:
            it._look(worker.Turn())
            assert it.in_flight == 1
            it._wait_for_database(OperationalError("the server closed the connection"))
            assert (it.in_flight, len(it._in_hand.unsettled)) == (0, 1)
        assert Delivery.objects.get().state == "delivered"

    def test_a_worker_with_one_place_tries_again_after_a_time_out(self):
        endpoint = make_endpoint(retry_schedule=[1, 1])
        make_event()

        class Hangs(FakeTransport):
            def completed(self, timeout):
                found = super().completed(timeout)
                return [replace(o, status_code=None, error_kind="timeout") for o in found] if not tried else found

        tried, now = [], timezone.now()
        with relay(MAX_IN_FLIGHT=1), make_worker(Hangs()) as it:
            it.clock = lambda: now
            it.run_once()
            tried.append(True)
            now += timedelta(minutes=1)
            it.run_once()
        assert Delivery.objects.get(endpoint=endpoint).state == "delivered"

    def test_a_lost_lease_is_recorded_even_where_its_endpoint_has_no_place(self):
        endpoint, now = make_endpoint(), timezone.now()
        for _ in range(3):
            make_delivery(endpoint=endpoint)
        leases.claim(3, now=now - timedelta(minutes=5), using=USING)
        Delivery.objects.update(lease_token=uuid.uuid4(), leased_at=now, leased_until=now)
        with make_worker(now=now + timedelta(seconds=1)) as it:
            it.run_once()
            it.stop()
        assert (
            Attempt.objects.filter(error_kind="unknown").count() == Delivery.objects.filter(attempt_count=1).count() > 0
        )
        assert Attempt.objects.exclude(error_kind="unknown").count() == 0

    def test_a_410_is_not_forgotten_when_health_cannot_be_written(self, monkeypatch):
        delivery = make_delivery()
        keep, fails = worker.health.keep, [OperationalError("not now")]

        def failing(*args, **kwargs):
            if fails:
                raise fails.pop()
            return keep(*args, **kwargs)

        monkeypatch.setattr(worker.health, "keep", failing)
        with make_worker(FakeTransport(410)) as it:
            with pytest.raises(OperationalError):
                it.run_once()
            it.run_once()
        delivery.endpoint.refresh_from_db()
        assert (delivery.endpoint.enabled, delivery.endpoint.disabled_reason) == (False, "gone")

    def test_an_outcome_that_cannot_be_written_at_all_holds_up_no_other(self, caplog):
        class Odd(FakeTransport):
            def completed(self, timeout):
                found = super().completed(timeout)
                return [replace(found[0], remote_address="\ud800"), *found[1:]] if found else []

        for _ in range(4):
            make_delivery()
        with make_worker(Odd()) as it:
            it.run_once()
        assert Delivery.objects.filter(state="delivered").count() == 3


@pytest.fixture
def quiet(monkeypatch):
    """Let nobody else want the processor."""
    monkeypatch.setattr(rhythm, "waited_seconds", lambda: 0.0)


class TestIdle:
    @pytest.mark.django_db(transaction=True)
    def test_an_idle_worker_asks_at_most_two_cheap_queries_a_second(self):
        make_delivery(next_attempt_at=timezone.now() + timedelta(hours=1))
        ends_at, counts = time.monotonic() + 5, []
        with CaptureQueriesContext(connection) as queries, make_worker() as it:

            def until():
                if time.monotonic() > ends_at - 2.5 and not counts:
                    counts.append(len(queries))  # by now its pauses have grown to a second
                return time.monotonic() > ends_at

            it.run(until=until)
        assert 1 <= len(queries) - counts[0] <= 2 * 2.5

    def test_it_looks_closely_after_work_and_then_less_and_less(self, quiet, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(rhythm.time, "monotonic", lambda: now[0])
        its, pauses = rhythm.Rhythm(), []
        assert its.is_due()
        its.looked(3, again_in=None)
        its.stay_alert()
        for _ in range(40):
            pauses.append(round(its.seconds_left, 3))
            now[0] += its.seconds_left
            assert its.is_due()
            its.looked(0, again_in=None)
        closely = pauses.count(0.01)
        assert 18 <= closely <= 22  # a fifth of a second
        assert pauses[closely : closely + 8] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]
        its.wake()
        assert its.is_due()
        its.looked(0, again_in=None)
        assert its.seconds_left == pytest.approx(0.01)

    def test_a_worthwhile_look_is_followed_by_the_next_at_once(self, quiet):
        its = rhythm.Rhythm()
        assert its.is_due()
        its.looked(rhythm.WORTHWHILE, again_in=None)
        assert its.is_due()
        assert its.was_worthwhile
        its.looked(1, again_in=None)
        assert not its.is_due()
        assert not its.was_worthwhile

    @pytest.mark.parametrize("found", [0, 3, rhythm.WORTHWHILE])
    @pytest.mark.parametrize(("waits", "rest"), [(0.001, 0.0), (0.005, 0.06), (3.0, 0.2)])
    def test_on_a_busy_machine_it_rests_after_a_look_that_found_all_whoever_wakes_it(
        self, monkeypatch, waits, rest, found
    ):
        now, waited = [100.0], [7.0]
        monkeypatch.setattr(rhythm.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(rhythm, "waited_seconds", lambda: waited[0])
        its = rhythm.Rhythm()
        assert its.is_due()
        waited[0] += waits
        its.looked(found, again_in=None)
        pause = 0.0 if found == rhythm.WORTHWHILE else rhythm.CLOSELY_SECONDS
        assert its.seconds_left == pytest.approx(max(rest, pause))
        its.wake()
        assert its.is_due() == (rest == 0)
        assert its.seconds_left == pytest.approx(rest)
        now[0] += rest + 0.001
        assert its.is_due()

    @pytest.mark.parametrize(
        ("found", "again_in", "is_partial"),
        [(rhythm.WORTHWHILE, None, True), (3, 0.0, False), (0, 0.0, False), (3, None, True)],
    )
    def test_it_does_not_rest_where_there_is_more(self, monkeypatch, found, again_in, is_partial):
        waited = [7.0]
        monkeypatch.setattr(rhythm, "waited_seconds", lambda: waited[0])
        its = rhythm.Rhythm()
        assert its.is_due()
        waited[0] += 1.0
        its.looked(found, again_in=again_in, is_partial=is_partial)
        assert its.seconds_left <= rhythm.CLOSELY_SECONDS + 1e-9
        its.wake()
        assert its.is_due()

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how long a thread waited")
    def test_it_sees_that_others_want_the_processor(self):
        def work(seconds):
            waited, ends_at = rhythm.waited_seconds(), time.monotonic() + seconds
            while time.monotonic() < ends_at:
                pass
            return rhythm.waited_seconds() - waited

        processors = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(processors)})
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])  # on the same one: it inherits that
        try:
            time.sleep(0.2)
            assert work(0.5) > 0.1
        finally:
            other.kill()
            other.wait()
            os.sched_setaffinity(0, processors)

    def test_where_the_system_does_not_say_it_does_not_rest(self, monkeypatch, tmp_path):
        monkeypatch.setattr(rhythm, "_SCHEDULED", tmp_path / "schedstat")
        assert rhythm.waited_seconds() == 0.0

    @pytest.mark.parametrize("is_more", [True, False])
    @pytest.mark.parametrize("settings", [{"MAX_IN_FLIGHT": 1}, {"FAN_OUT_BATCH": 1}])
    def test_a_look_without_room_for_all_there_is_is_followed_by_the_next_at_once(self, monkeypatch, settings, is_more):
        monkeypatch.setattr(rhythm, "waited_seconds", time.monotonic)  # it waits all the time
        monkeypatch.setattr(rhythm, "SHORT_WAIT_SECONDS", 0.0)
        monkeypatch.setattr(rhythm, "LONGEST_REST_SECONDS", 60.0)
        monkeypatch.setattr(rhythm, "REST", 1e9)
        make_endpoint()
        for _ in range(2):
            make_event()
        with relay(FIRST_IN_FLIGHT_PER_ENDPOINT=9, **settings if is_more else {}), make_worker() as it:
            it._turn()
            it._hear()
            assert it._rhythm.is_due() is is_more

    def test_a_replay_under_way_is_more(self):
        assert worker.Turn(advanced=1).is_partial
        assert not worker.Turn().is_partial

    def test_after_much_it_does_not_ask_whether_there_is_anything(self, monkeypatch):
        work, asked = worker.due.work, []
        monkeypatch.setattr(worker.due, "work", lambda **arguments: asked.append(arguments) or work(**arguments))
        monkeypatch.setattr(rhythm, "WORTHWHILE", 2)
        for _ in range(2):
            make_delivery()
        with make_worker() as it:
            counts = []
            for _ in range(3):
                it._rhythm._look_at = 0.0
                it._turn()
                counts.append(len(asked))
        assert counts == [1, 1, 2]


class TestNoTransactionWhileSending:
    @pytest.mark.django_db(transaction=True)
    def test_none_is_open_when_a_request_is_submitted(self):
        open_ones = []

        def look(request):
            open_ones.append(connection.in_atomic_block)
            return 200

        make_endpoint()
        make_event()
        deliver_pending(transport=FakeTransport(look))
        assert open_ones == [False]

    def test_what_was_sent_is_json(self):
        make_endpoint()
        make_event()
        transport = FakeTransport()
        deliver_pending(transport=transport)
        assert json.loads(transport.requests[0].body)["data"] == INVOICE


class TestToldToStop:
    def test_between_claim_and_send_gives_back_and_still_records_what_was_lost(self):
        """A lease taken from a vanished worker stands for an attempt, whoever is told to stop just then."""
        fresh, lost = make_delivery(), make_delivery()
        now = timezone.now()
        Delivery.objects.filter(pk=fresh.pk).update(next_attempt_at=now + timedelta(seconds=50))
        make_worker(now=now)._claim()  # takes the one that is due, and is never heard of again
        transport = FakeTransport()
        with make_worker(now=now + timedelta(seconds=60), transport=transport) as stopped:
            stopped.stopping.set()
            stopped._claim()
        assert transport.requests == []
        assert [(attempt.delivery, attempt.error_kind) for attempt in Attempt.objects.all()] == [(lost, "unknown")]
        assert not Delivery.objects.leased().exists()

    def test_a_failure_to_prepare_logs_no_traceback(self, caplog):
        """Its frames hold secrets, and error trackers collect them."""
        endpoint = make_delivery().endpoint
        SigningSecret.objects.filter(endpoint=endpoint).update(key=fields.Ciphertext("r1.gone.AAAA"))
        deliver_pending()
        (record,) = [record for record in caplog.records if record.event == "attempt.not_prepared"]
        assert record.exc_info is None


class TestWake:
    def test_a_notification_makes_the_next_look_come_now(self):
        it = make_worker()
        it._rhythm._look_at = time.monotonic() + 60
        assert not it._rhythm.is_due()
        it._hear()
        assert it._rhythm.is_due()


class TestRateLimit:
    def test_what_waits_for_it_alone_is_not_looked_at_until_its_slot(self):
        endpoint, transport = make_endpoint(rate_limit=4), FakeTransport()
        for _ in range(10):
            make_delivery(endpoint=endpoint)
        with CaptureQueriesContext(connection) as queries, make_worker(transport) as it:
            ends_at = time.monotonic() + 1.1
            while time.monotonic() < ends_at:
                it._turn()
                time.sleep(min(it._rhythm.seconds_left, 0.01))
        assert 4 <= len(transport.requests) <= 6
        assert sum("FROM" in query["sql"] and "endpointpace" in query["sql"] for query in queries) < 30
