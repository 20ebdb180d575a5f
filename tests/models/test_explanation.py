from datetime import timedelta

import pytest
from django.utils import timezone

from django_relay.models import Endpoint
from django_relay.models.explanation import explain
from django_relay.pipeline import fan_out
from tests.factories import USING, make_endpoint, make_event
from tests.people import CHARLIE

pytestmark = pytest.mark.django_db


def fan_out_all():
    fan_out.expand(100, now=timezone.now(), using=USING)


def told(event):
    event.refresh_from_db()
    return {found.endpoint.pk: (found.matched, found.reason, found.filter) for found in explain(event, using=USING)}


class TestExplain:
    def test_says_of_each_endpoint_why(self):
        wants = make_endpoint(event_types=["invoice.*"], filters={"region": ["eu"]})
        other_type = make_endpoint(event_types=["order.*"])
        other_region = make_endpoint(filters={"plan": [], "region": ["us"]})
        disabled = make_endpoint()
        disabled.disable()
        deleted = make_endpoint()
        deleted_long_ago = make_endpoint()
        deleted_long_ago.delete()
        make_endpoint(CHARLIE)
        event = make_event(attributes={"region": "eu"})
        deleted.delete()
        fan_out_all()
        later = make_endpoint()
        assert told(event) == {
            wants.pk: (True, "", ""),
            other_type.pk: (False, "pattern", ""),
            other_region.pk: (False, "filter", "region"),
            disabled.pk: (False, "disabled", ""),
            deleted.pk: (False, "deleted", ""),
            later.pk: (False, "created_later", ""),
        }

    def test_what_was_delivered_matched_whatever_became_of_the_endpoint(self):
        endpoint, event = make_endpoint(), make_event()
        fan_out_all()
        endpoint.event_types = ["order.*"]
        endpoint.save()
        endpoint.delete()
        assert told(event) == {endpoint.pk: (True, "", "")}

    def test_an_endpoint_that_changed_since_is_not_blamed(self):
        endpoint = make_endpoint()
        endpoint.disable()
        event = make_event()
        fan_out_all()
        endpoint.enable()
        assert told(event) == {endpoint.pk: (False, "changed", "")}

    def test_before_the_fan_out_it_foretells(self):
        wants, other, event = make_endpoint(), make_endpoint(event_types=["order.*"]), make_event()
        assert told(event) == {wants.pk: (False, "not_fanned_out", ""), other.pk: (False, "pattern", "")}

    def test_a_test_event_is_for_one_endpoint(self):
        one, other, event = make_endpoint(event_types=["order.*"]), make_endpoint(), make_event()
        event.only_endpoint = one
        event.save()
        fan_out_all()
        assert told(event) == {one.pk: (True, "", ""), other.pk: (False, "test", "")}

    def test_costs_two_queries_and_explains_so_many_at_most(self, django_assert_num_queries, monkeypatch):
        for _ in range(4):
            make_endpoint()
        event = make_event()
        with django_assert_num_queries(2):
            explain(event, using=USING)
        monkeypatch.setattr("django_relay.models.explanation.EXPLAINED", 3)
        assert len(explain(event, using=USING)) == 3

    def test_agrees_with_fan_out(self):
        """Whatever the subscription, what is explained as wanted is what is delivered."""
        for patterns in (["*"], ["invoice.*"], ["**.paid"], ["order.*"], ["invoice.paid", "x"]):
            for filters in ({}, {"region": "eu"}, {"region": ["us", "eu"]}, {"region": "us"}, {"plan": "pro"}):
                make_endpoint(event_types=patterns, filters=filters)
        event = make_event(attributes={"region": ["eu", "asia"]})
        foretold = {found.endpoint.pk for found in explain(event, using=USING) if found.reason == "not_fanned_out"}
        fan_out_all()
        assert foretold == {found.endpoint.pk for found in explain(event, using=USING) if found.matched}
        assert 0 < len(foretold) < Endpoint.objects.count()

    def test_a_disabled_endpoint_of_an_event_that_waits_is_told(self):
        endpoint, event = make_endpoint(), make_event()
        endpoint.disable(at=timezone.now() + timedelta(seconds=1))
        assert told(event) == {endpoint.pk: (False, "disabled", "")}
