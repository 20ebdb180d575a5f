"""What needs no cluster: when a pass is queued, admitted, and run at once in sync mode."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.signals import post_spawn
from django_q.signing import SignedPackage

from django_relay.models import Delivery, Event, WorkerPresence
from django_relay.runners import django_q, presence
from tests.factories import USING, make_endpoint, make_event
from tests.runners import transports

pytestmark = pytest.mark.django_db

RUNNER = "django_relay.runners.django_q.DjangoQRunner"


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


def queued():
    return [SignedPackage.loads(row.payload) for row in OrmQ.objects.order_by("pk")]


def asked():
    return presence.ask("django_q", now=timezone.now(), using=USING)


def work_now(runner="django_q"):
    return presence.enter(runner, now=timezone.now(), using=USING)


@pytest.fixture(autouse=True)
def _the_runner():
    with relay(RUNNER=RUNNER):
        yield


@pytest.fixture
def broken_broker(monkeypatch):
    def refuse(*arguments, **options):
        raise ConnectionError("the broker is down")

    monkeypatch.setattr(type(get_broker()), "enqueue", refuse)


class TestEnqueue:
    def test_a_task_carries_no_data_and_leaves_nothing_behind(self):
        django_q.enqueue()
        (task,) = queued()
        assert task["func"] == "django_relay.runners.django_q.run_pass"
        assert (task["args"], task["kwargs"]) == ((WorkerPresence.objects.get().pk,), {})
        assert (task["save"], task["ack_failure"]) == (False, True)
        assert task["timeout"] == django_q.pass_timeout() > 10 + 30

    def test_a_cluster_of_its_own(self):
        with relay(Q_CLUSTER_NAME="relay"):
            django_q.enqueue()
        assert OrmQ.objects.get().key == "relay"

    def test_a_broker_that_is_down_is_logged(self, broken_broker, caplog):
        django_q.enqueue()
        assert [record.event for record in caplog.records] == ["runner.enqueue_failed"]
        assert not WorkerPresence.objects.exists()  # so that the next wake tries again at once


class TestWake:
    def test_queues_a_pass_when_nobody_works(self):
        django_q.DjangoQRunner().wake(USING)
        assert len(queued()) == 1

    @pytest.mark.parametrize("runner", ["django_q", "process"])
    def test_queues_none_when_a_worker_of_any_kind_is_alive(self, runner):
        work_now(runner)
        django_q.DjangoQRunner().wake(USING)
        assert queued() == []

    def test_a_pass_that_is_ending_counts_as_nobody(self):
        presence.release(work_now())
        django_q.DjangoQRunner().wake(USING)
        assert len(queued()) == 1

    def test_looks_at_most_once_in_five_seconds(self, monkeypatch, django_assert_num_queries):
        runner = django_q.DjangoQRunner()
        runner.wake(USING)
        with django_assert_num_queries(0):
            for _ in range(100):
                runner.wake(USING)
        assert len(queued()) == 1
        monkeypatch.setattr(django_q, "_LOOK_SECONDS", 0.0)
        runner.wake(USING)
        assert len(queued()) == 1  # for one is on its way
        WorkerPresence.objects.update(seen_at=timezone.now() - timedelta(seconds=61))
        runner.wake(USING)
        assert len(queued()) == 2  # which seems to be lost

    @pytest.mark.django_db(transaction=True)
    def test_an_emit_survives_a_broker_that_is_down(self, broken_broker):
        from django_relay.pipeline import wakeup

        wakeup._runner.cache_clear()
        with relay(RUNNER=RUNNER):
            assert make_event() == Event.objects.get()
        assert queued() == []

    @pytest.mark.django_db(transaction=True)
    def test_an_emit_queues_after_its_commit(self):
        from django.db import transaction

        from django_relay.pipeline import wakeup

        wakeup._runner.cache_clear()
        with relay(RUNNER=RUNNER), transaction.atomic():
            make_event()
            assert queued() == []
        assert len(queued()) == 1


class TestTend:
    @pytest.mark.parametrize(("passes", "alive", "missing"), [(1, 0, 1), (1, 1, 0), (3, 1, 2), (1, 2, 0)])
    def test_queues_as_many_as_are_missing(self, passes, alive, missing):
        for _ in range(alive):
            work_now()
        with relay(PASSES=passes):
            django_q.tend()
        assert len(queued()) == missing

    def test_other_runners_workers_are_no_passes(self):
        work_now("process")
        django_q.tend()
        assert len(queued()) == 1


class TestRunPass:
    def test_one_too_many_ends_at_once(self, monkeypatch):
        monkeypatch.setattr(django_q, "_ADMISSION_SECONDS", 0.0)
        monkeypatch.setattr(django_q, "ALIVE_SECONDS", 0.0, raising=False)
        work_now()
        make_endpoint()
        make_event()
        with relay(TRANSPORT="tests.runners.transports.Recording"):
            django_q.run_pass(asked())
        assert Event.objects.get().status == "pending"
        assert WorkerPresence.objects.count() == 1
        assert queued() == []

    @pytest.mark.django_db(transaction=True)
    def test_works_for_its_time_hands_over_and_leaves(self):
        transports.Recording.reset()
        make_endpoint()
        make_event()
        OrmQ.objects.all().delete()
        WorkerPresence.objects.all().delete()
        with relay(TRANSPORT="tests.runners.transports.Recording", PASS_SECONDS=0.5):
            django_q.run_pass(asked())
        assert Delivery.objects.get().state == "delivered"
        (successor,) = queued()
        assert WorkerPresence.objects.get().pk == successor["args"][0]
        assert transports.Recording.closed == 1

    @pytest.mark.django_db(transaction=True)
    def test_leaves_even_when_it_breaks(self):
        transports.Recording.reset()
        transports.Recording.broken = True
        make_endpoint()
        make_event()
        with relay(TRANSPORT="tests.runners.transports.Recording"), pytest.raises(RuntimeError):
            django_q.run_pass(asked())
        assert not WorkerPresence.objects.exclude(state="queued").exists()


class TestPilesOfPasses:
    @pytest.mark.django_db(transaction=True)
    def test_are_worked_off_and_make_one_chain(self):
        """As when a cluster that stood still for hours starts: each task in its queue must not become a chain."""
        for _ in range(5):
            django_q.enqueue()
        transports.Recording.reset()
        begun = 0
        with relay(TRANSPORT="tests.runners.transports.Recording", PASS_SECONDS=0.1):
            for _ in range(8):
                (first, *_rest) = OrmQ.objects.order_by("pk")
                token = SignedPackage.loads(first.payload)["args"][0]
                first.delete()
                django_q.run_pass(token)
                begun += 1
        assert (begun, len(queued())) == (8, 1)


class TestSyncMode:
    @pytest.mark.django_db(transaction=True)
    def test_an_emit_is_delivered_at_once(self, monkeypatch, caplog):
        from django_relay.pipeline import wakeup

        wakeup._runner.cache_clear()
        transports.Recording.reset()
        monkeypatch.setattr(Conf, "SYNC", True)
        make_endpoint()
        with relay(RUNNER=RUNNER, TRANSPORT="tests.runners.transports.Recording"):
            make_event()
            make_event()
        assert len(transports.Recording.sent) == 2
        assert not Schedule.objects.exists()  # the task's own "worker" is no cluster that starts
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
        assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
        assert queued() == []


class TestWorkerSpawned:
    def test_starts_a_pass_and_a_schedule_once(self):
        for _ in range(2):
            post_spawn.send(sender="django_q", proc_name="worker")
        assert Schedule.objects.get().func == "django_relay.runners.django_q.tend"
        assert len(queued()) >= 1

    def test_in_another_cluster_does_nothing(self):
        with relay(Q_CLUSTER_NAME="relay"):
            post_spawn.send(sender="django_q", proc_name="worker")
        assert (Schedule.objects.count(), queued()) == (0, [])

    def test_where_something_else_delivers_does_nothing(self):
        with relay(RUNNER="django_relay.runners.process.ProcessRunner"):
            post_spawn.send(sender="django_q", proc_name="worker")
            django_q.tend()
        assert (Schedule.objects.count(), queued()) == (0, [])

    def test_never_raises_into_the_cluster(self, caplog, monkeypatch):
        def refuse(**kwargs):
            raise RuntimeError("no schedule")

        monkeypatch.setattr(django_q, "_ensure_schedule", refuse)
        post_spawn.send(sender="django_q", proc_name="worker")
        assert [record.event for record in caplog.records] == ["runner.spawn_failed"]
