"""Small rooms: how long a file and a function may be, and names that say nothing."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES, FUNCTION_LINES = 250, 40
BANNED = {"utils", "helpers", "common", "misc", "services", "managers", "base_classes"}
EXCEPTIONS: dict[str, str] = {}
"""``file`` or ``file::function`` → why a split would be worse."""

MODULES = sorted(
    path
    for folder in ("django_relay", "example_project")
    for path in (ROOT / folder).rglob("*.py")
    if "migrations" not in path.parts
)


def docstring_lines(tree: ast.AST) -> set[int]:
    """Return the numbers of the lines that belong to docstrings (of attributes too)."""
    return {
        number
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def code_lines(source: str, tree: ast.AST, first: int, last: int) -> int:
    """Count lines that are neither blank, nor comment, nor docstring."""
    docstrings = docstring_lines(tree)
    return sum(
        1
        for number, line in enumerate(source.splitlines(), start=1)
        if first <= number <= last and line.strip() and not line.strip().startswith("#") and number not in docstrings
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
class TestBudgets:
    def test_a_file_stays_small(self, path):
        source = path.read_text()
        lines = code_lines(source, ast.parse(source), 1, len(source.splitlines()))
        assert lines <= FILE_LINES or str(path.relative_to(ROOT)) in EXCEPTIONS, f"{lines} lines of code"

    def test_a_function_stays_small(self, path):
        source = path.read_text()
        tree = ast.parse(source)
        long = {
            f"{path.relative_to(ROOT)}::{node.name}": lines
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (lines := code_lines(source, tree, node.lineno, node.end_lineno or node.lineno)) > FUNCTION_LINES
        }
        assert not {name: lines for name, lines in long.items() if name not in EXCEPTIONS}

    def test_a_name_says_something(self, path):
        assert path.stem not in BANNED


def test_exceptions_are_still_needed():
    for name in EXCEPTIONS:
        assert (ROOT / name.split("::")[0]).exists(), f"{name} is gone"
