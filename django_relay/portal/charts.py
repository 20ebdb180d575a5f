"""Bar charts as numbers: a template draws them as SVG, on the server, with the same figures as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django_relay.models import statistics

HEIGHT = 100
"""Units from a chart's base line to its top; the page stretches them."""
STEP = 10
"""Units from one bar to the next, of which 8 are the bar."""
_BAR = 8
_BY_THE_HOUR = timedelta(hours=25)
_SMALLEST = 2.5  # one failure among a million must still be seen


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: its class in the style sheet, and where it stands."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """What happened in one bucket of time."""

    start: datetime
    counts: Mapping[str, int]
    x: int
    segments: Sequence[Segment]

    @property
    def total(self) -> int:
        """The sum of its counts."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Chart:
    """Stacked bars in the order of time."""

    bars: Sequence[Bar]
    highest: int
    width: int
    step: int = STEP
    bar: int = _BAR
    height: int = HEIGHT

    @property
    def totals(self) -> dict[str, int]:
        """The sum of every kind over all bars."""
        sums: dict[str, int] = {}
        for bar in self.bars:
            for kind, count in bar.counts.items():
                sums[kind] = sums.get(kind, 0) + count
        return sums

    @property
    def total(self) -> int:
        """The sum of everything."""
        return sum(bar.total for bar in self.bars)

    @property
    def ticks(self) -> Sequence[datetime]:
        """Where the axis is named: at the beginning of each quarter."""
        return [self.bars[len(self.bars) * quarter // 4].start for quarter in range(4)] if self.bars else []

    @property
    def tick_style(self) -> str:
        """How the axis is named (see the tag ``moment``): by the hour up to a day, else by the day."""
        return "time" if self.bars and self.bars[-1].start - self.bars[0].start < _BY_THE_HOUR else "day"


def stack(buckets: Sequence[tuple[datetime, Mapping[str, int]]]) -> Chart:
    """Return the chart of buckets: their beginnings, and counts by kind, drawn from the base line up in that order."""
    highest = max((sum(counts.values()) for _start, counts in buckets), default=0)
    bars = [
        Bar(start, counts, place * STEP, _segments(counts, highest)) for place, (start, counts) in enumerate(buckets)
    ]
    return Chart(bars, highest, max(len(bars) * STEP - (STEP - _BAR), 1))


def _segments(counts: Mapping[str, int], highest: int) -> list[Segment]:
    segments, top = [], float(HEIGHT)
    for kind, count in counts.items():
        if count:
            height = min(max(count / highest * HEIGHT, _SMALLEST), top)
            top -= height
            segments.append(Segment(kind, round(top, 2), round(height, 2)))
    return segments


SPANS: Mapping[str, tuple[timedelta, str]] = {
    "24h": (timedelta(hours=24), "hour"),
    "7d": (timedelta(days=7), "hour"),
    "30d": (timedelta(days=30), "day"),
}
"""How far back the pages' charts look, and the width of their bars' buckets."""
_WIDEST = 56  # bars that a chart of a week still shows apart


def period(span: str, *, now: datetime) -> statistics.Period:
    """Return the stretch of time that ends now."""
    back, per = SPANS[span]
    last = statistics.period(per=per, now=now).until
    return statistics.period(last - back, last, per=per, now=now)


def of_outcomes(buckets: Sequence[statistics.Bucket]) -> Chart:
    """Return the chart of what was delivered (at the base line) and what failed."""
    return stack([(bucket.starts_at, {"ok": bucket.delivered, "bad": bucket.failed}) for bucket in _thinned(buckets)])


def of_status_classes(buckets: Sequence[statistics.Bucket]) -> Chart:
    """Return the chart of the answers by their status class."""
    kinds = {"ok": "2xx", "wait": "3xx", "warn": "4xx", "bad": "5xx", "none": "none"}
    return stack(
        [
            (bucket.starts_at, {kind: bucket.status_classes[name] for kind, name in kinds.items()})
            for bucket in _thinned(buckets)
        ]
    )


def _thinned(buckets: Sequence[statistics.Bucket]) -> Sequence[statistics.Bucket]:
    """Return the buckets, several together where there are too many to tell apart."""
    several = -(-len(buckets) // _WIDEST)
    if several < 2:
        return buckets
    joined = []
    for start in range(0, len(buckets), several):
        some = buckets[start : start + several]
        columns = {name: sum(bucket.columns[name] for bucket in some) for name in some[0].columns}
        joined.append(statistics.Bucket(columns, starts_at=some[0].starts_at))
    return joined
