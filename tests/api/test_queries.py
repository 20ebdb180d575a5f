"""What an answer costs the database does not depend on how many rows there are: every list and detail there is."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay.models import AuditEntry, Delivery, Endpoint, EndpointHour
from django_relay.models.endpoint_hour import hour_of
from tests.api.callers import operator, tenant
from tests.api.test_access import ROUTES, call, caller, make_rows, may_tenant
from tests.factories import (
    INVOICE,
    make_api_key,
    make_application,
    make_attempt,
    make_delivery,
    make_dlq_entry,
    make_endpoint,
    make_event_type,
    make_portal_session,
    make_replay,
)  # fmt: skip
from tests.people import ALICE, CHARLIE

pytestmark = pytest.mark.django_db

PLACES = [place for _pattern, method, place in (route.values for route in ROUTES) if method == "GET"]
MOST = 10
MORE = 5


def grow(rows):
    """Add to every list, and to all that belongs to the rows that details are shown of."""
    endpoint = Endpoint.objects.get(pk=rows["endpoint_id"])
    delivery = Delivery.objects.get(pk=rows["delivery_id"])
    now = timezone.now()
    for number in range(MORE):
        make_attempt(delivery, number=number + 2)
        make_delivery(endpoint=make_endpoint(), event=delivery.event)
        failed = make_delivery(endpoint=endpoint, state="failed")
        make_dlq_entry(failed)
        make_attempt(failed)
        make_endpoint(CHARLIE, tenant_id=f"tenant{number}")
        make_application(f"app{number}")
        make_event_type(f"order.number_{'abcde'[number]}")
        make_replay()
        make_portal_session()
        make_api_key()
        endpoint.rotate_secret()
        hour = hour_of(now - timedelta(hours=number))
        EndpointHour.objects.create(endpoint=endpoint, hour=hour, delivered=1, within_25_ms=1)


def costs(api, rows):
    found = {}
    for place in PLACES:
        if not (api.is_operator or may_tenant("GET", place)):
            continue
        call(api, "GET", place, rows)  # notes when the key was used, and fills caches
        with CaptureQueriesContext(connection) as captured:
            answer = call(api, "GET", place, rows)
        assert answer.status_code == 200, (place, answer.data)
        found[place] = ([query["sql"] for query in captured.captured_queries], _length(answer.data))
    return found


def _length(shown):
    """Return how many rows a list shows; ``None`` for what is no list."""
    return len(shown["data"]) if "has_more" in shown else None


@pytest.mark.parametrize("who", ["operator", "tenant"])
def test_the_number_of_queries_of_an_answer_does_not_grow_with_the_rows(who):
    rows = make_rows(ALICE)
    api = caller(operator(), is_operator=True) if who == "operator" else caller(tenant())
    few = costs(api, rows)
    grow(rows)
    many = costs(api, rows)
    assert len(few) == (len(PLACES) if who == "operator" else sum(may_tenant("GET", place) for place in PLACES))
    for place, (statements, length) in many.items():
        before, shorter = few[place]
        assert shorter is None or length >= shorter + MORE, place
        assert len(statements) <= len(before), (place, before, statements)
        assert len(statements) <= MOST, (place, statements)


def test_a_batch_is_stored_and_recorded_in_as_many_statements_as_an_event():
    api, one = operator(), {"event_type": "invoice.paid", "tenant_id": "acme", "data": INVOICE}
    api.post("events/batch", {"events": [one]})
    made = []
    for number in (1, 20):
        with CaptureQueriesContext(connection) as captured:
            assert api.post("events/batch", {"events": [one] * number}).status_code == 201
        made.append([query["sql"][:60] for query in captured.captured_queries])
    assert len(made[0]) == len(made[1]), made
    assert AuditEntry.objects.filter(action="event.sent").count() == 22
