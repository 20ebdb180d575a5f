"""The tables of ``docs/reference/job-events.md``, made from the code.

``python -m tests.house.job_events_table`` writes them.
"""

import json
from pathlib import Path

from django_relay.sources import job_events

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "job-events.md"
START, END = "<!-- types: made by python -m tests.house.job_events_table -->", "<!-- /types -->"


def render() -> str:
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


def written() -> str:
    """Return the tables that stand on the page."""
    return PAGE.read_text().split(START)[1].split(END)[0].strip()


if __name__ == "__main__":
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(f"{before}{START}\n{render()}\n{END}{rest.split(END)[1]}")
