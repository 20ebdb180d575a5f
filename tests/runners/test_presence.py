import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.utils import timezone

from django_relay.models import WorkerPresence, machine
from django_relay.runners import presence
from tests.factories import USING
from tests.threads import together

pytestmark = pytest.mark.django_db


def enter(at_most=None, now=None, runner="django_q"):
    now = now or timezone.now()
    if at_most is None:
        return presence.enter(runner, now=now, using=USING)
    token = presence.ask(runner, now=now, using=USING)
    row = presence.admit(token, at_most=at_most, now=now, using=USING)
    if row is None:
        WorkerPresence.objects.filter(pk=token).delete()
    return row


def alive(now=None):
    return WorkerPresence.objects.alive(now or timezone.now())


class TestEnter:
    def test_says_who_works_where(self):
        now = timezone.now()
        row = enter(now=now)
        stored = WorkerPresence.objects.get()
        assert stored == row
        assert (stored.runner, stored.hostname, stored.pid) == ("django_q", machine.name(), os.getpid())
        assert (stored.seen_at, stored.state, stored.in_flight) == (now, "working", 0)

    def test_no_more_than_allowed(self):
        assert enter(2) is not None
        assert enter(2) is not None
        assert enter(2) is None
        assert WorkerPresence.objects.count() == 2

    def test_another_runners_do_not_count(self):
        enter(runner="process")
        assert enter(1) is not None

    def test_one_that_released_makes_room(self):
        row = enter(1)
        presence.release(row)
        assert enter(1) is not None

    def test_one_that_left_makes_room(self):
        row = enter(1)
        presence.leave(row)
        assert WorkerPresence.objects.count() == 0
        assert enter(1) is not None

    def test_one_not_seen_for_long_makes_room(self):
        now = timezone.now()
        enter(1, now)
        assert enter(1, now + timedelta(seconds=5)) is None
        assert enter(1, now + timedelta(seconds=7)) is not None

    def test_a_process_of_this_machine_that_is_gone_makes_room(self):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        row = enter(1)
        WorkerPresence.objects.filter(pk=row.pk).update(pid=gone.pid)
        assert alive() == []
        assert enter(1) is not None

    def test_another_machines_process_cannot_be_looked_at(self):
        row = enter()
        WorkerPresence.objects.filter(pk=row.pk).update(hostname="elsewhere", pid=1)
        assert [found.pk for found in alive()] == [row.pk]

    @pytest.mark.django_db(transaction=True)
    def test_two_never_take_the_same_last_place(self):
        for _ in range(3):
            rows = together(lambda number: enter(1), 6)
            assert not [row for row in rows if isinstance(row, Exception)]
            assert sum(row is not None for row in rows) == 1
            WorkerPresence.objects.all().delete()


class TestAsk:
    def ask(self, now=None):
        return presence.ask("django_q", now=now or timezone.now(), using=USING)

    def test_a_token_admits_once(self):
        token = self.ask()
        assert presence.is_asked_for(token, using=USING)
        row = presence.admit(token, at_most=9, now=timezone.now(), using=USING)
        assert (row.pk, row.state, row.pid) == (token, "working", os.getpid())
        assert not presence.is_asked_for(token, using=USING)
        assert presence.admit(token, at_most=9, now=timezone.now(), using=USING) is None

    def test_a_newer_token_does_not_replace_one_that_waits(self):
        """A pass that waits in a long queue must not be put back to its end again and again."""
        first = self.ask(timezone.now() - timedelta(minutes=5))
        self.ask()
        assert presence.admit(first, at_most=9, now=timezone.now(), using=USING) is not None

    def test_what_was_asked_for_well_before_one_that_began_is_lost(self):
        now = timezone.now()
        lost, waiting, newest = (self.ask(now - timedelta(seconds=age)) for age in (60, 5, 0))
        assert presence.admit(newest, at_most=9, now=now, using=USING) is not None
        assert not presence.is_asked_for(lost, using=USING)
        assert presence.is_asked_for(waiting, using=USING)


class TestGiveUp:
    def test_while_all_places_are_taken(self):
        enter(1)
        token = presence.ask("django_q", now=timezone.now(), using=USING)
        assert presence.give_up(token, at_most=1, now=timezone.now(), using=USING)
        assert not presence.is_asked_for(token, using=USING)

    def test_not_once_a_place_is_free(self):
        row = enter(1)
        token = presence.ask("django_q", now=timezone.now(), using=USING)
        presence.release(row)
        assert not presence.give_up(token, at_most=1, now=timezone.now(), using=USING)
        assert presence.admit(token, at_most=1, now=timezone.now(), using=USING) is not None

    @pytest.mark.django_db(transaction=True)
    def test_one_that_ends_and_one_that_gives_up_never_miss_each_other(self):
        """Either the place goes to who waits, or who ends sees that nobody waits and asks for another."""
        for _ in range(20):
            row, token = enter(1), presence.ask("django_q", now=timezone.now(), using=USING)

            def end(row=row, token=token):
                presence.release(row)
                return presence.is_asked_for(token, using=USING)

            def give_up(token=token):
                return presence.give_up(token, at_most=1, now=timezone.now(), using=USING)

            is_counted_on, gave_up = together(lambda number, steps=(end, give_up): steps[number](), 2)
            assert {type(is_counted_on), type(gave_up)} == {bool}
            assert not (is_counted_on and gave_up)
            WorkerPresence.objects.all().delete()


class TestBeat:
    def test_keeps_it_alive(self):
        now = timezone.now()
        row = enter(now=now)
        later = now + timedelta(seconds=30)
        assert alive(later) == []
        presence.beat(row, 3, now=later)
        assert [found.in_flight for found in alive(later)] == [3]

    def test_after_it_left_nothing_comes_back(self):
        row = enter()
        presence.leave(row)
        presence.beat(row, 1, now=timezone.now())
        assert WorkerPresence.objects.count() == 0
