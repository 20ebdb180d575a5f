from datetime import UTC, datetime, timedelta, timezone

import pytest

from django_relay.models import Endpoint, EndpointHour
from django_relay.models.endpoint_hour import COUNTS, LATENCY_MS, hour_of, percentile
from django_relay.models.lease import ReadyEndpoint
from tests.factories import USING, make_delivery, make_endpoint, make_settled
from tests.threads import together

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOW = NOON + timedelta(minutes=34, seconds=5)
HOUR = timedelta(hours=1)


def add(*settled, now=NOW):
    EndpointHour.objects.using(USING).add(settled, now)


def counts(row):
    """The columns that are not 0."""
    return {name: getattr(row, name) for name in COUNTS if getattr(row, name)}


class TestAdd:
    @pytest.mark.parametrize(
        ("came_back", "expected"),
        [
            ({"status_code": 200}, "delivered status_2xx within_25_ms"),
            ({"status_code": 299}, "delivered status_2xx within_25_ms"),
            ({"status_code": 301}, "retried status_3xx within_25_ms"),
            ({"status_code": 404}, "retried status_4xx within_25_ms"),
            ({"status_code": 410}, "dead_lettered status_4xx within_25_ms"),
            ({"status_code": 500}, "retried status_5xx within_25_ms"),
            ({"status_code": 599}, "retried status_5xx within_25_ms"),
            ({"status_code": 600}, "retried status_none within_25_ms"),
            ({"status_code": 199}, "retried status_none within_25_ms"),
            ({"status_code": 500, "number": 10}, "dead_lettered status_5xx within_25_ms"),
            ({"error_kind": "timeout", "duration_ms": 15_000}, "retried status_none timeouts within_30000_ms"),
            ({"error_kind": "connect_timeout"}, "retried status_none"),
            ({"error_kind": "connection"}, "retried status_none"),
            ({"error_kind": "address_not_public"}, "dead_lettered status_none"),
            ({"error_kind": "local_error"}, "inconclusive"),
            ({"error_kind": "unknown", "duration_ms": 45_000}, "inconclusive"),
            ({"error_kind": "local_error", "number": 10}, "inconclusive"),
        ],
        ids=str,
    )
    def test_where_an_attempt_is_counted(self, came_back, expected):
        add(make_settled(**came_back))
        assert counts(EndpointHour.objects.get()) == dict.fromkeys(expected.split(), 1)

    def test_a_lost_lease_gives_nothing_up(self):
        add(make_settled(500, number=10, is_ours=False), make_settled(200, is_ours=False))
        assert EndpointHour.objects.totals()["retried"] == 1
        assert EndpointHour.objects.totals()["delivered"] == 1
        assert EndpointHour.objects.totals()["dead_lettered"] == 0

    @pytest.mark.parametrize(
        ("duration_ms", "column"),
        [
            (0, "within_25_ms"),
            (25, "within_25_ms"),
            (26, "within_50_ms"),
            (1_000, "within_1000_ms"),
            (1_001, "within_2500_ms"),
            (30_000, "within_30000_ms"),
            (99_000, "within_30000_ms"),
        ],
    )
    def test_latency_goes_to_the_narrowest_column_it_fits(self, duration_ms, column):
        add(make_settled(duration_ms=duration_ms))
        row = EndpointHour.objects.get()
        assert {name for name in LATENCY_MS if getattr(row, name)} == {column}

    def test_adds_to_what_stands_there_and_each_attempt_once(self):
        delivery = make_delivery()
        results = [{"status_code": 200}, {"status_code": 500}, {"error_kind": "timeout"}, {"error_kind": "unknown"}]
        batch = [make_settled(delivery=delivery, **came_back) for came_back in results]
        add(*batch)
        add(*batch, *batch)
        row = EndpointHour.objects.get()
        assert (row.endpoint_id, row.hour) == (delivery.endpoint_id, NOON)
        assert (row.delivered, row.retried, row.dead_lettered, row.inconclusive) == (3, 6, 0, 3)
        assert (row.status_2xx, row.status_5xx, row.status_none, row.timeouts) == (3, 3, 3, 3)
        assert sum(getattr(row, name) for name in LATENCY_MS) == 9

    def test_a_row_for_each_endpoint_and_hour(self):
        first, second = make_delivery(), make_delivery()
        add(make_settled(delivery=first), make_settled(500, delivery=second))
        add(make_settled(delivery=first), now=NOW + HOUR)
        rows = EndpointHour.objects.values_list("endpoint_id", "hour", "delivered", "retried")
        assert set(rows) == {
            (first.endpoint_id, NOON, 1, 0),
            (second.endpoint_id, NOON, 0, 1),
            (first.endpoint_id, NOON + HOUR, 1, 0),
        }

    def test_one_statement_whatever_the_number_of_endpoints(self, django_assert_num_queries):
        batch = [make_settled(endpoint=make_endpoint(tenant_id=f"t{number}")) for number in range(60)]
        for _ in range(2):
            with django_assert_num_queries(1):
                add(*batch)
        assert list(EndpointHour.objects.values_list("delivered", flat=True)) == [2] * 60

    def test_more_endpoints_than_one_statement_can_take(self):
        delivery = make_delivery()
        batch = [make_settled(delivery=delivery) for _ in range(700)]
        for item in batch:
            item.lease.ready = ReadyEndpoint(Endpoint())
        add(*batch)
        assert EndpointHour.objects.totals()["delivered"] == EndpointHour.objects.count() == 700

    def test_nothing_costs_nothing(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            add()

    @pytest.mark.django_db(transaction=True)
    def test_workers_that_meet_lose_no_count_and_wait_in_no_circle(self):
        deliveries = [make_delivery() for _ in range(5)]

        def work(number):
            order = deliveries if number % 2 else deliveries[::-1]
            for _ in range(10):
                add(*[make_settled(delivery=delivery) for delivery in order])

        assert together(work, 4) == [None] * 4
        assert list(EndpointHour.objects.values_list("delivered", flat=True)) == [40] * 5


class TestHourOf:
    def test_is_the_hour_in_utc(self):
        kathmandu = timezone(timedelta(hours=5, minutes=45))
        assert hour_of(datetime(2026, 11, 22, 18, 19, 5, tzinfo=kathmandu)) == NOON


class TestFailuresSince:
    def hour(self, endpoint, hours, **values):
        EndpointHour.objects.create(endpoint=endpoint, hour=NOON + hours * HOUR, **values)

    def test_counts_retried_and_given_up_from_the_moment_on(self):
        endpoint, other = make_endpoint(), make_endpoint()
        self.hour(endpoint, -1, retried=100)
        self.hour(endpoint, 0, retried=1, dead_lettered=2, inconclusive=50)
        self.hour(endpoint, 3, retried=4)
        self.hour(other, 0, retried=1_000)
        assert EndpointHour.objects.failures_since({endpoint.pk: NOW}) == {endpoint.pk: 7}

    def test_each_endpoint_from_its_own_moment(self):
        first, second = make_endpoint(), make_endpoint()
        for endpoint in (first, second):
            self.hour(endpoint, 0, retried=1)
            self.hour(endpoint, 1, retried=2)
        moments = {first.pk: NOW, second.pk: NOW + HOUR}
        assert EndpointHour.objects.failures_since(moments) == {first.pk: 3, second.pk: 2}

    def test_a_first_hour_with_a_success_in_it_does_not_count(self):
        endpoint = make_endpoint()
        self.hour(endpoint, 0, retried=100, delivered=1)
        self.hour(endpoint, 1, retried=3)
        assert EndpointHour.objects.failures_since({endpoint.pk: NOW}) == {endpoint.pk: 3}

    def test_of_none(self):
        assert EndpointHour.objects.failures_since({}) == {}


class TestPercentile:
    def histogram(self, **columns):
        return {**dict.fromkeys(LATENCY_MS, 0), **columns}

    def test_of_nothing_is_none(self):
        assert percentile(self.histogram(), 0.5) is None

    @pytest.mark.parametrize(
        ("fraction", "expected"),
        [(0, 0), (0.25, 12.5), (0.5, 25), (0.75, 75), (0.95, 95), (1, 100)],
    )
    def test_spreads_evenly_within_a_column_and_skips_empty_ones(self, fraction, expected):
        assert percentile(self.histogram(within_25_ms=50, within_100_ms=50), fraction) == pytest.approx(expected)

    @pytest.mark.parametrize("fraction", [0.5, 0.95])
    def test_is_in_the_column_of_the_true_one(self, fraction):
        latencies = sorted(7 * number**2 % 29_989 for number in range(1_000))
        delivery = make_delivery()
        add(*[make_settled(delivery=delivery, duration_ms=latency) for latency in latencies])
        true = latencies[int(fraction * len(latencies))]
        upper = min(bound for bound in LATENCY_MS.values() if bound >= true)
        lower = max(bound for bound in (0, *LATENCY_MS.values()) if bound < true)
        assert lower <= percentile(EndpointHour.objects.totals(), fraction) <= upper

    def test_of_a_days_hours_together(self):
        endpoint = make_endpoint()
        for hours in range(24):
            EndpointHour.objects.create(endpoint=endpoint, hour=NOON + hours * HOUR, within_25_ms=1, within_50_ms=3)
        assert EndpointHour.objects.totals()["within_50_ms"] == 72
        assert percentile(EndpointHour.objects.totals(), 0.625) == pytest.approx(37.5)
