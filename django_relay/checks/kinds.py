"""What type a setting's value must have, and how that is said."""

import difflib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def fits(value: Any, annotation: Any) -> bool:
    """Return whether a value has the type that an annotation of ``conf.Settings`` asks for."""
    members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return any(_is_a(value, typing.get_origin(member) or member) for member in members)


def describe(annotation: Any) -> str:
    """Return the words for what an annotation asks for."""
    if typing.is_typeddict(annotation):
        return f"a dict of {', '.join(typing.get_type_hints(annotation))}"
    text = str(annotation) if typing.get_origin(annotation) else getattr(annotation, "__name__", str(annotation))
    words = text.replace("collections.abc.", "").replace("typing.", "")
    return words.replace("Sequence", "a list of ", 1).replace("Mapping", "a dict of ", 1)


def near_miss(name: object, known: Iterable[str]) -> str | None:
    """Return the hint at the known name that a mistyped one may mean."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else None


def _is_a(value: Any, kind: Any) -> bool:
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    if kind is Callable:
        return callable(value)
    if typing.is_typeddict(kind):
        return isinstance(value, Mapping)
    return isinstance(value, list | tuple if kind is Sequence else kind)
