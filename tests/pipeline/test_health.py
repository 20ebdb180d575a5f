from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.conf import settings
from django.core import mail
from django.db import connection, connections, transaction
from django.test import override_settings
from django.utils import timezone

from django_relay import ids, signals
from django_relay.models import Endpoint, EndpointHour, Event
from django_relay.pipeline import health
from tests.docs import pages
from tests.factories import USING, make_delivery, make_endpoint, make_settled
from tests.people import CHARLIE
from tests.threads import together

pytestmark = pytest.mark.django_db

NAMES = ("endpoint_failing", "endpoint_recovered", "endpoint_disabled")
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


@pytest.fixture
def heard():
    """Every signal of endpoints, as (name, id) in order."""
    found, receivers = [], []
    for name in NAMES:

        def receiver(sender, instance, name=name, **kwargs):
            found.append((name, instance.pk))

        getattr(signals, name).connect(receiver)
        receivers.append((name, receiver))
    yield found
    for name, receiver in receivers:
        getattr(signals, name).disconnect(receiver)


@pytest.fixture
def keep(django_capture_on_commit_callbacks):
    """Call the step as the worker does; what waits for the commit is done at its end."""

    def keep(*settled, now=None):
        with django_capture_on_commit_callbacks(execute=True):
            return health.keep(settled, now=now or timezone.now(), using=USING)

    return keep


def stored(endpoint):
    return Endpoint.objects.values_list("last_success_at", "failing_since").get(pk=endpoint.pk)


def reason(endpoint):
    return Endpoint.objects.values_list("disabled_reason", flat=True).get(pk=endpoint.pk)


def reread(endpoint):
    """An instance as another worker has it."""
    return Endpoint.objects.get(pk=endpoint.pk)


class TestSuccess:
    def test_is_noted(self, keep, heard):
        endpoint, now = make_endpoint(), timezone.now()
        assert keep(make_settled(200, endpoint=endpoint), now=now) == []
        assert stored(endpoint) == (now, None)
        assert heard == []

    def test_ends_the_failing_and_is_told_once(self, keep, heard):
        endpoint, now = make_endpoint(), timezone.now()
        keep(make_settled(500, endpoint=endpoint), now=now - DAY)
        keep(make_settled(200, endpoint=endpoint), make_settled(200, endpoint=endpoint), now=now)
        keep(make_settled(200, endpoint=endpoint), now=now + SECOND)
        assert stored(endpoint) == (now, None)
        assert heard == [("endpoint_failing", endpoint.pk), ("endpoint_recovered", endpoint.pk)]

    @pytest.mark.parametrize("order", [[200, 500], [500, 200]], ids=str)
    def test_one_in_the_batch_is_no_failing(self, keep, heard, order):
        endpoint, now = make_endpoint(), timezone.now()
        keep(*[make_settled(status_code, endpoint=endpoint) for status_code in order], now=now)
        assert stored(endpoint) == (now, None)
        assert heard == []

    def test_counts_even_when_the_lease_was_lost(self, keep):
        endpoint, now = make_endpoint(), timezone.now()
        keep(make_settled(200, endpoint=endpoint, is_ours=False), now=now)
        assert stored(endpoint) == (now, None)

    def test_costs_a_busy_endpoint_nothing(self, keep, django_assert_num_queries):
        endpoint, now = make_endpoint(), timezone.now()
        keep(make_settled(200, endpoint=endpoint), now=now)
        more = [make_settled(200, endpoint=endpoint) for _ in range(3)]
        with django_assert_num_queries(0):
            keep(*more, now=now + 4.9 * SECOND)
        assert stored(endpoint) == (now, None)
        keep(*more, now=now + 5 * SECOND)
        assert stored(endpoint) == (now + 5 * SECOND, None)

    def test_does_not_rewrite_what_another_worker_just_wrote(self, keep):
        endpoint, now = make_endpoint(), timezone.now()
        stale = reread(endpoint)
        keep(make_settled(200, endpoint=endpoint), now=now)
        keep(make_settled(200, endpoint=stale), now=now + SECOND)
        assert stored(endpoint) == (now, None)
        assert stale.last_success_at == now

    def test_ends_a_failing_that_another_worker_saw(self, keep, heard):
        endpoint, now = make_endpoint(), timezone.now()
        keep(make_settled(200, endpoint=endpoint), now=now)
        keep(make_settled(500, endpoint=reread(endpoint)), now=now + SECOND)
        keep(make_settled(200, endpoint=endpoint), now=now + 6 * SECOND)
        assert stored(endpoint) == (now + 6 * SECOND, None)
        assert heard == [("endpoint_failing", endpoint.pk), ("endpoint_recovered", endpoint.pk)]


class TestFailure:
    def test_failing_since_the_first_one_and_told_once(self, keep, heard):
        endpoint, now = make_endpoint(), timezone.now()
        keep(make_settled(500, endpoint=endpoint), make_settled(500, endpoint=endpoint), now=now)
        keep(make_settled(404, endpoint=endpoint), now=now + DAY)
        keep(make_settled(error_kind="timeout", endpoint=reread(endpoint)), now=now + DAY)
        assert stored(endpoint) == (None, now)
        assert heard == [("endpoint_failing", endpoint.pk)]

    @pytest.mark.parametrize("kind", ["local_error", "unknown"])
    def test_our_own_are_not_the_receivers(self, keep, heard, kind, django_assert_num_queries):
        endpoint = make_endpoint()
        settled = make_settled(error_kind=kind, endpoint=endpoint, number=10)
        with django_assert_num_queries(0):
            keep(settled)
        assert (stored(endpoint), heard) == ((None, None), [])

    @pytest.mark.parametrize("kind", ["timeout", "dns_error", "connection", "tls", "address_not_public"])
    def test_what_the_receivers_are(self, keep, kind):
        endpoint, now = make_endpoint(), timezone.now()
        keep(make_settled(error_kind=kind, endpoint=endpoint), now=now)
        assert stored(endpoint) == (None, now)

    def test_is_looked_up_every_few_seconds_only(self, keep, django_assert_num_queries):
        endpoint, now = make_endpoint(), timezone.now()
        settled = make_settled(500, endpoint=endpoint)
        keep(settled, now=now)
        with django_assert_num_queries(0):
            keep(settled, now=now + 4 * SECOND)
        Endpoint.objects.update(failing_since=None)  # another worker saw a success
        keep(settled, now=now + 5 * SECOND)
        assert stored(endpoint) == (None, now + 5 * SECOND)

    def test_logs_both_ways(self, keep, caplog):
        endpoint = make_endpoint()
        keep(make_settled(500, endpoint=endpoint))
        keep(make_settled(200, endpoint=endpoint))
        found = [(record.event, record.levelname, record.endpoint_id) for record in caplog.records]
        assert found == [("endpoint.failing", "WARNING", endpoint.pk), ("endpoint.recovered", "INFO", endpoint.pk)]


class TestGone:
    def test_410_disables_at_once_and_tells_that_alone(self, keep, heard):
        endpoint, other, now = make_endpoint(), make_endpoint(), timezone.now()
        before = reread(endpoint).updated_at
        assert keep(make_settled(410, endpoint=endpoint), make_settled(500, endpoint=other), now=now) == []
        row = reread(endpoint)
        assert (row.enabled, row.disabled_reason, row.disabled_at, row.failing_since) == (False, "gone", now, now)
        assert before < row.updated_at == now
        assert (endpoint.enabled, endpoint.disabled_reason, endpoint.disabled_at) == (False, "gone", now)
        assert sorted(heard) == [("endpoint_disabled", endpoint.pk), ("endpoint_failing", other.pk)]

    def test_though_others_in_the_batch_succeeded(self, keep, heard):
        endpoint, now = make_endpoint(), timezone.now()
        keep(make_settled(200, endpoint=endpoint), make_settled(410, endpoint=endpoint), now=now)
        assert (stored(endpoint), reason(endpoint)) == ((now, None), "gone")
        assert heard == [("endpoint_disabled", endpoint.pk)]

    def test_one_that_is_disabled_keeps_its_reason(self, keep, heard):
        endpoint = make_endpoint()
        endpoint.disable("tenant")
        keep(make_settled(410, endpoint=endpoint))
        assert (reason(endpoint), heard) == ("tenant", [])


class TestWornOut:
    """Nothing but failure for ``DISABLE_AFTER``, and at least ``DISABLE_MIN_FAILURES``."""

    @pytest.fixture
    def fail(self, keep):
        """Let an endpoint's attempts fail at a moment, counted as settlement counts them."""

        def fail(endpoint, now, times=1, **came_back):
            delivery = make_delivery(endpoint=endpoint)
            batch = [make_settled(**{"status_code": 500, **came_back}, delivery=delivery) for _ in range(times)]
            EndpointHour.objects.using(USING).add(batch, now)
            return keep(*batch, now=now)

        return fail

    def test_is_disabled(self, fail, heard):
        endpoint, now = make_endpoint(), timezone.now()
        fail(endpoint, now - 5 * DAY, times=19)
        assert reread(endpoint).enabled
        fail(endpoint, now)
        row = reread(endpoint)
        assert (row.enabled, row.disabled_reason, row.disabled_at) == (False, "failing", now)
        assert row.failing_since == now - 5 * DAY
        assert heard == [("endpoint_failing", endpoint.pk), ("endpoint_disabled", endpoint.pk)]

    def test_not_a_moment_too_soon(self, fail):
        endpoint, now = make_endpoint(), timezone.now()
        fail(endpoint, now - 5 * DAY + SECOND, times=100)
        fail(endpoint, now, times=100)
        assert reread(endpoint).enabled

    def test_not_for_a_failure_too_few(self, fail):
        endpoint, now = make_endpoint(), timezone.now()
        fail(endpoint, now - 9 * DAY, times=18)
        fail(endpoint, now)
        assert reread(endpoint).enabled
        fail(endpoint, now + 6 * SECOND)
        assert reason(endpoint) == "failing"

    def test_our_own_failures_do_not_count(self, fail):
        endpoint, now = make_endpoint(), timezone.now()
        fail(endpoint, now - 9 * DAY)
        for kind in ("local_error", "unknown"):
            fail(endpoint, now - 8 * DAY, times=50, error_kind=kind)
        fail(endpoint, now)
        assert reread(endpoint).enabled

    def test_failures_before_the_last_success_do_not_count(self, fail, keep):
        endpoint, now = make_endpoint(), timezone.now()
        fail(endpoint, now - 8 * DAY, times=100)
        keep(make_settled(200, endpoint=endpoint), now=now - 7 * DAY)
        fail(endpoint, now - 6 * DAY, times=10)
        fail(endpoint, now)
        assert reread(endpoint).enabled

    def test_a_success_in_the_same_batch_saves_it(self, fail, keep):
        endpoint, now = make_endpoint(), timezone.now()
        fail(endpoint, now - 6 * DAY, times=100)
        keep(make_settled(500, endpoint=endpoint), make_settled(200, endpoint=endpoint), now=now)
        assert (reread(endpoint).enabled, stored(endpoint)) == (True, (now, None))

    def test_both_are_settings(self, fail):
        endpoint, now = make_endpoint(), timezone.now()
        with relay(DISABLE_AFTER=timedelta(hours=1), DISABLE_MIN_FAILURES=2):
            fail(endpoint, now - timedelta(hours=1))
            assert reread(endpoint).enabled
            fail(endpoint, now)
        assert reason(endpoint) == "failing"

    def test_none_never_disables(self, fail):
        endpoint, now = make_endpoint(), timezone.now()
        with relay(DISABLE_AFTER=None):
            fail(endpoint, now - 400 * DAY, times=100)
            fail(endpoint, now, times=100)
            assert reread(endpoint).enabled
            fail(endpoint, now + DAY, status_code=410)
        assert reason(endpoint) == "gone"

    def test_enabled_again_it_starts_anew(self, fail):
        endpoint, now = make_endpoint(), timezone.now()
        fail(endpoint, now - 6 * DAY, times=100)
        fail(endpoint, now - DAY)
        assert endpoint.enable() is True
        fail(endpoint, now, times=100)
        assert (reread(endpoint).enabled, stored(endpoint)) == (True, (None, now))

    def test_each_endpoint_by_itself(self, fail, keep):
        worn, young, now = make_endpoint(), make_endpoint(), timezone.now()
        fail(worn, now - 6 * DAY, times=100)
        fail(young, now - DAY, times=100)
        keep(make_settled(500, endpoint=worn), make_settled(500, endpoint=young), now=now)
        assert (reason(worn), reason(young)) == ("failing", "")


class TestDisabled:
    def test_nothing_is_told_of_what_was_under_way(self, keep, heard):
        endpoint, now = make_endpoint(), timezone.now()
        Endpoint.objects.update(enabled=False, failing_since=now - DAY)
        endpoint.refresh_from_db()
        keep(make_settled(500, endpoint=endpoint), now=now)
        assert stored(endpoint) == (None, now - DAY)
        keep(make_settled(200, endpoint=endpoint), now=now)
        assert stored(endpoint) == (now, None)
        keep(make_settled(500, endpoint=endpoint), now=now + DAY)
        assert (stored(endpoint), heard) == ((now, None), [])

    def test_a_deleted_one_stays_deleted(self, keep, heard):
        endpoint = make_endpoint()
        settled = [make_settled(410, endpoint=endpoint), make_settled(500, endpoint=endpoint)]
        endpoint.delete()
        assert keep(*settled) == []
        assert (reason(endpoint), heard) == ("", [])


class TestStatements:
    def batch(self, count):
        """Make ``count`` endpoints of each kind, and one attempt of each."""
        now = timezone.now()
        kinds = {"new": 500, "worn out": 500, "recovering": 200, "healthy": 200, "gone": 410, "failing": 500}
        batch = []
        for kind, status_code in kinds.items():
            for _ in range(count):
                endpoint = make_endpoint()
                since = {"worn out": now - 6 * DAY, "recovering": now - DAY, "failing": now - DAY}.get(kind)
                endpoint.failing_since = since
                Endpoint.objects.filter(pk=endpoint.pk).update(failing_since=since)
                if kind == "worn out":
                    EndpointHour.objects.create(endpoint=endpoint, hour=now - DAY, retried=20)
                batch.append(make_settled(status_code, endpoint=endpoint))
        return batch

    @pytest.mark.parametrize("count", [1, 6])
    def test_do_not_grow_with_the_batch(self, keep, heard, count, django_assert_max_num_queries):
        batch = self.batch(count)
        # Of the locked rows and of their hours one SELECT each, one UPDATE for each kind of change; the rest is the
        # savepoint, SQLite's write lock, and the operational tenant's application and events.
        with relay(OPERATIONAL_TENANT="operations"), django_assert_max_num_queries(2 + 4 + 5):
            keep(*batch)
        assert len(heard) == 4 * count
        assert Event.objects.filter(event_type__startswith="relay.").count() == 4 * count
        assert Endpoint.objects.filter(enabled=False).count() == 2 * count


@pytest.mark.django_db(transaction=True)
class TestTransactions:
    def test_nothing_is_told_or_learned_of_what_is_rolled_back(self, heard):
        endpoint = make_endpoint()
        settled = [make_settled(410, endpoint=endpoint)]
        with relay(OPERATIONAL_TENANT="operations"):
            with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - the block is what is rolled back
                health.keep(settled, now=timezone.now(), using=USING)
                raise ZeroDivisionError
            assert (heard, endpoint.enabled, reread(endpoint).enabled) == ([], True, True)
            assert not Event.objects.filter(event_type__startswith="relay.").exists()
            health.keep(settled, now=timezone.now(), using=USING)
        assert (heard, reread(endpoint).enabled) == ([("endpoint_disabled", endpoint.pk)], False)
        assert Event.objects.filter(event_type="relay.endpoint_disabled").count() == 1

    def test_a_receiver_that_raises_stops_nobody(self, heard):
        def broken(**kwargs):
            raise RuntimeError("a receiver")

        endpoints = [make_endpoint(), make_endpoint()]
        signals.endpoint_failing.connect(broken)
        try:
            settled = [make_settled(500, endpoint=endpoint) for endpoint in endpoints]
            health.keep(settled, now=timezone.now(), using=USING)
        finally:
            signals.endpoint_failing.disconnect(broken)
        assert sorted(heard) == sorted(("endpoint_failing", endpoint.pk) for endpoint in endpoints)
        assert None not in Endpoint.objects.values_list("failing_since", flat=True)


@pytest.mark.django_db(transaction=True)
class TestTwoWorkers:
    def all_at_once(self, endpoint, status_code):
        """Four workers, each with an instance of its own, settle an attempt at the same moment, and go on."""
        workers = [[make_settled(status_code, endpoint=reread(endpoint))] for _ in range(4)]
        now = timezone.now()

        def work(number):
            left = workers[number]
            for _ in range(20):
                left = health.keep(left, now=now, using=USING)
            return left

        assert together(work, 4) == [[]] * 4

    def test_tell_each_change_once(self, heard):
        endpoint = make_endpoint()
        with relay(OPERATIONAL_TENANT="operations"):
            self.all_at_once(endpoint, 500)
            assert heard == [("endpoint_failing", endpoint.pk)]
            self.all_at_once(endpoint, 200)
            assert heard[1:] == [("endpoint_recovered", endpoint.pk)]
            self.all_at_once(endpoint, 410)
            assert heard[2:] == [("endpoint_disabled", endpoint.pk)]
        events = Event.objects.filter(event_type__startswith="relay.").order_by("created_at", "pk")
        assert [event.event_type for event in events] == [f"relay.{name}" for name in NAMES]

    def test_whose_batches_overlap_wait_in_no_circle(self):
        endpoints = [make_endpoint() for _ in range(6)]
        now = timezone.now()

        def work(number):
            order = endpoints if number % 2 else endpoints[::-1]
            for turn in range(10):
                status_code = 200 if (turn + number) % 3 else 500
                batch = [make_settled(status_code, delivery=deliveries[number, endpoint]) for endpoint in order]
                health.keep(batch, now=now + turn * DAY, using=USING)

        deliveries = {
            (number, endpoint): make_delivery(endpoint=reread(endpoint))
            for number in range(4)
            for endpoint in endpoints
        }
        assert together(work, 4) == [None] * 4


@pytest.mark.django_db(transaction=True)
class TestHeldEndpoint:
    """A host's transaction holds the endpoint's row for long."""

    def test_delays_neither_health_of_others_nor_its_own_for_ever(self):
        held, other, now = make_endpoint(), make_endpoint(), timezone.now()
        settled = [make_settled(410, endpoint=held) for _ in range(2)] + [make_settled(200, endpoint=other)]
        with row_held(held) as is_held:
            passed_over = health.keep(settled, now=now, using=USING)
        assert [item.endpoint_id for item in passed_over] == ([held.pk] if is_held else [])
        assert reread(other).last_success_at == now
        assert reread(held).enabled is is_held
        assert health.keep(passed_over, now=now, using=USING) == []
        assert reason(held) == "gone"

    def test_an_end_of_failing_is_not_lost(self):
        held, healthy, now = make_endpoint(), make_endpoint(), timezone.now()
        Endpoint.objects.filter(pk=held.pk).update(failing_since=now - 6 * DAY)
        settled = [make_settled(200, endpoint=held), make_settled(200, endpoint=healthy)]  # a stale instance of held
        with row_held(held) as is_held, row_held(healthy):
            passed_over = health.keep(settled, now=now, using=USING)
        assert [item.endpoint_id for item in passed_over] == ([held.pk] if is_held else [])
        assert health.keep(passed_over, now=now, using=USING) == []
        assert stored(held) == (now, None)

    def test_a_row_that_is_gone_is_not_waited_for(self):
        endpoint = make_endpoint()
        settled = [make_settled(410, endpoint=endpoint)]
        endpoint.signing_secrets.all().delete()
        Endpoint.objects.filter(pk=endpoint.pk)._raw_delete(USING)
        assert health.keep(settled, now=timezone.now(), using=USING) == []


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


class TestMail:
    def test_the_documented_receiver_writes_to_somebody(self, keep):
        code = pages.block("mail", page="docs/reference/signals-and-logs.md")
        namespace = {"__name__": "page"}
        exec(code, namespace)
        try:
            endpoint = make_endpoint(CHARLIE)
            keep(make_settled(410, endpoint=endpoint))
        finally:
            assert signals.endpoint_disabled.disconnect(namespace["write_to_support"])
        (message,) = mail.outbox
        assert CHARLIE.tenant_id in message.subject
        assert "410" in message.body
        assert endpoint.pk in message.body
