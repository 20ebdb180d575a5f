"""Tenants never meet: not in what they receive, nor in who is slow."""

import pytest

from django_relay.models import Delivery
from tests import processes

pytestmark = pytest.mark.process


class TestTenants:
    def test_each_receives_its_own_and_nothing_else(self, stage):
        endpoints = {tenant: stage.endpoint(f"/{tenant}", tenant_id=tenant) for tenant in ("acme", "globex", "")}
        workers = [stage.worker() for _ in range(2)]
        expected = {tenant: [] for tenant in endpoints}
        for _ in range(4):
            for tenant in expected:
                expected[tenant] += stage.emit(5, tenant_id=tenant)
        stage.emit(3, tenant_id="nobody's")
        stage.wait_until_drained()
        for tenant, events in expected.items():
            requests = stage.receiver.requests(f"/{tenant}")
            assert sorted(request.id for request in requests) == sorted(events)
            assert {request.verified for request in requests} == {(0,)}
        assert len(stage.receiver.requests()) == 60
        for delivery in Delivery.objects.select_related("event", "endpoint"):
            assert delivery.tenant_id == delivery.event.tenant_id == delivery.endpoint.tenant_id
        assert all(worker.output == processes.WORKER_STARTED for worker in workers)

    def test_the_one_is_served_while_the_others_receiver_is_down(self, stage):
        stage.endpoint("/down", tenant_id="acme")
        stage.endpoint("/up", tenant_id="globex")
        stage.receiver.answer("/down", 500)
        stage.worker(schedule="60,60")
        stage.emit(20, tenant_id="acme")
        events = stage.emit(20, tenant_id="globex")
        stage.wait_for_requests(20, "/up")
        stage.wait_for_requests(20, "/down")
        assert sorted(request.id for request in stage.receiver.requests("/up")) == sorted(events)
