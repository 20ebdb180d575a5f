"""The documents, and the code blocks in them that are run: each after a comment that names its kind."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = "README.md"

_BLOCK = re.compile(r"<!-- ([a-z]+)(?:: (\S+))? -->\n```\w+\n(.*?)```", re.DOTALL)


def documents() -> list[str]:
    """Return the path of every document, from the project's root."""
    pages = [ROOT / README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(page.relative_to(ROOT)) for page in pages]


def read(page: str) -> str:
    """Return a document's text."""
    return (ROOT / page).read_text()


def blocks(kind: str, page: str = README) -> list[tuple[str, str]]:
    """Return a document's marked code blocks of a kind: (name, text)."""
    found = [(name, text) for marked, name, text in _BLOCK.findall(read(page)) if marked == kind]
    assert found, f"{page} has no block marked {kind}"
    return found


def block(kind: str, page: str = README) -> str:
    """Return the text of the one block of a kind."""
    ((_name, text),) = blocks(kind, page=page)
    return text
