import json
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime

import pytest
from django.core import serializers
from django.db import OperationalError, connection, connections, transaction
from django.test import override_settings
from django.utils import timezone

from django_relay import ids, signals
from django_relay.models import Attempt, Delivery, DLQEntry, Endpoint, EndpointHour, Event
from django_relay.pipeline import attempts, health, leases, settlement
from django_relay.transport.base import Outcome
from tests.factories import USING, make_delivery, make_endpoint

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def relay(**values):
    from django.conf import settings

    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


def claim(now=None, limit=100):
    return leases.claim(limit, now=now or timezone.now(), using=USING).leases


def answer(lease, status_code=200, *, now=None, **values):
    """Return the outcome of the lease's attempt; an error kind has no status code."""
    now = now or timezone.now()
    if values.get("error_kind"):
        status_code = None
    request = attempts.prepare(lease, now=now)
    usual = {"started_at": now, "duration_ms": 12, "status_code": status_code, "remote_address": "192.0.2.1"}
    return lease, Outcome(request=request, **{**usual, **values})


def settle(*results, now=None):
    now = now or timezone.now()
    settled = settlement.settle(results, now=now, using=USING)
    health.keep(settled, now=now, using=USING)
    return settled


@pytest.fixture
def heard():
    """Every signal of deliveries and endpoints, as (name, instance) in order."""
    found, receivers = [], []
    for name in ("delivery_succeeded", "delivery_failed", "delivery_dead_lettered", "endpoint_disabled"):

        def receiver(sender, instance, name=name, **kwargs):
            found.append((name, instance))

        getattr(signals, name).connect(receiver)
        receivers.append((name, receiver))
    yield found
    for name, receiver in receivers:
        getattr(signals, name).disconnect(receiver)


class TestDelivered:
    @pytest.mark.parametrize("status_code", [200, 201, 204, 299])
    def test_any_2xx_ends_the_delivery(self, status_code):
        delivery, now = make_delivery(), timezone.now()
        (lease,) = claim()
        settle(answer(lease, status_code, body=b"thanks"), now=now)
        delivery.refresh_from_db()
        assert (delivery.state, delivery.completed_at, delivery.attempt_count) == ("delivered", now, 1)
        assert (delivery.lease_token, delivery.leased_at, delivery.leased_until) == (None, None, None)
        assert (delivery.last_status_code, delivery.last_response, delivery.last_latency_ms) == (
            status_code,
            "thanks",
            12,
        )
        assert (delivery.last_error, delivery.last_error_kind) == ("", "")
        assert DLQEntry.objects.count() == 0

    def test_the_attempt_is_recorded(self):
        make_delivery()
        (lease,) = claim()
        _lease, outcome = answer(lease, 200, headers=(("content-type", "text/plain"),), body=b"ok")
        settle((lease, outcome))
        attempt = Attempt.objects.get()
        assert attempt.pk == outcome.request.id
        assert (attempt.delivery, attempt.number, attempt.trigger) == (Delivery.objects.get(), 1, "automatic")
        assert (attempt.started_at, attempt.duration_ms) == (outcome.started_at, 12)
        assert (attempt.status_code, attempt.error_kind, attempt.error) == (200, "", "")
        assert (attempt.response_headers, attempt.response_body) == ([["content-type", "text/plain"]], "ok")
        assert (attempt.remote_address, attempt.next_attempt_at) == ("192.0.2.1", None)


class TestRetry:
    @pytest.mark.parametrize(
        "came_back", [{"status_code": 500}, {"status_code": 301}, {"status_code": 404}, {"error_kind": "timeout"}]
    )
    def test_a_failure_waits_its_schedule_and_jitter_only_delays(self, came_back):
        delivery = make_delivery()
        (lease,) = claim()
        now = timezone.now()
        settle(answer(lease, **came_back), now=now)
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempt_count, delivery.completed_at) == ("pending", 1, None)
        assert now + 5 * SECOND <= delivery.next_attempt_at <= now + 5.5 * SECOND
        assert delivery.lease_token is None
        assert delivery.last_error_kind == came_back.get("error_kind", "")
        assert delivery.last_error
        assert Attempt.objects.get().next_attempt_at == delivery.next_attempt_at
        assert DLQEntry.objects.count() == 0

    def test_the_whole_schedule_and_then_the_dlq(self):
        waits = [10, 100, 1000]
        endpoint = make_endpoint(retry_schedule=waits)
        delivery, now = make_delivery(endpoint=endpoint), timezone.now()
        with relay(RETRY_JITTER=0):
            for wait in waits:
                (lease,) = claim(now)
                settle(answer(lease, 500), now=now)
                assert claim(now + (wait - 0.001) * SECOND) == []
                now += wait * SECOND
            (lease,) = claim(now)
            settle(answer(lease, 500), now=now)
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempt_count) == ("failed", 4)
        assert [attempt.number for attempt in Attempt.objects.order_by("number")] == [1, 2, 3, 4]
        assert DLQEntry.objects.get().attempt_count == 4

    def test_retry_after_is_honoured_whatever_the_headers_spelling(self):
        delivery = make_delivery()
        (lease,) = claim()
        now = timezone.now()
        settle(answer(lease, 429, headers=(("RETRY-AFTER", "120"),)), now=now)
        delivery.refresh_from_db()
        assert now + 120 * SECOND <= delivery.next_attempt_at <= now + 132 * SECOND

    def test_a_retry_after_date_is_measured_from_the_workers_now(self):
        delivery = make_delivery()
        (lease,) = claim()
        now = timezone.now().replace(microsecond=0)
        date = format_datetime(now + 600 * SECOND, usegmt=True)
        with relay(RETRY_JITTER=0):
            settle(answer(lease, 503, headers=(("Retry-After", date),)), now=now)
        delivery.refresh_from_db()
        assert delivery.next_attempt_at == now + 600 * SECOND

    def test_the_policy_temporary_gives_up_at_once_on_what_cannot_mend(self):
        make_delivery(), make_delivery()
        first, second = claim()
        with relay(RETRY_POLICY="temporary"):
            settle(answer(first, 404), answer(second, 503))
        assert Delivery.objects.get(pk=first.delivery_id).state == "failed"
        assert Delivery.objects.get(pk=second.delivery_id).state == "pending"

    def test_no_schedule_is_no_retry(self):
        delivery = make_delivery(endpoint=make_endpoint(retry_schedule=[]))
        settle(answer(claim()[0], 500))
        delivery.refresh_from_db()
        assert delivery.state == "failed"


class TestDead:
    def give_up(self, **came_back):
        delivery = make_delivery(max_attempts=1)
        (lease,) = claim()
        settle(answer(lease, **{"status_code": 500, **came_back}))
        delivery.refresh_from_db()
        return delivery

    def test_the_entry_says_what_happened(self):
        delivery = self.give_up(status_code=502)
        entry = DLQEntry.objects.get()
        assert (delivery.state, delivery.completed_at) == ("failed", entry.failed_at)
        assert (entry.delivery, entry.event, entry.endpoint) == (delivery, delivery.event, delivery.endpoint)
        assert (entry.tenant_id, entry.event_type, entry.url) == ("acme", "invoice.paid", delivery.endpoint.url)
        assert (entry.error, entry.error_kind, entry.last_status_code) == ("HTTP 502", "", 502)
        assert (entry.attempt_count, entry.replayed_at, entry.discarded_at) == (1, None, None)
        assert list(DLQEntry.objects.open()) == [entry]

    def test_an_error_kind_is_kept(self):
        self.give_up(error_kind="tls", error="certificate has expired")
        entry = DLQEntry.objects.get()
        assert (entry.error_kind, entry.error, entry.last_status_code) == ("tls", "certificate has expired", None)

    def test_an_address_that_policy_forbids_is_given_up_at_once(self):
        delivery = make_delivery()
        settle(answer(claim()[0], error_kind="address_not_public"))
        delivery.refresh_from_db()
        assert delivery.state == "failed"
        assert DLQEntry.objects.get().error_kind == "address_not_public"

    @pytest.mark.django_db(transaction=True)
    def test_a_failed_delivery_without_its_entry_is_never_committed(self):
        """The entry and the state stand or fall together."""

        def refuse(execute, sql, parameters, many, context):
            if sql.startswith("INSERT") and "django_relay_dlqentry" in sql:
                raise OperationalError("the disk is full")
            return execute(sql, parameters, many, context)

        delivery = make_delivery(max_attempts=1)
        (lease,) = claim()
        with connection.execute_wrapper(refuse), pytest.raises(OperationalError):
            settle(answer(lease, 500))
        delivery.refresh_from_db()
        assert (delivery.state, delivery.lease_token) == ("pending", lease.token)
        assert Attempt.objects.count() == 0

    def test_settling_again_what_was_settled_changes_nothing(self):
        """As after a commit whose answer was lost."""
        delivery = make_delivery(max_attempts=1)
        result = answer(claim()[0], 500)
        with relay(OPERATIONAL_TENANT="operations"):
            settle(result)
            before = Delivery.objects.values().get()
            settle(result)
        assert Delivery.objects.values().get() == before
        assert (Attempt.objects.count(), DLQEntry.objects.get().delivery) == (1, delivery)
        assert EndpointHour.objects.totals()["status_5xx"] == 1
        assert Event.objects.filter(event_type="relay.delivery_dead_lettered").count() == 1

    def test_what_is_new_is_counted_and_told_though_its_lease_was_lost(self):
        """What stood already, in the same batch, is neither."""
        make_delivery(), make_delivery()
        first, second = claim()
        stood, new = answer(first), answer(second)
        settle(stood)
        leases.give_back([second], using=USING)
        with relay(OPERATIONAL_TENANT="operations"):
            settle(stood, new)
        assert EndpointHour.objects.totals()["status_2xx"] == 2
        assert not Event.objects.filter(event_type__startswith="relay.").exists()  # nothing became of the delivery


class TestGone:
    def test_410_disables_the_endpoint_and_holds_the_rest(self, heard, django_capture_on_commit_callbacks):
        endpoint = make_endpoint()
        asked, waiting = make_delivery(endpoint=endpoint), make_delivery(endpoint=endpoint)
        now = timezone.now()
        (lease,) = claim(now, limit=1)
        with django_capture_on_commit_callbacks(execute=True):
            settle(answer(lease, 410), now=now)
        endpoint.refresh_from_db()
        assert (endpoint.enabled, endpoint.disabled_reason, endpoint.disabled_at) == (False, "gone", now)
        states = {delivery.pk: delivery.state for delivery in Delivery.objects.all()}
        assert states == {asked.pk: "failed", waiting.pk: "pending"}
        assert claim(now + timedelta(days=30)) == []
        assert [name for name, _instance in heard] == ["delivery_dead_lettered", "endpoint_disabled"]
        endpoint.enable()
        assert [lease.delivery_id for lease in claim()] == [waiting.pk]

    def test_only_its_own_endpoint(self):
        gone, other = make_delivery(), make_delivery()
        found = {Delivery.objects.get(pk=lease.delivery_id): lease for lease in claim()}
        settle(answer(found[gone], 410), answer(found[other], 200))
        assert set(Endpoint.objects.values_list("pk", "enabled")) == {
            (gone.endpoint_id, False),
            (other.endpoint_id, True),
        }

    def test_who_disabled_it_before_stays_its_reason(self, heard, django_capture_on_commit_callbacks):
        delivery = make_delivery()
        (lease,) = claim()
        Endpoint.objects.get(pk=delivery.endpoint_id).disable("tenant")
        with django_capture_on_commit_callbacks(execute=True):
            settle(answer(lease, 410))
        assert Endpoint.objects.get().disabled_reason == "tenant"
        assert [name for name, _instance in heard] == ["delivery_dead_lettered"]


class TestLostLease:
    def test_records_its_attempt_and_changes_nothing(self, heard, caplog, django_capture_on_commit_callbacks):
        delivery, now = make_delivery(), timezone.now()
        (lost,) = claim(now)
        (holder,) = claim(now + 60 * SECOND)
        before = Delivery.objects.filter(pk=delivery.pk).values().get()
        with django_capture_on_commit_callbacks(execute=True):
            (settled,) = settle(answer(lost, 200))
        assert Delivery.objects.filter(pk=delivery.pk).values().get() == before
        assert (settled.is_ours, Attempt.objects.get().status_code) == (False, 200)
        assert heard == []
        assert [record.event for record in caplog.records] == ["lease.lost"]
        with django_capture_on_commit_callbacks(execute=True):
            settle(answer(holder, 500))
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempt_count) == ("pending", 1)
        assert Attempt.objects.count() == 2

    def test_a_dead_attempt_under_a_lost_lease_makes_no_entry(self):
        make_delivery(max_attempts=1)
        now = timezone.now()
        (lost,) = claim(now)
        claim(now + 60 * SECOND)
        settle(answer(lost, 500))
        assert DLQEntry.objects.count() == 0
        assert Delivery.objects.get().state == "pending"

    @pytest.mark.parametrize("state", ["delivered", "cancelled"])
    def test_a_settled_delivery_stays_settled(self, state):
        delivery = make_delivery()
        (lease,) = claim()
        Delivery.objects.update(
            state=state, completed_at=timezone.now(), lease_token=None, leased_at=None, leased_until=None
        )
        settle(answer(lease, 500))
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempt_count) == (state, 0)
        assert Attempt.objects.count() == 1

    def test_both_attempts_in_one_batch(self):
        delivery, now = make_delivery(), timezone.now()
        (lost,) = claim(now)
        (holder,) = claim(now + 60 * SECOND)
        settle(answer(lost, 500), answer(holder, 200))
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempt_count) == ("delivered", 1)
        # What a lease that was lost would have retried, it does not say to be attempted again.
        assert set(Attempt.objects.values_list("status_code", "next_attempt_at")) == {(500, None), (200, None)}

    def test_a_delivery_that_is_gone_altogether(self):
        make_delivery()
        (lease,) = claim()
        Delivery.objects.all().delete()
        (settled,) = settle(answer(lease, 200))
        assert not settled.is_ours

    def test_an_unknown_attempt_counts_and_is_retried_at_once(self):
        delivery, now = make_delivery(), timezone.now()
        claim(now)
        (lease,) = claim(now + 60 * SECOND)
        outcome = attempts.begin(lease, now=now + 60 * SECOND)
        settle((lease, outcome), now=now + 61 * SECOND)
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempt_count) == ("pending", 1)
        assert delivery.next_attempt_at == now + 61 * SECOND
        attempt = Attempt.objects.get()
        assert (attempt.error_kind, attempt.started_at, attempt.status_code) == ("unknown", now, None)


class TestWhatIsKept:
    def test_our_headers_are_shown_and_everything_else_is_redacted(self):
        make_delivery(endpoint=make_endpoint(headers={"X-Api-Key": "canary", "Authorization": "Bearer canary"}))
        (lease,) = claim()
        _lease, outcome = answer(lease, 200)
        assert outcome.request.headers["X-Api-Key"] == "canary"
        settle((lease, outcome))
        headers = dict(Attempt.objects.get().request_headers)
        assert headers["webhook-id"] == lease.event.event_id
        assert headers["webhook-attempt"] == "1"
        assert headers["webhook-timestamp"].isdigit()
        assert headers["content-type"] == "application/json"
        assert headers["webhook-signature"] == "[redacted]"
        assert headers["X-Api-Key"] == "[redacted]"
        assert headers["Authorization"] == "[redacted]"
        assert "canary" not in serializers.serialize("json", Attempt.objects.all())

    def test_a_custom_header_cannot_pass_for_one_of_ours(self):
        """Only exact names of ours are shown: a look-alike is the tenant's own."""
        make_delivery(endpoint=make_endpoint(headers={"X-Webhook-Id": "canary"}))
        settle(answer(claim()[0], 200))
        assert dict(Attempt.objects.get().request_headers)["X-Webhook-Id"] == "[redacted]"

    @pytest.mark.parametrize("name", ["Set-Cookie", "set-cookie2", "WWW-Authenticate", "Authorization"])
    def test_secrets_of_the_receivers_are_redacted(self, name):
        make_delivery()
        settle(answer(claim()[0], 200, headers=((name, "canary"), ("X-Other", "shown"))))
        assert Attempt.objects.get().response_headers == [[name, "[redacted]"], ["X-Other", "shown"]]

    @pytest.mark.parametrize(
        ("body", "kept"),
        [
            (b"a\x00b", "a\ufffdb"),
            (b"\xff\xfe", "\ufffd\ufffd"),
            (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
            ("é€😀".encode(), "é€😀"),
            (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
            (b"", ""),
        ],
        ids=["nul", "not utf-8", "surrogate", "utf-8", "markup", "empty"],
    )
    def test_any_body_can_be_stored(self, body, kept):
        delivery = make_delivery()
        settle(answer(claim()[0], 500, body=body))
        delivery.refresh_from_db()
        assert (Attempt.objects.get().response_body, delivery.last_response) == (kept, kept)

    def test_any_header_and_error_can_be_stored(self):
        delivery = make_delivery(max_attempts=1)
        hostile = "a\x00b\ud800"
        settle(answer(claim()[0], error_kind="bad_response", error=hostile, headers=((hostile, hostile),)))
        attempt = Attempt.objects.get()
        assert attempt.error == "a\ufffdb?"
        assert attempt.response_headers == [["a\ufffdb?", "a\ufffdb?"]]
        delivery.refresh_from_db()
        assert delivery.last_error == DLQEntry.objects.get().error == "a\ufffdb?"

    def test_the_delivery_keeps_only_the_beginning(self):
        delivery = make_delivery()
        settle(answer(claim()[0], 500, body=b"x" * 16_384))
        delivery.refresh_from_db()
        assert len(delivery.last_response) == 1_000
        assert len(Attempt.objects.get().response_body) == 16_384

    def test_the_log_has_the_facts_and_neither_payload_nor_body(self, caplog, django_capture_on_commit_callbacks):
        delivery = make_delivery()
        with django_capture_on_commit_callbacks(execute=True):
            settle(answer(claim()[0], 500, body=b"canary"))
        (record,) = [record for record in caplog.records if record.event.startswith("delivery.")]
        assert (record.event, record.delivery_id, record.status_code) == ("delivery.attempted", delivery.pk, 500)
        assert (record.decision, record.attempt, record.max_attempts) == ("retry", 1, 10)
        assert "canary" not in json.dumps(record.__dict__, default=str)
        assert "2026-0042" not in json.dumps(record.__dict__, default=str)


class TestStatements:
    def test_queries_do_not_grow_with_the_batch(self, backend, django_assert_max_num_queries):
        """But for SQLite's, which has an UPDATE for each delivery: there a statement is a call, not a journey."""
        for _ in range(20):
            make_delivery(max_attempts=1)
        results = [answer(lease, 200 if number % 2 else 500) for number, lease in enumerate(claim())]
        with django_assert_max_num_queries(12 if backend == "postgres" else 12 + 20):
            settle(*results)
        assert DLQEntry.objects.count() == 10


class TestSignals:
    def test_what_each_outcome_sends(self, heard, django_capture_on_commit_callbacks):
        good, bad, dead = make_delivery(), make_delivery(), make_delivery(max_attempts=1)
        found = {Delivery.objects.get(pk=lease.delivery_id): lease for lease in claim()}
        with django_capture_on_commit_callbacks(execute=True):
            settle(answer(found[good], 200), answer(found[bad], 500), answer(found[dead], 500))
        entry = DLQEntry.objects.get()
        assert heard == [("delivery_succeeded", good), ("delivery_failed", bad), ("delivery_dead_lettered", entry)]
        assert heard[0][1].state == "delivered"

    @pytest.mark.django_db(transaction=True)
    def test_nothing_is_sent_before_the_commit_nor_after_a_roll_back(self, heard):
        make_delivery()
        (lease,) = claim()
        with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - the block is what is rolled back
            settle(answer(lease, 200))
            raise ZeroDivisionError
        assert heard == []
        with transaction.atomic():
            settle(answer(lease, 200))
            assert heard == []
        assert [name for name, _instance in heard] == ["delivery_succeeded"]

    def test_a_receiver_that_raises_stops_nobody(self, heard, caplog, django_capture_on_commit_callbacks):
        def broken(**kwargs):
            raise RuntimeError("a receiver")

        signals.delivery_succeeded.connect(broken)
        try:
            make_delivery(), make_delivery()
            with django_capture_on_commit_callbacks(execute=True):
                settle(*[answer(lease, 200) for lease in claim()])
        finally:
            signals.delivery_succeeded.disconnect(broken)
        assert len(heard) == 2
        assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}


@pytest.mark.django_db(transaction=True)
class TestHeldEndpoint:
    """A host's transaction holds the endpoint's row for long."""

    def test_delays_neither_settling_nor_other_endpoints(self):
        held, other = make_delivery(), make_delivery()
        found = {Delivery.objects.get(pk=lease.delivery_id): lease for lease in claim()}
        now = timezone.now()
        with row_held(held.endpoint) as is_held:
            settled = settlement.settle([answer(found[held], 410), answer(found[other], 200)], now=now, using=USING)
            passed_over = health.keep(settled, now=now, using=USING)
        assert [item.lease.delivery_id for item in passed_over] == ([held.pk] if is_held else [])
        assert Endpoint.objects.get(pk=other.endpoint_id).last_success_at == now
        assert Endpoint.objects.get(pk=held.endpoint_id).enabled is is_held
        assert health.keep(passed_over, now=now, using=USING) == []
        assert Endpoint.objects.get(pk=held.endpoint_id).disabled_reason == "gone"


@contextmanager
def row_held(endpoint):
    """Hold the endpoint's row in a transaction of another connection, where the database has locks on rows at all."""
    if not connection.features.has_select_for_update_skip_locked:
        yield False
        return
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            identity = ids.to_uuid(endpoint.pk, prefix="ep_")
            cursor.execute("UPDATE django_relay_endpoint SET description = 'x' WHERE id = %s", [identity])
            yield True
            cursor.execute("COMMIT")
    finally:
        other.close()


class TestEcho:
    def test_what_a_receiver_echoes_of_our_secrets_is_not_kept(self):
        make_delivery(endpoint=make_endpoint(headers={"X-Api-Key": "canary-key"}))
        (lease,) = claim()
        echoed = {"body": b"you sent canary-key", "headers": (("X-Echo", "canary-key"),)}
        settle(answer(lease, 200, **echoed))
        kept = str(Attempt.objects.values().get()) + str(Delivery.objects.values().get())
        assert "canary" not in kept
        assert "you sent [redacted]" in kept
