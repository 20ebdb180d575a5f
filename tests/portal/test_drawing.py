"""Colours of JSON, charts and themes: without a database."""

import json
import re
import time
from datetime import UTC, datetime
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_relay.portal import charts, exports, highlighting, theme
from django_relay.rules import themes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def plain(html):
    """Return the text of highlighted JSON; there is no markup but spans of four classes."""
    without = re.sub(r'<span class="j[ksnw]">|</span>', "", html)
    assert "<" not in without
    assert ">" not in without
    return unescape(without)


class TestHighlighting:
    @given(st.text())
    @settings(max_examples=300, deadline=None)
    def test_keeps_any_text_and_adds_only_spans(self, text):
        assert plain(highlighting.highlight(text)) == text

    @given(JSON)
    @settings(max_examples=200, deadline=None)
    def test_indents_without_changing_a_value(self, value):
        text = json.dumps(value)
        shown = highlighting.pretty(text)
        assert json.loads(shown) == value
        assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", text)

    def test_keeps_how_numbers_are_written(self):
        assert highlighting.pretty('{"a":1.0,"b":1e2,"c":123456789012345678901234567890}').count("1.0") == 1
        assert "1e2" in highlighting.pretty("[1e2]")

    @pytest.mark.parametrize("piece", ['"', "\\", '"\\', "[", "{", "1", "-", "1.", "true", '":', " "])
    def test_takes_linear_time(self, piece):
        text = piece * 200_000
        began = time.perf_counter()
        highlighting.highlight(text[: highlighting.MAX_CHARACTERS])
        assert time.perf_counter() - began < 2


class TestCharts:
    def test_stack_to_the_height_of_the_highest(self):
        start = datetime(2026, 11, 22, tzinfo=UTC)
        chart = charts.stack([(start, {"ok": 3, "bad": 1}), (start, {"ok": 0, "bad": 0})])
        assert (chart.highest, chart.total, chart.totals) == (4, 4, {"ok": 3, "bad": 1})
        first = chart.bars[0].segments
        assert [(part.kind, part.y, part.height) for part in first] == [("ok", 25, 75), ("bad", 0, 25)]
        assert chart.bars[1].segments == []

    def test_show_one_among_a_million(self):
        chart = charts.stack([(datetime(2026, 1, 1, tzinfo=UTC), {"ok": 1_000_000, "bad": 1})])
        assert sum(part.height for part in chart.bars[0].segments) <= 100.01
        assert charts.stack([]).total == 0


class TestATheme:
    @given(st.tuples(*[st.integers(0, 255)] * 3))
    @settings(max_examples=300, deadline=None)
    def test_stays_readable_whatever_the_accent(self, colour):
        sheet = theme.stylesheet({"accent": "#{:02x}{:02x}{:02x}".format(*colour)})
        found = re.findall(r"#[0-9a-f]{6}|#fff|#000", sheet)
        parsed = [
            tuple(int(each[1:][i : i + 2], 16) for i in (0, 2, 4))
            if len(each) > 4
            else (255 if each == "#fff" else 0,) * 3
            for each in found
        ]
        accent, on_accent, on_light, on_dark = parsed
        assert theme.contrast(accent, on_accent) >= 4.5
        assert theme.contrast(on_light, (255, 255, 255)) >= 4.5
        assert theme.contrast(on_dark, (16, 17, 20)) >= 4.5

    @pytest.mark.parametrize("font", themes.FONTS)
    def test_writes_its_fonts(self, font):
        assert "--rl-font:" in theme.stylesheet({"font": font})

    @pytest.mark.parametrize(
        "spoilt",
        [
            {"accent": "red;}body{display:none"},
            {"accent": "#12345"},
            {"radius": "1px;}"},
            {"radius": 999},
            {"font": "x, url(//evil.example)"},
            {},
        ],
        ids=str,
    )
    def test_writes_nothing_that_is_no_value(self, spoilt):
        assert theme.stylesheet(spoilt) == ""


class TestSpreadsheets:
    @pytest.mark.parametrize(
        "text", ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1+1", "\n=1+1", "\uff20SUM(1)", "\uff1d1", " =1", "|x"]
    )
    def test_take_no_text_for_a_formula(self, text):
        assert exports.neutralise(text) == f"'{text}"

    @pytest.mark.parametrize("text", ["invoice.paid", "2026-11-22T00:00:00+00:00", 'a,b"c', ""])
    def test_get_other_text_as_it_is(self, text):
        assert exports.neutralise(text) == text
