"""The table of settings, made from ``conf.Settings``; ``python -m tests.house.settings_table`` writes it."""

import ast
import itertools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "settings.md"
START, END = "<!-- settings: made by python -m tests.house.settings_table -->", "<!-- /settings -->"


def render() -> str:
    """Return the table: one row a setting, in the order of the class, and one for each key of those that are dicts."""
    tree = ast.parse((ROOT / "django_relay" / "conf.py").read_text())
    classes = {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for setting, meaning in documented(classes["Settings"]):
        keys = classes.get(ast.unparse(setting.annotation))
        if keys is None:
            rows.append(row(setting.target.id, setting.value, meaning))
            continue
        rows.append(f"| `{setting.target.id}` | | {meaning} |")
        (defaults,) = [node for node in ast.walk(setting.value) if isinstance(node, ast.Dict)]
        values = {key.value: value for key, value in zip(defaults.keys, defaults.values, strict=True)}
        for key, of_key in documented(keys):
            rows.append(row(f"{setting.target.id}[{key.target.id!r}]", values[key.target.id], of_key))
    return "\n".join(rows)


def documented(body: list[ast.stmt]) -> list[tuple[ast.AnnAssign, str]]:
    """Return the annotated names of a class, each with the text below it on one line."""
    return [
        (name, " ".join(ast.literal_eval(text.value).split()).replace("``", "`").replace("|", "\\|"))
        for name, text in itertools.pairwise(body)
        if isinstance(name, ast.AnnAssign) and isinstance(text, ast.Expr)
    ]


def row(name: str, value: ast.expr, meaning: str) -> str:
    """Return one row of the table."""
    default = ast.unparse(value).replace("types.MappingProxyType({})", "{}")
    default = re.sub(r"(\d)_(?=\d)", r"\1", default)
    return f"| `{name}` | `{default}` | {meaning} |"


def written() -> str:
    """Return the table that stands in the PAGE."""
    return PAGE.read_text().split(START)[1].split(END)[0].strip()


if __name__ == "__main__":
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(f"{before}{START}\n{render()}\n{END}{rest.split(END)[1]}")
