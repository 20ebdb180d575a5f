import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_relay import exceptions
from django_relay.rules import event_names

from . import vectors

WORDS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,5}", fullmatch=True)
NAMES = st.lists(WORDS, min_size=1, max_size=6).map(".".join)

LOWER_CASE_ONLY = {"EVT-004", "FLT-014"}
"""The catalogue would take upper case; our names are lower-case words, and so these are refused."""


def reference(pattern, name):
    """Match by trying every way to use up the name: slow, and plainly right."""
    if not pattern or not name:
        return not pattern and not name
    head, *rest = pattern
    if head == "**":
        return any(reference(rest, name[n:]) for n in range(1, len(name) + 1))
    return head in ("*", name[0]) and reference(rest, name[1:])


class TestValidateName:
    @pytest.mark.parametrize("case", vectors.load("event_names"))
    def test_the_catalogue(self, case):
        value = vectors.given(case)
        if case["expect"] == "accept" and case["id"] not in LOWER_CASE_ONLY:
            assert event_names.validate_name(value) == value
        else:
            with pytest.raises(exceptions.InvalidEventName) as caught:
                event_names.validate_name(value)
            expected = case["reason"] if case["expect"] == "reject" else "bad_event_type"
            assert caught.value.code == expected

    @given(NAMES)
    def test_dotted_words_are_names(self, name):
        assert event_names.validate_name(name) == name

    @pytest.mark.parametrize("name", ["a" * 128, "0.1", "a-b_c.d", "9lives"])
    def test_edges_inside(self, name):
        assert event_names.validate_name(name) == name

    @pytest.mark.parametrize("name", ["", "a" * 129, "a.", "a\n", "_a", "-a", "a._b", "Order", "é", "a b", "a.\u0660"])
    def test_edges_outside(self, name):
        with pytest.raises(exceptions.InvalidEventName) as caught:
            event_names.validate_name(name)
        assert caught.value.code == "bad_event_type"

    @pytest.mark.parametrize("name", [None, 1, b"order.created", ["order.created"], object()])
    def test_only_text_is_a_name(self, name):
        with pytest.raises(exceptions.InvalidEventName) as caught:
            event_names.validate_name(name)
        assert caught.value.code == "wrong_type"

    def test_a_long_text_is_refused_at_once(self):
        began = time.perf_counter()
        with pytest.raises(exceptions.InvalidEventName):
            event_names.validate_name("a" * 10_000_000 + "!")
        assert time.perf_counter() - began < 2


class TestValidatePattern:
    # A whole list of patterns is the endpoint's to judge.
    @pytest.mark.parametrize(
        "case",
        [case for case in vectors.load("filters", "event_pattern") if isinstance(vectors.given(case.values[0]), str)],
    )
    def test_the_catalogue(self, case):
        value = vectors.given(case)
        if case["expect"] == "accept" and case["id"] not in LOWER_CASE_ONLY:
            assert event_names.validate_pattern(value) == value
        else:
            with pytest.raises(exceptions.InvalidPattern) as caught:
                event_names.validate_pattern(value)
            assert caught.value.code == "bad_pattern"

    @pytest.mark.parametrize(
        "pattern",
        ["*", "**", "*.*", "invoice.*", "invoice.**", "**.failed", "a.**.z", "*.**.*", "a.*.c"],
    )
    def test_wildcards_stand_for_whole_segments(self, pattern):
        assert event_names.validate_pattern(pattern) == pattern

    @pytest.mark.parametrize(
        "pattern",
        [
            "",
            "inv*",
            "invoice.p*",
            "***",
            "a.**.b.**",
            "**.**",
            "invoice.",
            ".*",
            "a..*",
            "*\n",
            "a.?",
            "*" * 129,
        ],
    )
    def test_anything_else_is_refused(self, pattern):
        with pytest.raises(exceptions.InvalidPattern) as caught:
            event_names.validate_pattern(pattern)
        assert caught.value.code == "bad_pattern"

    @pytest.mark.parametrize("pattern", [None, 0, b"*", ["*"]])
    def test_only_text_is_a_pattern(self, pattern):
        with pytest.raises(exceptions.InvalidPattern) as caught:
            event_names.validate_pattern(pattern)
        assert caught.value.code == "wrong_type"


class TestMatches:
    @pytest.mark.parametrize(
        ("pattern", "name", "expected"),
        [
            ("invoice.paid", "invoice.paid", True),
            ("invoice.paid", "invoice.paid.late", False),
            ("invoice.paid", "invoice", False),
            ("invoice.*", "invoice.paid", True),
            ("invoice.*", "invoice", False),
            ("invoice.*", "invoice.line.added", False),
            ("invoice.**", "invoice.paid", True),
            ("invoice.**", "invoice.line.added", True),
            ("invoice.**", "invoice", False),
            ("invoice.**", "invoices.paid", False),
            ("*.created", "order.created", True),
            ("*.created", "order.line.created", False),
            ("**.created", "order.line.created", True),
            ("**.created", "created", False),
            ("a.**.z", "a.z", False),
            ("a.**.z", "a.b.z", True),
            ("a.**.z", "a.b.c.z", True),
            ("a.**.a", "a.a", False),
            ("*", "order", True),
            ("*", "order.line.created", True),
            ("**", "order", True),
            ("*.*", "order", False),
            ("*.*", "order.created", True),
        ],
    )
    def test_the_table(self, pattern, name, expected):
        assert event_names.matches(pattern, name) is expected
        assert bool(re.search(event_names.regex(["nothing", pattern]), name)) is expected

    @given(
        st.lists(WORDS | st.just("*"), min_size=1, max_size=5),
        st.integers(0, 5) | st.none(),
        st.data(),
    )
    @settings(max_examples=300)
    def test_it_agrees_with_the_slow_reference(self, segments, place, data):
        if place is not None:
            segments = [*segments[:place], "**", *segments[place:]]
        pattern = event_names.validate_pattern(".".join(segments))
        words = [word for word in segments if "*" not in word] or ["a"]
        name = data.draw(st.lists(st.sampled_from(words) | WORDS, min_size=1, max_size=7))
        expected = pattern == "*" or reference(segments, name)
        assert event_names.matches(pattern, ".".join(name)) is expected
        assert bool(re.search(event_names.regex([pattern]), ".".join(name))) is expected

    def test_the_worst_pattern_is_fast(self):
        pattern = event_names.validate_pattern(("*." * 60) + "**.a")
        name = ("a." * 63) + "b"
        began = time.perf_counter()
        for _ in range(1000):
            assert not event_names.matches(pattern, name)
        assert time.perf_counter() - began < 2
