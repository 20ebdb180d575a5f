"""How the hot statements are sent to PostgreSQL."""

import pytest
from django.db import connection

from django_relay.models import postgres
from tests.factories import USING

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _undo():
    yield
    postgres.keep_plans(USING, is_safe=False)


def statements(*, keeps_plan):
    """Return how often a statement was prepared, having executed it often."""
    for _ in range(10):
        with postgres.cursor(USING, keeps_plan=keeps_plan) as cursor:
            cursor.execute("SELECT %s::int + 41", [1])
            assert cursor.fetchone() == (42,)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%::int + 41%%'", [])
        return cursor.fetchone()[0]


class TestKeepPlans:
    @pytest.mark.parametrize(("is_safe", "keeps_plan", "count"), [(True, True, 1), (True, False, 0), (False, True, 0)])
    def test_only_where_sessions_are_ours_and_only_of_what_asks_for_it(self, backend, is_safe, keeps_plan, count):
        if backend != "postgres":
            pytest.skip("SQLite has no sessions")
        connection.ensure_connection()
        postgres.keep_plans(USING, is_safe=is_safe)
        assert statements(keeps_plan=keeps_plan) == count
        assert connection.connection.prepare_threshold is None
