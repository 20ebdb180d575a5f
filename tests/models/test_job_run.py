"""What a job's memory lets be told of it, and when its worker counts as gone."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from django_relay.models import JobRun, machine

pytestmark = pytest.mark.django_db

_ENQUEUED, RUNNING, RETRYING, COMPLETED, FAILED = JobRun.State


def make(state=RUNNING, attempt=1, **values):
    return JobRun.objects.create(**{"source": "s", "job_id": "1", "state": state, "attempt": attempt, **values})


def pid_of_the_dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestEnd:
    @pytest.mark.parametrize(
        ("state", "attempt", "ends_as"),
        [
            (RUNNING, 2, {RETRYING, COMPLETED, FAILED}),
            (RUNNING, 1, {COMPLETED}),
            (RETRYING, 2, {COMPLETED, FAILED}),
            (RETRYING, 1, {COMPLETED}),
            (COMPLETED, 2, set()),
            (COMPLETED, 1, set()),
            (FAILED, 2, set()),
            (FAILED, 1, {COMPLETED}),
        ],
    )
    def test_allows_what_contradicts_nothing(self, state, attempt, ends_as):
        run = make(state, attempt=2)
        for wanted in (RETRYING, COMPLETED, FAILED):
            JobRun.objects.filter(pk=run.pk).update(state=state)
            assert JobRun.objects.of("s", "1").end(wanted, attempt, facts={}) == (wanted in ends_as), wanted


class TestIsLost:
    def test_a_process_of_this_machine_that_is_gone(self):
        assert make(hostname=machine.name(), pid=pid_of_the_dead()).is_lost(timezone.now())

    def test_not_a_process_that_lives(self):
        assert not make(hostname=machine.name(), pid=os.getpid()).is_lost(timezone.now())

    def test_a_process_that_has_ended_and_that_its_parent_has_not_asked_for(self):
        process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
        process.stdout.read()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert make(hostname=machine.name(), pid=process.pid).is_lost(timezone.now())
        process.stdout.close()
        process.wait()

    def test_not_a_process_of_another_machine_until_its_time_is_over(self):
        now = timezone.now()
        run = make(hostname="elsewhere", pid=pid_of_the_dead(), lost_at=now)
        assert not run.is_lost(now)
        assert run.is_lost(now + timedelta(microseconds=1))


def test_a_job_has_one_memory():
    make()
    make(source="another")
    with pytest.raises(IntegrityError), transaction.atomic():
        make()
