"""What a benchmark says: on which machine, its rows, and its bars; as one JSON line and as a readable table."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

try:
    import pycurl
except ImportError:
    pycurl = None

Row = dict[str, Any]


@dataclass
class Check:
    """One bar: a ratio or count of this very run against what is promised; without ``ok`` it was not measured."""

    what: str
    value: float | None
    bar: str
    ok: bool | None = None

    @property
    def is_reported(self) -> bool:
        """Whether there is no bar, only a value."""
        return self.bar.startswith("reported")


@dataclass
class Result:
    """One benchmark's outcome; rows may differ in their columns."""

    name: str
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def at_least(self, what: str, value: float | None, bar: float, unit: str = "x") -> None:
        self.checks.append(Check(what, value, f"≥ {bar:g} {unit}".rstrip(), None if value is None else value >= bar))

    def at_most(self, what: str, value: float | None, bar: float, unit: str = "x") -> None:
        self.checks.append(Check(what, value, f"≤ {bar:g} {unit}".rstrip(), None if value is None else value <= bar))

    def reported(self, what: str, value: float | None, unit: str = "") -> None:
        """Say a value that has no bar."""
        self.checks.append(Check(what, value, f"reported {unit}".rstrip()))

    def json(self, machine: dict[str, Any]) -> str:
        found = _rounded(asdict(self))
        return json.dumps({"benchmark": found.pop("name"), "machine": machine, **found}, ensure_ascii=False)

    def text(self) -> str:
        parts = [f"\n{self.name}  ({self.seconds:.0f} s)", *_tables(self.rows)]
        marks = {True: "pass", False: "FAIL", None: "-"}
        found = [{"": marks[c.ok], "bar": c.what, "value": c.value, "wanted": c.bar} for c in self.checks]
        return "\n".join([*parts, *_tables(found), *(f"  · {note}" for note in self.notes)])


def progress(text: str = "") -> None:
    """Show one changing line on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text[:110]}")
        sys.stderr.flush()


def ratio(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of else None


def median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the greatest, in ms, of seconds."""
    ordered = sorted(values)
    if not ordered:
        return {}
    at = {f"p{share}_ms": ordered[min(len(ordered) * share // 100, len(ordered) - 1)] * 1e3 for share in (50, 95, 99)}
    return {**at, "max_ms": ordered[-1] * 1e3}


def condense(rows: Iterable[Row], by: Sequence[str]) -> list[Row]:
    """Return one row for each value of the columns ``by``: the medians of the others, and the spread of ``per_s``."""
    groups: dict[tuple, list[Row]] = {}
    for each in rows:
        groups.setdefault(tuple(each.get(name) for name in by), []).append(each)
    condensed = []
    for key, group in groups.items():
        row: Row = dict(zip(by, key, strict=True))
        for name in dict.fromkeys(name for each in group for name in each if name not in by):
            values = [each[name] for each in group if each.get(name) is not None]
            numbers = values and all(isinstance(value, (int, float)) for value in values)
            row[name] = statistics.median(values) if numbers else values[0]
            if name == "per_s" and len(values) > 1:
                row["spread"] = f"{min(values):.0f}-{max(values):.0f}"
        condensed.append(row)
    return condensed


def machine(postgres: str) -> dict[str, Any]:
    """Return where and with what this runs."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "ram_gib": round(pages / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgresql": postgres,
        "libcurl": _libcurl(),
        **{name: _version(name) for name in ("django", "django-q2", "psycopg", "requests", "pycurl")},
    }


def _libcurl() -> str:
    return pycurl.version_info()[1] if pycurl else ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def _tables(rows: list[Row]) -> list[str]:
    """Return one table for each run of rows that have the same columns."""
    tables: list[list[Row]] = []
    for row in rows:
        if tables and list(tables[-1][0]) == list(row):
            tables[-1].append(row)
        else:
            tables.append([row])
    return [_table(rows) for rows in tables]


def _table(rows: list[Row]) -> str:
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [all(isinstance(row[name], (int, float, type(None))) for row in rows) for name in rows[0]]
    lines = [
        "  "
        + "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(["", lines[0], "  " + "  ".join("─" * width for width in widths), *lines[1:]])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
