from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_relay.rules import retries
from django_relay.transport import base

from . import vectors

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
SCHEDULE = [5.0, 300.0, 1800.0]
CAP = 86_400.0


def decide(status_code=None, error_kind="", **changed):
    arguments = {
        "attempt_number": 1,
        "max_attempts": 4,
        "schedule": SCHEDULE,
        "policy": "always",
        "retry_after": None,
        "now": NOW,
        "retry_after_max_seconds": CAP,
        "jitter": 0.0,
        "random": 0.0,
    }
    return retries.decide(status_code=status_code, error_kind=error_kind, **(arguments | changed))


class TestDecide:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
    @pytest.mark.parametrize("attempt", [1, 4, 9])
    def test_2xx_is_delivered_on_any_attempt(self, status, attempt):
        assert decide(status, attempt_number=attempt) == retries.Decision("delivered", reason="delivered")

    @pytest.mark.parametrize("attempt", [1, 4])
    @pytest.mark.parametrize("policy", ["always", "temporary"])
    def test_410_is_dead_and_disables_the_endpoint(self, attempt, policy):
        decision = decide(410, attempt_number=attempt, policy=policy, retry_after="60")
        assert decision == retries.Decision("dead", disable_endpoint=True, reason="gone")

    @pytest.mark.parametrize("kind", ["address_not_public", "unsafe_url"])
    def test_what_policy_forbids_is_dead(self, kind):
        assert decide(error_kind=kind) == retries.Decision("dead", reason=kind)

    @pytest.mark.parametrize(
        "status",
        [
            100,
            103,
            199,
            300,
            301,
            302,
            304,
            307,
            308,
            400,
            401,
            403,
            404,
            405,
            407,
            408,
            413,
            425,
            429,
            500,
            501,
            502,
            503,
            504,
            599,
            999,
        ],
    )
    def test_every_other_status_is_retried_by_schedule(self, status):
        assert decide(status) == retries.Decision("retry", 5.0, reason="schedule")

    @pytest.mark.parametrize(
        "kind",
        sorted(base.ERROR_KINDS.keys() - {"address_not_public", "unsafe_url", "unknown", "not_sent"}),
    )
    @pytest.mark.parametrize("policy", ["always", "temporary"])
    def test_every_other_error_is_retried_by_schedule(self, kind, policy):
        assert decide(error_kind=kind, policy=policy) == retries.Decision("retry", 5.0, reason="schedule")

    @pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 407, 413, 418, 451, 499, 501])
    def test_policy_temporary_gives_up_what_cannot_mend_itself(self, status):
        assert decide(status, policy="temporary") == retries.Decision("dead", reason="not_retryable")

    @pytest.mark.parametrize("status", [199, 408, 425, 429, 500, 502, 503, 504, 505, 599])
    def test_policy_temporary_retries_the_rest(self, status):
        assert decide(status, policy="temporary") == retries.Decision("retry", 5.0, reason="schedule")

    @pytest.mark.parametrize(("attempt", "wait"), [(1, 5.0), (2, 300.0), (3, 1800.0), (4, 1800.0), (99, 1800.0)])
    def test_the_last_wait_of_the_schedule_goes_on(self, attempt, wait):
        assert decide(500, attempt_number=attempt, max_attempts=100).delay_seconds == wait

    @pytest.mark.parametrize(
        "outcome",
        [(500, ""), (429, ""), (None, "timeout"), (None, "local_error"), (None, "unknown")],
    )
    def test_it_is_dead_when_attempts_have_run_out(self, outcome):
        for attempt in (4, 5):
            decision = decide(*outcome, attempt_number=attempt, retry_after="9")
            assert decision == retries.Decision("dead", reason="attempts_exhausted")
        assert decide(*outcome, attempt_number=3).action == "retry"

    def test_an_empty_schedule_means_no_retry(self):
        assert decide(500, schedule=[], max_attempts=9).action == "dead"

    def test_after_a_lost_lease_it_is_tried_at_once(self):
        assert decide(error_kind="unknown", jitter=1.0, random=0.9) == retries.Decision("retry", reason="unknown")

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(
        ("asked", "wait"),
        [("0", 5.0), ("4", 5.0), ("5", 5.0), ("6", 6.0), ("120", 120.0), ("999999999", CAP)],
    )
    def test_retry_after_is_honoured_up_to_the_cap_and_not_below_the_schedule(self, status, asked, wait):
        decision = decide(status, retry_after=asked)
        assert decision.delay_seconds == wait
        assert decision.reason == ("retry_after" if wait > 5 else "schedule")

    @pytest.mark.parametrize("status", [301, 408, 425, 500, 502, 504])
    def test_retry_after_of_other_statuses_is_ignored(self, status):
        assert decide(status, retry_after="120").delay_seconds == 5.0

    def test_a_cap_below_the_schedule_does_not_shorten_the_schedule(self):
        assert decide(429, retry_after="120", retry_after_max_seconds=1).delay_seconds == 5.0

    @pytest.mark.parametrize("case", vectors.load("retry_after"))
    def test_the_catalogue(self, case):
        response = case["input"]["steps"][0][1]
        value = response.partition("Retry-After: ")[2].partition("\r\n")[0]
        decision = decide(429, retry_after=value)
        assert decision.action == "retry"
        if case["reason"] == "retry_after_ignore":
            assert retries.parse_retry_after(value, NOW) is None
            assert decision.delay_seconds == 5.0
        elif case["reason"] == "retry_after_cap":
            assert decision.delay_seconds == CAP
        else:
            assert decision.delay_seconds == max(5.0, float(value))

    @given(
        status=st.sampled_from([None, 408, 429, 500, 503]),
        attempt=st.integers(1, 20),
        schedule=st.lists(st.floats(0, 1e6), min_size=1, max_size=12),
        asked=st.integers(0, 10**9) | st.none(),
        cap=st.floats(0, 1e6),
        jitter=st.floats(0, 1),
        random=st.floats(0, 1, exclude_max=True),
    )
    def test_jitter_only_lengthens_a_wait(self, status, attempt, schedule, asked, cap, jitter, random):
        decision = decide(
            status,
            error_kind="" if status else "timeout",
            attempt_number=attempt,
            max_attempts=21,
            schedule=schedule,
            retry_after=None if asked is None else str(asked),
            retry_after_max_seconds=cap,
            jitter=jitter,
            random=random,
        )
        own = schedule[min(attempt, len(schedule)) - 1]
        least = max(own, min(asked or 0, cap)) if status in (429, 503) else own
        assert decision.action == "retry"
        assert least <= decision.delay_seconds <= least * (1 + jitter)

    @given(
        st.one_of(st.tuples(st.integers(-1, 1000), st.just("")), st.tuples(st.none(), st.text(max_size=5))),
        st.text(max_size=40),
        st.sampled_from(["always", "temporary"]),
    )
    def test_nothing_a_receiver_answers_is_raised(self, outcome, retry_after, policy):
        decision = decide(*outcome, retry_after=retry_after, policy=policy)
        assert decision.action in {"delivered", "retry", "dead"}
        assert decision.reason


class TestParseRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0.0),
            ("10", 10.0),
            (" 10\t", 10.0),
            ("007", 7.0),
            ("9999999999", 9999999999.0),
            ("Sun, 22 Nov 2026 10:01:00 GMT", 60.0),
            ("Sunday, 22-Nov-26 10:01:00 GMT", 60.0),
            ("Sun Nov 22 10:01:00 2026", 60.0),
        ],
    )
    def test_seconds_and_the_three_kinds_of_dates(self, value, seconds):
        assert retries.parse_retry_after(value, NOW) == seconds

    @pytest.mark.parametrize(
        "value",
        [
            "", " ", "-1", "+1", "1.5", "1e3", "0x10", "1_0", "NaN", "Infinity", "soon", "10 seconds", "10, 20", "99999999999",
            "\u0661\u0660", "\uff11\uff10", "²", "10\n", "\0", "2026-11-22T10:01:00Z", "22 Nov 2026 10:01:00 GMT",
            "Sun, 99 Nov 2026 10:01:00 GMT", "Sun, 22 Nov 2026 25:61:00 GMT", "Sun, 22 Nov 99999 10:01:00 GMT",
            "Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 09:59:59 GMT", "Sun" + "1" * 5000, "Sun, 22 Foo 2026 10:01:00 GMT",
            "Sun,,,,,,,,,,,,,,,,", "Mon              ", "Sun, 22 Nov 2026", "Wed, 21 Oct 2015 07:28:00 GMT",
        ],
        ids=lambda value: ascii(value)[:30],
    )  # fmt: skip
    def test_what_says_nothing_usable_is_ignored(self, value):
        assert retries.parse_retry_after(value, NOW) is None

    @given(st.text(max_size=60) | st.text("SunMoGT ,:-0123456789", max_size=40).map("Sun".__add__))
    def test_it_never_raises(self, value):
        seconds = retries.parse_retry_after(value, NOW)
        assert seconds is None or 0 <= seconds < 1e12

    @given(st.integers(1, 10**8))
    def test_a_date_is_as_many_seconds_as_it_lies_ahead(self, ahead):
        date = (NOW + timedelta(seconds=ahead)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        assert retries.parse_retry_after(date, NOW) == ahead
