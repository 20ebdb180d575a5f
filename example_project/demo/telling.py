"""How the demo looks: a few kinds of lines, in colour on a terminal."""

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

_STYLES = {"bold": "1", "dim": "2", "good": "32", "bad": "31", "warn": "33", "name": "36"}


class Stream(Protocol):
    """Where lines are written to: standard output, or Django's wrapper of it."""

    def write(self, text: str, /) -> Any:
        """Write text."""

    def flush(self) -> Any:
        """Send what was written."""

    def isatty(self) -> bool:
        """Return whether somebody is watching."""


def wants_colour(stream: Stream, *, force: bool, never: bool) -> bool:
    """Return whether to colour: on a terminal, unless told otherwise by an option or by ``NO_COLOR``."""
    return force or (not never and stream.isatty() and not os.environ.get("NO_COLOR"))


class Teller:
    """Writes lines as things happen."""

    def __init__(self, stream: Stream, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour

    def styled(self, text: str, style: str) -> str:
        """Return the text in a style: ``bold``, ``dim``, ``good``, ``bad``, ``warn`` or ``name``."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._colour and style else text

    def say(self, text: str = "", style: str = "") -> None:
        """Write one line."""
        self._stream.write(self.styled(text, style) + "\n")
        self._stream.flush()

    def act(self, number: int, title: str) -> None:
        """Begin a new part of the story."""
        self.say(f"\n{self.styled(f' {number} ', 'bold')} {self.styled(title, 'bold')}")

    def fact(self, label: str, text: str) -> None:
        """Name one thing that is there."""
        self.say(f"    {self.styled(f'{label:<10}', 'dim')} {text}")

    def happened(self, at: datetime, what: str, text: str, style: str = "") -> None:
        """Tell one thing that happened to something: its time to the millisecond, what it concerns, and how it went."""
        clock = f"{at.astimezone():%H:%M:%S.%f}"[:-3]
        self.say(f"    {self.styled(clock, 'dim')}  {self.styled(what, 'name')}  {self.styled(text, style)}")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Write a small table; its first column is text, the others are numbers."""
        self.say()
        for number, cells in enumerate([head, *rows]):
            first, *others = (str(cell) for cell in cells)
            line = f"    {first:<22}" + "".join(f"{cell:>14}" for cell in others)
            self.say(line.rstrip(), "" if number else "dim")
