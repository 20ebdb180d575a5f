import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_relay.rules import pacing

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def shares(places=64, most=32, **values):
    return pacing.Shares(places=places, most=most, **values)


def begin(its, endpoint_id, count=1):
    for _ in range(count):
        its.began(endpoint_id)


class TestShares:
    def test_an_unknown_endpoint_is_probed(self):
        assert shares().room("a") == 1
        assert shares().allot({"a": 100, "b": 100}, 50) == {"a": 1, "b": 1}

    @pytest.mark.parametrize(("first", "most", "room"), [(0, 5, 1), (-3, 5, 1), (10, 2, 2), (3, 5, 3)])
    def test_whatever_is_configured_an_unknown_endpoint_gets_at_least_one_and_no_more_than_the_most(
        self, first, most, room
    ):
        assert shares(most=most, first=first).allot({"a": 50}, 50) == {"a": room}

    def test_each_success_allows_one_more_up_to_the_most(self):
        its, rooms = shares(most=20), []
        for _ in range(7):
            count = its.room("a")
            rooms.append(count)
            begin(its, "a", count)
            for _ in range(count):
                its.learn("a", status_code=204, error_kind="", seconds=9)
                its.ended("a")
        assert rooms == [1, 2, 4, 8, 16, 20, 20]

    @pytest.mark.parametrize(
        ("status_code", "error_kind", "room"),
        [
            (500, "", 8), (503, "", 8), (429, "", 8), (None, "timeout", 8), (None, "connect_timeout", 8),
            (404, "", 16), (301, "", 16), (None, "connection", 16), (None, "local_error", 16), (None, "unknown", 16),
            (200, "", 17),
        ],
    )  # fmt: skip
    def test_what_halves_it(self, status_code, error_kind, room):
        its = shares(first=16)
        its.learn("a", status_code=status_code, error_kind=error_kind, seconds=9)
        assert its.room("a") == room

    def test_it_never_falls_below_one(self):
        its = shares()
        for _ in range(9):
            its.learn("a", status_code=500, error_kind="", seconds=9)
        assert its.room("a") == 1

    def test_what_is_in_flight_counts(self):
        its = shares(first=3)
        begin(its, "a", 2)
        assert (its.room("a"), its.full()) == (1, [])
        begin(its, "a")
        assert (its.room("a"), its.full()) == (0, ["a"])
        its.ended("a")
        assert its.full() == []

    def test_turns(self):
        its = shares(first=4)
        assert its.allot({"a": 9, "b": 2, "c": 9}, 7) == {"a": 3, "b": 2, "c": 2}
        assert its.allot({"a": 9, "b": 2, "c": 9}, 2) == {"a": 1, "b": 1}
        assert its.allot({"a": 9, "b": 2, "c": 9}, 100) == {"a": 4, "b": 2, "c": 4}
        assert its.allot({}, 9) == its.allot({"a": 1}, 0) == {}

    def test_endpoints_that_timed_out_hold_at_most_half_of_all_places(self):
        its = shares(places=10, first=4)
        slow = [f"slow{number}" for number in range(8)]
        for endpoint_id in slow:
            its.learn(endpoint_id, status_code=None, error_kind="timeout", seconds=9)
        assert sum(its.allot(dict.fromkeys(slow, 9), 10).values()) == 5
        for endpoint_id in slow[:3]:
            begin(its, endpoint_id)
        allotted = its.allot({**dict.fromkeys(slow[3:], 9), "good": 4}, 7)
        assert (allotted.pop("good"), sum(allotted.values())) == (4, 2)
        begin(its, "slow3", 2)
        assert set(its.full()) == set(slow)
        assert its.allot({**dict.fromkeys(slow, 9), "good": 4}, 5) == {"good": 4}

    def test_an_answer_frees_it(self):
        its = shares(places=2, first=4)
        its.learn("a", status_code=None, error_kind="timeout", seconds=9)
        begin(its, "b")
        its.learn("b", status_code=None, error_kind="timeout", seconds=9)
        assert "a" in its.full()
        its.learn("a", status_code=404, error_kind="", seconds=9)
        assert "a" not in its.full()

    def test_memory_is_bounded_and_what_is_in_flight_is_kept(self, monkeypatch):
        monkeypatch.setattr(pacing, "_REMEMBERED", 10)
        its = shares()
        begin(its, "busy")
        for number in range(100):
            its.learn(f"e{number}", status_code=None, error_kind="timeout", seconds=9)
        assert len(its._shares) <= 10
        assert len(its._slow) <= 10
        assert its.room("busy") == 0


class TestRateLimit:
    def test_one_send_and_then_the_time_between_two(self):
        assert pacing.free_sends(NOW, per_second=2, now=NOW) == 1
        free_at = pacing.reserve(NOW, 1, per_second=2, now=NOW)
        assert free_at == NOW + timedelta(seconds=0.5)
        assert pacing.free_sends(free_at, per_second=2, now=NOW + timedelta(seconds=0.499)) == 0
        assert pacing.free_sends(free_at, per_second=2, now=free_at) == 1

    def test_a_rest_earns_a_quarter_of_a_second(self):
        later = NOW + timedelta(days=1)
        assert pacing.free_sends(NOW, per_second=100, now=later) == 26
        assert pacing.reserve(NOW, 26, per_second=100, now=later) == later + timedelta(seconds=0.01)

    @settings(deadline=None, max_examples=50)
    @given(
        per_second=st.integers(1, 10_000),
        seed=st.integers(0, 2**32),
        longest=st.floats(0.001, 2),
    )
    def test_no_minute_holds_more_than_it_may(self, per_second, seed, longest):
        """Whenever workers look: within one per cent, or one send."""
        randomness, free_at, at, sent = random.Random(seed), NOW, 0.0, []
        for _look in range(2_000):
            at += randomness.uniform(0, longest)
            now = NOW + timedelta(seconds=at)
            count = min(pacing.free_sends(free_at, per_second=per_second, now=now), randomness.randint(0, 1_000))
            if count:
                free_at = pacing.reserve(free_at, count, per_second=per_second, now=now)
                sent.append((at, count))
        for start, _count in sent:
            total = sum(count for when, count in sent if start <= when <= start + 60)
            assert total <= max(60 * per_second * 1.01, 60 * per_second + 1)

    @pytest.mark.parametrize("per_second", [1, 3, 7, 10, 200])
    def test_who_looks_often_enough_reaches_the_limit(self, per_second):
        free_at, sent = NOW, 0
        for step in range(60 * 50):
            now = NOW + timedelta(seconds=step / 50)
            count = pacing.free_sends(free_at, per_second=per_second, now=now)
            if count:
                free_at = pacing.reserve(free_at, count, per_second=per_second, now=now)
                sent += count
        assert 60 * per_second * 0.99 <= sent <= 60 * per_second + 1
