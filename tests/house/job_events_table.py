"""The tables of ``docs/reference/job-events.md``, made from the code.

``python -m tests.house.job_events_table`` writes them.
"""

import ast
import json
from pathlib import Path

from django_relay.sources import job_events

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "job-events.md"
SOURCES = {"django_q": "django-q2", "django_tasks": "Django's tasks", "celery": "Celery"}


def marks(block: str) -> tuple[str, str]:
    """Return what stands before and after a block of the page."""
    return f"<!-- {block}: made by python -m tests.house.job_events_table -->", f"<!-- /{block} -->"


def reports(source: str) -> dict[str, str]:
    """Return the ``REPORTS`` of a source, which is read: importing it wants its job system, and Django."""
    tree = ast.parse((ROOT / "django_relay" / "sources" / f"{source}.py").read_text())
    [value] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "REPORTS"
    ]
    return ast.literal_eval(value)


def render_sources() -> str:
    """Return the table of which source tells what."""
    told = {title: reports(source) for source, title in SOURCES.items()}
    rows = [f"| | {' | '.join(told)} |", "|---" * (len(told) + 1) + "|"]
    for name in job_events.EVENTS:
        cells = [events.get(name, "-") for events in told.values()]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def render_types() -> str:
    """Return both tables: the types, and the fields of their data."""
    rows = ["| event type | group | it says | data | and where known |", "|---|---|---|---|---|"]
    for event in job_events.EVENTS.values():
        names = [
            ", ".join(f"`{name}`" for name in fields if not name.startswith("scope_"))
            for fields in (event.required, event.optional)
        ]
        rows.append(
            f"| `{job_events.PREFIX}.{event.name}` | {event.group} | {event.description} | {names[0]} | {names[1]} |"
        )
    rows += ["", "| field | is | for example |", "|---|---|---|"]
    for name, (schema, example) in job_events.FIELDS.items():
        kind = schema.get("format") or schema["type"]
        kind = " or ".join([*kind]) if isinstance(kind, list) else kind
        nullable = " or null" if "null" in schema["type"] else ""
        shown = json.dumps(example, ensure_ascii=False)
        rows.append(f"| `{name}` | {kind}{nullable if 'null' not in kind else ''} | `{shown}` |")
    return "\n".join(rows)


BLOCKS = {"types": render_types, "sources": render_sources}


def written(block: str) -> str:
    """Return the block's tables that stand on the page."""
    start, end = marks(block)
    return PAGE.read_text().split(start)[1].split(end)[0].strip()


if __name__ == "__main__":
    for block, render in BLOCKS.items():
        start, end = marks(block)
        before, rest = PAGE.read_text().split(start)
        PAGE.write_text(f"{before}{start}\n{render()}\n{end}{rest.split(end)[1]}")
