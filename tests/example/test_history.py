"""The demo's past does not contradict itself."""

import pytest
from django.db import models

from django_relay.models import Attempt, DLQEntry, EndpointHour
from django_relay.models.endpoint_hour import LATENCY_MS, hour_of
from example_project.demo import history

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _past():
    history.write()


def test_what_the_hours_say_was_given_up_stands_in_the_dlq():
    hours = EndpointHour.objects.filter(dead_lettered__gt=0)
    said = {(hour.endpoint_id, hour.hour): hour.dead_lettered for hour in hours}
    found = {}
    for entry in DLQEntry.objects.all():
        key = entry.endpoint_id, hour_of(entry.failed_at)
        found[key] = found.get(key, 0) + 1
    assert said == found != {}


def test_the_hours_hold_every_attempt_once_by_outcome_status_and_latency():
    sums = EndpointHour.objects.totals()
    outcomes = sum(sums[name] for name in ("delivered", "retried", "dead_lettered", "inconclusive"))
    assert outcomes == sum(value for name, value in sums.items() if name.startswith("status_"))
    assert outcomes == sum(sums[name] for name in LATENCY_MS)
    for row in Attempt.objects.values("endpoint_id").annotate(number=models.Count("pk")):
        own = EndpointHour.objects.filter(endpoint_id=row["endpoint_id"]).totals()
        assert own["delivered"] + own["retried"] + own["dead_lettered"] >= row["number"]
