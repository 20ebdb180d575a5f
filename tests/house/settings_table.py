"""The README's table of settings, made from ``conf.Settings``; ``python -m tests.house.settings_table`` writes it."""

import ast
import itertools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
START, END = "<!-- settings: made by python -m tests.house.settings_table -->", "<!-- /settings -->"


def render() -> str:
    """Return the table: one row a setting, in the order of the class."""
    tree = ast.parse((ROOT / "django_relay" / "conf.py").read_text())
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings").body
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for setting, text in itertools.pairwise(body):
        if isinstance(setting, ast.AnnAssign) and isinstance(text, ast.Expr):
            default = ast.unparse(setting.value).replace("types.MappingProxyType({})", "{}")
            default = re.sub(r"(\d)_(?=\d)", r"\1", default)
            meaning = " ".join(ast.literal_eval(text.value).split()).replace("``", "`").replace("|", "\\|")
            rows.append(f"| `{setting.target.id}` | `{default}` | {meaning} |")
    return "\n".join(rows)


def written() -> str:
    """Return the table that stands in the README."""
    return README.read_text().split(START)[1].split(END)[0].strip()


if __name__ == "__main__":
    before, rest = README.read_text().split(START)
    README.write_text(f"{before}{START}\n{render()}\n{END}{rest.split(END)[1]}")
