"""JSON with colours, as HTML: the one place in the portal where text becomes markup by hand.

The text that comes out is the text that went in, character by character, each escaped; only ``<span>`` is added around
pieces. A tokenizer, not a parser: it takes anything, broken JSON and HTML among it, in one pass of linear time.
"""

import json
import re
from html import escape
from typing import Any

from django.utils.safestring import SafeString, mark_safe

MAX_CHARACTERS = 65_536
"""Longer text is shown plain."""

_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\\n]|\\.)*+"?+)(?P<colon>\s*+:)?'
    r"|(?P<number>-?\d++(?:\.\d++)?(?:[eE][+-]?\d++)?)"
    r"|(?P<word>\b(?:true|false|null)\b)"
)
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\],:]|[^\s{}\[\],:"]++')
_CLASSES = {"number": "jn", "word": "jw"}


def highlight(text: str) -> SafeString:
    """Return JSON text as escaped HTML with a ``<span>`` around each key, string, number and word."""
    if len(text) > MAX_CHARACTERS:
        return mark_safe(escape(text))  # noqa: S308 - it went through escape()
    parts: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        parts.append(escape(text[end : match.start()]))
        if match["string"]:
            kind = "js" if match["colon"] is None else "jk"
            parts.append(f'<span class="{kind}">{escape(match["string"])}</span>{escape(match["colon"] or "")}')
        else:
            parts.append(f'<span class="{_CLASSES[str(match.lastgroup)]}">{escape(match[0])}</span>')
        end = match.end()
    parts.append(escape(text[end:]))
    return mark_safe("".join(parts))  # noqa: S308 - every piece went through escape()


def pretty(text: str) -> str:
    """Return JSON text indented, every string and number spelt as it was; text that is not JSON comes back as it is."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    lines, line, depth = [], "", 0
    pieces = _PIECE.findall(text)
    for before, piece, after in zip(["", *pieces[:-1]], pieces, [*pieces[1:], "]"], strict=True):
        if piece in "}]" and before not in "{[":
            lines.append(line)
            line = "  " * (depth - 1)
        depth += (piece in "{[") - (piece in "}]")
        line += piece + (" " if piece == ":" else "")
        if piece == "," or (piece in "{[" and after not in "}]"):
            lines.append(line)
            line = "  " * depth
    return "\n".join([*lines, line])


def dumps(value: Any) -> str:
    """Return a JSON value as indented text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
