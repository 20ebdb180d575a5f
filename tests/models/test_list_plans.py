"""No page of a list scans a table: SQLite's plans. Those of PostgreSQL are measured over a million rows (tests/plans)."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_relay.models import Application, lists, statistics
from django_relay.models.lists import Filters, Owner
from django_relay.models.paging import Wanted
from tests.factories import USING, make_endpoint
from tests.plans.reading import selects

pytestmark = pytest.mark.django_db

LIMIT = 50

LISTS = {
    "a tenant's deliveries": (lists.deliveries, {}),
    "that failed": (lists.deliveries, {"state": "failed"}),
    "of a rare type": (lists.deliveries, {"event_type": "rare.one"}),
    "of a status class": (lists.deliveries, {"status_class": "5xx"}),
    "an endpoint's deliveries": (lists.deliveries, {"endpoint_id": "one"}),
    "that failed at an endpoint": (lists.deliveries, {"endpoint_id": "one", "state": "failed"}),
    "that wait at an endpoint": (lists.deliveries, {"endpoint_id": "one", "state": "pending"}),
    "an endpoint's attempts": (lists.attempts, {"endpoint_id": "one"}),
    "a tenant's attempts of a status class": (lists.attempts, {"status_class": "5xx"}),
    "a tenant's events": (lists.events, {}),
    "a tenant's events of a rare type": (lists.events, {"event_type": "rare.one"}),
    "a tenant's open DLQ entries": (lists.dlq_entries, {"state": "open"}),
}


def narrowed(filters, one):
    """Return the filters of one of the lists, of an endpoint where they name one."""
    return Filters(**{**filters, **({"endpoint_id": one.pk} if "endpoint_id" in filters else {})})


class TestOnSQLite:
    @pytest.mark.parametrize("name", LISTS)
    def test_no_page_scans_a_table(self, backend, name):
        if backend != "sqlite":
            pytest.skip("PostgreSQL's plans are measured in tests/plans")
        one = make_endpoint(tenant_id="tenant7")
        make_endpoint(tenant_id="tenant7")
        list_of, filters = LISTS[name]
        owner = Owner(Application.objects.get(slug="default").pk, "tenant7")
        with selects() as made:
            list_of(owner, narrowed(filters, one), wanted=Wanted(LIMIT), using=USING)
        assert made
        for sql in made:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
                plan = [row[-1] for row in cursor.fetchall()]
            assert not [line for line in plan if line.startswith("SCAN") and line != "SCAN CONSTANT ROW"], (sql, plan)


def test_statistics_count_no_history(django_assert_num_queries):
    """They read hours, and of what waits no more than they show."""
    period = statistics.period(now=make_endpoint().created_at)
    with CaptureQueriesContext(connection) as captured:
        statistics.of_all(period, using=USING)
    (query,) = captured.captured_queries
    assert "django_relay_endpointhour" in query["sql"]
    assert "django_relay_delivery" not in query["sql"]
