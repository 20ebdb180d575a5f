"""What a receiver writes down of each request: one JSON line, in one write."""

import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class Record:
    """One request, written down when it came in, before it was answered: an answer may be lost, a record is not."""

    at: str
    """When it came in (ISO 8601, UTC)."""
    path: str
    id: str
    """``webhook-id``, the event; empty if the header was missing."""
    attempt: int
    """``webhook-attempt``; 0 if the header was missing."""
    sha256: str
    """Of the body, in hex."""
    verified: bool | None
    """Whether the signature was right; ``None`` if the receiver has no secret to tell."""
    answer: int
    """The status code that it was to be answered with."""

    def line(self) -> bytes:
        """Return the record as a line of JSON."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"


def read(lines: str) -> list[Record]:
    """Return the records of a log; a last line that is still being written is left out."""
    complete = lines[: lines.rfind("\n") + 1]
    return [Record(**json.loads(line)) for line in complete.splitlines()]
