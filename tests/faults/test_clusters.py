"""Passes of django-q2 clusters: one at a time, one after the other, and again after a death."""

import os
import signal
import time

import pytest
from django.utils import timezone

from django_relay.models import Event, WorkerPresence
from django_relay.models.worker_presence import ALIVE_SECONDS
from tests.faults.audit import audit
from tests.processes import PASS_SECONDS, wait_until

pytestmark = pytest.mark.process


def wait_for_pass(seconds=15):
    return wait_until(lambda: WorkerPresence.objects.alive(timezone.now()), seconds, "a pass works")[0]


class TestClusters:
    def test_two_clusters_run_one_pass_at_a_time_and_hand_it_over(self, stage):
        stage.endpoint("/hooks")
        clusters = [stage.cluster(), stage.cluster()]
        wait_for_pass()
        emitted_at, passes, most, next_emit = {}, set(), 0, time.monotonic()
        ends_at = time.monotonic() + 3.5 * PASS_SECONDS
        while time.monotonic() < ends_at:
            claiming = [row.pk for row in WorkerPresence.objects.working()]
            passes.update(claiming)
            most = max(most, len(claiming))
            if time.monotonic() >= next_emit:
                emitted_at[stage.emit(1)[0]] = time.monotonic()
                next_emit += 0.1
            time.sleep(0.01)
        stage.wait_until_drained()
        waits = sorted(request.at - emitted_at[request.id] for request in stage.receiver.requests())
        print(
            f"\n{len(passes)} passes, at most {most} at once; wait p50 {waits[len(waits) // 2]:.3f} s, max {waits[-1]:.3f} s"
        )
        assert most == 1
        assert len(passes) > 2
        audit(stage, {(event_id, "/hooks") for event_id in emitted_at}).assert_clean()
        assert len(waits) == len(emitted_at)
        assert waits[-1] < PASS_SECONDS
        assert all(cluster.is_running() for cluster in clusters)

    def test_work_goes_on_after_the_process_of_the_pass_was_killed(self, stage):
        stage.endpoint("/hooks")
        cluster = stage.cluster(PASS_SECONDS=30)
        [first] = stage.emit(1)
        stage.wait_for_requests(1)
        stage.wait_until_drained()
        victim = wait_for_pass().pid
        assert victim in {process.pid for process in cluster.members()}
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        [second] = stage.emit(1)
        stage.wait_for_requests(2, seconds=ALIVE_SECONDS + 10)
        stage.wait_until_drained()
        print(f"\nnext delivery {stage.receiver.requests()[-1].at - killed_at:.2f} s after the pass was killed")
        found = audit(stage, {(first, "/hooks"), (second, "/hooks")})
        found.assert_clean()
        assert found.repeated == 0
        assert cluster.is_running()

    def test_a_pass_that_died_with_its_machine_does_not_keep_a_new_cluster_idle(self, stage):
        stage.endpoint("/hooks")
        stage.emit(1)
        now = timezone.now()
        WorkerPresence.objects.create(
            runner="django_q", hostname="a machine that burnt", pid=1, started_at=now, seen_at=now
        )
        stage.cluster()
        began_at = time.monotonic()
        stage.wait_for_requests(1, seconds=ALIVE_SECONDS + 10)
        print(f"\nfirst delivery {time.monotonic() - began_at:.2f} s after the start")
        wait_until(lambda: not Event.objects.pending().exists(), 5)
