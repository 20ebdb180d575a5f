"""A worker is killed in the middle of what was asked for in bulk; and live events beside it."""

import os
import random
import time
from collections import Counter

import pytest
from django.utils import timezone

from django_relay.models import Attempt, Delivery, DLQEntry, Endpoint, Event, Replay
from django_relay.pipeline import erasures, fan_out, replays
from tests.api.callers import tenant
from tests.factories import USING
from tests.processes import wait_until

pytestmark = pytest.mark.process

FAILED = 5_000
KILLS = 3
SHORT = {"LEASE_SECONDS": 3, "TIMEOUT_SECONDS": 1.5}


def fail(stage, count, *, tenant_id="acme"):
    """Leave so many events behind that were given up for each of the tenant's endpoints, and return their ids."""
    events = stage.emit(count, tenant_id=tenant_id)
    while fan_out.expand(1_000, now=timezone.now(), using=USING).events:
        pass
    now = timezone.now()
    rows = Delivery.objects.pending().filter(event_id__in=events)
    rows.update(state="failed", attempt_count=10, completed_at=now)
    DLQEntry.objects.bulk_create(
        DLQEntry(
            delivery=delivery,
            event_id=delivery.event_id,
            endpoint_id=delivery.endpoint_id,
            event_type="invoice.paid",
            tenant_id=tenant_id,
            url="",
            attempt_count=10,
            failed_at=now,
        )
        for delivery in Delivery.objects.filter(event_id__in=events)
    )
    return events


class TestKilledInTheMiddleOfARecover:
    def test_each_failed_delivery_of_the_window_is_sent_again_exactly_once(self, stage, backend):
        seed = os.environ.get("RELAY_FAULT_SEED") or f"{time.time_ns():x}"
        chance = random.Random(seed)
        one, two = (stage.endpoint(path) for path in ("/one", "/two"))
        fail(stage, 50)
        window = {"since": timezone.now().isoformat()}
        expected = set(fail(stage, 50))
        two.disable()
        expected.update(fail(stage, FAILED - 50))
        window["until"] = timezone.now().isoformat()
        fail(stage, 50)
        alice, recover = tenant(scopes=["replay"]), f"endpoints/{one.pk}/recover"
        assert alice.post(recover, {**window, "dry_run": True}).data == {"count": FAILED}
        answer = alice.post(recover, window)
        assert answer.status_code == 202
        replay = Replay.objects.get(pk=answer.data["id"])
        killed_at, worker, began = [], stage.worker(**SHORT), time.monotonic()
        for number in range(1, KILLS + 1):
            reached = chance.uniform(number - 1, number) * FAILED / (KILLS + 1) + 1
            stage.wait_for_requests(int(reached), seconds=90)
            worker.kill()
            replay.refresh_from_db()
            killed_at.append((len(stage.receiver.requests()), replay.done_count, replay.state))
            assert replay.done_count == replay.deliveries.count()
            worker = stage.worker(**SHORT)

        def ended():
            replay.refresh_from_db()
            return replay.state == "completed" and stage.is_drained()

        wait_until(ended, 120, "the replay is sent", every=0.2)
        made = list(replay.deliveries.select_related("endpoint"))
        got = Counter((request.id, request.path) for request in stage.receiver.requests())
        unknown = Attempt.objects.filter(error_kind="unknown").count()
        repeated = sum(got.values()) - len(got)
        print(
            f"\nseed={seed} {backend} sent={len(made)} received={len(got)} repeated={repeated} unknown={unknown} "
            f"killed_at={killed_at} seconds={time.monotonic() - began:.1f}"
        )
        assert len(made) == len({(d.event_id, d.endpoint_id) for d in made}) == FAILED
        assert {d.endpoint for d in made} == {one}
        assert {d.event_id for d in made} == expected
        assert {d.state for d in made} == {"delivered"}
        assert set(got) == {(event_id, "/one") for event_id in expected}
        assert repeated <= unknown <= KILLS * 32
        assert Attempt.objects.filter(trigger="replay", error_kind="").count() == FAILED
        assert (replay.total_count, replay.done_count, replay.skipped) == (FAILED, FAILED, {})
        assert DLQEntry.objects.open().count() == 200  # of before and after the window, and of the other endpoint
        assert set(DLQEntry.objects.filter(replayed_at__isnull=False).values_list("replay_count", flat=True)) == {1}


class TestKilledInTheMiddleOfAnErasure:
    def test_everything_goes_and_nothing_of_anybody_else(self, stage):
        for path in ("/one", "/two"):
            stage.endpoint(path)
        stage.endpoint("/charlie", tenant_id="globex")
        others = fail(stage, 300, tenant_id="globex")
        fail(stage, 3_000)
        stage.emit(500)
        erasure = erasures.start("acme")
        worker = stage.worker(**SHORT)
        for number in range(2):
            left = Delivery.objects.filter(tenant_id="acme").count()
            wait_until(lambda left=left: Delivery.objects.filter(tenant_id="acme").count() < left, 60)
            worker.kill()
            worker = stage.worker(**SHORT) if number == 0 else None

        erasure.refresh_from_db()
        stage.worker(**SHORT)

        def ended():
            erasure.refresh_from_db()
            return erasure.state == "completed"

        wait_until(ended, 60, "the tenant is erased", every=0.1)
        for model in (Endpoint, Event, Delivery, DLQEntry, Replay):
            assert set(model.objects.values_list("tenant_id", flat=True)) <= {"globex"}
        assert Attempt.objects.count() == Attempt.objects.filter(delivery__tenant_id="globex").count()
        assert Event.objects.count() == Delivery.objects.count() == DLQEntry.objects.count() == len(others) == 300


class TestBesideLiveEvents:
    def test_a_live_event_waits_for_a_small_part_of_the_replay_at_most(self, stage):
        """Counted in requests, so that it does not hang on how fast the machine is."""
        size, live = 3_000, 10
        for path in ("/busy", "/quiet"):
            tenant_id = "acme" if path == "/busy" else "globex"
            stage.endpoint(path, tenant_id=tenant_id)
            stage.receiver.answer(path, 200, delay=0.05 if path == "/busy" else 0.01)
        fail(stage, size)
        stage.worker()
        replay = replays.start("failed", tenant_id="acme")
        waited = {"acme": [], "globex": []}
        stage.wait_for_requests(200, seconds=30)
        for _ in range(live):
            for tenant_id, found in waited.items():
                (event_id,) = stage.emit(1, tenant_id=tenant_id)  # on SQLite it may have to wait to be written
                before = len(stage.receiver.requests("/busy"))

                def arrived(event_id=event_id):
                    requests = stage.receiver.requests()
                    return next((i for i, request in enumerate(requests) if request.id == event_id), None)

                place = wait_until(arrived, 30)
                found.append(sum(r.path == "/busy" for r in stage.receiver.requests()[:place]) - before)
        replay.refresh_from_db()
        print(f"\nreplay requests before each live one: same endpoint {waited['acme']}, another {waited['globex']}")
        assert replay.state == "running", "the replay ended before the live events; make it larger"
        due, in_flight = 250, 2 * 32
        assert max(waited["acme"]) <= due + in_flight
        assert max(waited["globex"]) <= due
        assert sorted(waited["globex"])[live // 2] <= 2 * in_flight
        wait_until(stage.is_drained, 90, "all is sent", every=0.1)
