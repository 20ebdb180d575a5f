from datetime import UTC, datetime, timedelta

import pytest

from django_relay import exceptions
from django_relay.models import Application, EndpointHour, statistics
from django_relay.models.lists import Owner
from tests.factories import USING, make_delivery, make_dlq_entry, make_endpoint
from tests.people import ALICE, CHARLIE

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LAST_DAY = statistics.period(now=NOON)


def make_hour(endpoint, hour=NOON - HOUR, **counts):
    return EndpointHour.objects.create(endpoint=endpoint, hour=hour, **counts)


class TestPeriod:
    def test_is_the_last_24_hours_or_30_days_in_whole_buckets(self):
        assert statistics.period(now=NOON) == (NOON - 24 * HOUR, NOON, "hour")
        assert statistics.period(now=NOON + timedelta(minutes=1)) == (NOON - 23 * HOUR, NOON + HOUR, "hour")
        midnight = NOON + 12 * HOUR
        assert statistics.period(per="day", now=NOON) == (midnight - timedelta(days=30), midnight, "day")

    def test_holds_what_was_asked_for(self):
        half_past = NOON + timedelta(minutes=30)
        assert statistics.period(half_past - HOUR, half_past, now=NOON) == (NOON - HOUR, NOON + HOUR, "hour")

    @pytest.mark.parametrize(
        ("since", "until", "per"),
        [(NOON, NOON, "hour"), (NOON, NOON - HOUR, "hour"), (NOON - 745 * HOUR, NOON, "hour"), (None, None, "week")],
        ids=["empty", "backwards", "too-many", "no-bucket"],
    )
    def test_has_a_beginning_an_end_and_not_too_many_buckets(self, since, until, per):
        with pytest.raises(exceptions.InvalidInput) as caught:
            statistics.period(since, until, per=per, now=NOON)
        assert caught.value.code == "bad_period"


class TestOfEndpoint:
    def test_adds_up_and_leaves_no_bucket_out(self, django_assert_num_queries):
        endpoint = make_endpoint()
        make_hour(endpoint, delivered=6, status_2xx=6, within_25_ms=6)
        make_hour(endpoint, NOON - 3 * HOUR, retried=2, dead_lettered=1, inconclusive=4, status_5xx=2, status_none=1)
        make_hour(endpoint, NOON, delivered=100)
        make_hour(make_endpoint(), delivered=1_000)
        with django_assert_num_queries(1):
            found = statistics.of_endpoint(endpoint.pk, LAST_DAY, using=USING)
        assert (found.total.attempts, found.total.delivered, found.total.failed) == (13, 6, 3)
        assert found.total.error_rate == pytest.approx(1 / 3)
        assert found.total.status_classes == {"2xx": 6, "3xx": 0, "4xx": 0, "5xx": 2, "none": 1}
        assert (found.total.latency_p50_ms, found.total.latency_p95_ms) == (12.5, pytest.approx(23.75))
        assert [bucket.starts_at for bucket in found.buckets] == [NOON - n * HOUR for n in range(24, 0, -1)]
        assert [bucket.attempts for bucket in found.buckets] == [0] * 21 + [7, 0, 6]

    def test_by_the_day(self):
        endpoint = make_endpoint()
        make_hour(endpoint, delivered=1)
        make_hour(endpoint, NOON - 13 * HOUR, delivered=2)
        found = statistics.of_endpoint(endpoint.pk, statistics.period(per="day", now=NOON), using=USING)
        assert [bucket.delivered for bucket in found.buckets][-3:] == [0, 2, 1]

    def test_of_nothing_there_is_no_rate(self):
        total = statistics.of_endpoint(make_endpoint().pk, LAST_DAY, using=USING).total
        assert (total.attempts, total.error_rate, total.latency_p50_ms, total.latency_p95_ms) == (0, None, None, None)


class TestOfMany:
    def test_endpoints_in_one_query(self, django_assert_num_queries):
        one, other, idle = make_endpoint(), make_endpoint(), make_endpoint()
        make_hour(one, delivered=1)
        make_hour(one, NOON - 2 * HOUR, delivered=2)
        make_hour(other, retried=5)
        with django_assert_num_queries(1):
            totals = statistics.totals_by_endpoint([one.pk, other.pk, idle.pk], LAST_DAY, using=USING)
        assert {key: (found.delivered, found.failed) for key, found in totals.items()} == {
            one.pk: (3, 0),
            other.pk: (0, 5),
            idle.pk: (0, 0),
        }
        with django_assert_num_queries(1):
            series = statistics.series_by_endpoint([one.pk, idle.pk], LAST_DAY, using=USING)
        assert [bucket.delivered for bucket in series[one.pk].buckets][-2:] == [2, 1]
        assert series[idle.pk].total.attempts == 0

    def test_a_tenant_an_application_and_all(self, django_assert_num_queries):
        endpoint = make_endpoint()
        make_hour(endpoint, delivered=1)
        make_hour(make_endpoint(), delivered=2)
        make_hour(make_endpoint(CHARLIE), delivered=4)
        default = Application.objects.get(slug="default").pk
        with django_assert_num_queries(1):
            assert statistics.of_owner(Owner(default, ALICE.tenant_id), LAST_DAY, using=USING).total.delivered == 3
        assert statistics.of_owner(Owner(default, None), LAST_DAY, using=USING).total.delivered == 7
        assert statistics.of_all(LAST_DAY, using=USING).total.delivered == 7
        by_tenant = statistics.totals_by_tenant(default, ["acme", "globex", "nobody"], LAST_DAY, using=USING)
        assert {key: found.delivered for key, found in by_tenant.items()} == {"acme": 3, "globex": 4, "nobody": 0}


class TestWaiting:
    def test_is_counted_so_far_and_no_further(self, monkeypatch):
        monkeypatch.setattr(statistics, "COUNTED", 2)
        endpoint = make_endpoint()
        for _ in range(2):
            make_delivery(endpoint=endpoint)
        assert statistics.pending([endpoint.pk], using=USING) == statistics.Capped(2)
        make_delivery(endpoint=endpoint)
        assert statistics.pending([endpoint.pk], using=USING) == statistics.Capped(2, has_more=True)
        assert statistics.pending(using=USING) == statistics.Capped(2, has_more=True)
        assert str(statistics.Capped(10_000, True)) == "10,000+"

    def test_what_is_held_waits_for_its_endpoint(self):
        delivery, _other = make_delivery(), make_delivery()
        delivery.endpoint.disable()
        assert statistics.pending(using=USING).count == 2
        assert statistics.held(using=USING).count == 1
        assert statistics.held([_other.endpoint_id], using=USING).count == 0

    def test_the_dlq_holds_what_is_open(self):
        entry = make_dlq_entry()
        make_dlq_entry(discarded_at=NOON)
        assert statistics.in_dlq(using=USING).count == statistics.in_dlq([entry.endpoint_id], using=USING).count == 1

    def test_the_oldest_that_is_due(self):
        assert statistics.oldest_due(now=NOON, using=USING) is None
        make_delivery(next_attempt_at=NOON - HOUR)
        held = make_delivery(next_attempt_at=NOON - 2 * HOUR)
        held.endpoint.disable()
        assert statistics.oldest_due(now=NOON, using=USING) == NOON - HOUR
        assert statistics.oldest_due(now=NOON - 2 * HOUR, using=USING) is None
