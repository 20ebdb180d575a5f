"""Bar charts as numbers: a template draws them as SVG, on the server, with the same figures as text for who cannot see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

HEIGHT = 100
"""Units from a chart's base line to its top; the page stretches them."""
STEP = 10
"""Units from one bar to the next, of which 8 are the bar."""
_BAR = 8
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
