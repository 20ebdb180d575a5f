"""What the receiver wrote down, compared event by event with what was to happen and with what the shop says it sent."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from example_project.receiver.records import Record


@dataclass(frozen=True)
class Expected:
    """One event that was emitted and the answers that it was to get, in order."""

    event_id: str
    name: str
    answers: tuple[int, ...]


@dataclass(frozen=True)
class Sent:
    """One attempt as the shop recorded it."""

    event_id: str
    number: int
    status: int | None


def faults(expected: Sequence[Expected], sent: Iterable[Sent], records: Iterable[Record]) -> list[str]:
    """Return what is wrong, in words; nothing if every event was received, verified, and exactly as often as it should.

    ``sent`` and ``records`` are in the order of time.
    """
    received_by_event: defaultdict[str, list[Record]] = defaultdict(list)
    sent_by_event: defaultdict[str, list[Sent]] = defaultdict(list)
    for record in records:
        received_by_event[record.id].append(record)
    for attempt in sent:
        sent_by_event[attempt.event_id].append(attempt)
    found = [
        fault
        for event in expected
        for fault in _faults_of(event, sent_by_event[event.event_id], received_by_event[event.event_id])
    ]
    known = {event.event_id for event in expected}
    strangers = received_by_event.keys() - known
    return found + [
        f"{event_id or 'a request without an id'} was received, but never emitted" for event_id in strangers
    ]


def _faults_of(event: Expected, sent: Sequence[Sent], received: Sequence[Record]) -> Iterator[str]:
    answers = tuple(record.answer for record in received)
    if not received:
        yield f"{event.name} was never received"
        return
    if answers != event.answers:
        yield f"{event.name} was to be answered {_words(event.answers)}, but was answered {_words(answers)}"
    said = [(attempt.number, attempt.status) for attempt in sent]
    seen = [(record.attempt, record.answer) for record in received]
    if said != seen:
        yield f"{event.name}: the shop recorded the attempts {said}, the receiver {seen}"
    if any(record.verified is not True for record in received):
        yield f"{event.name} came with a signature that was not verified"
    if len({record.sha256 for record in received}) > 1:
        yield f"{event.name} changed its body from attempt to attempt"


def _words(answers: Sequence[int]) -> str:
    return ", ".join(map(str, answers)) or "not at all"
