"""What the demo's audit finds."""

import dataclasses

import pytest

from example_project.demo import audit
from example_project.receiver import records

EXPECTED = [audit.Expected("evt_1", "2026-001", (500, 200))]
SENT = [audit.Sent("evt_1", 1, 500), audit.Sent("evt_1", 1, 200)]
RECORD = records.Record(at="", path="/", id="evt_1", attempt=1, sha256="a", verified=True, answer=500)
RECEIVED = [RECORD, dataclasses.replace(RECORD, answer=200)]


def test_all_is_well():
    assert audit.faults(EXPECTED, SENT, RECEIVED) == []


@pytest.mark.parametrize(
    ("received", "fault"),
    [
        ([], "2026-001 was never received"),
        ([*RECEIVED, RECEIVED[1]], "2026-001 was to be answered 500, 200, but was answered 500, 200, 200"),
        (RECEIVED[:1], "2026-001 was to be answered 500, 200, but was answered 500"),
        ([dataclasses.replace(RECORD, attempt=2), RECEIVED[1]], "2026-001: the shop recorded the attempts"),
        ([dataclasses.replace(RECORD, verified=None), RECEIVED[1]], "a signature that was not verified"),
        ([dataclasses.replace(RECORD, sha256="b"), RECEIVED[1]], "2026-001 changed its body"),
        ([*RECEIVED, dataclasses.replace(RECORD, id="evt_2")], "evt_2 was received, but never emitted"),
        ([*RECEIVED, dataclasses.replace(RECORD, id="")], "a request without an id was received"),
    ],
)
def test_it_finds(received, fault):
    assert any(fault in found for found in audit.faults(EXPECTED, SENT, received))


def test_it_finds_an_attempt_that_the_shop_did_not_record():
    assert audit.faults(EXPECTED, SENT[:1], RECEIVED) == [
        "2026-001: the shop recorded the attempts [(1, 500)], the receiver [(1, 500), (1, 200)]"
    ]


def test_a_line_that_is_still_being_written_is_left_out():
    lines = (RECORD.line() + RECORD.line()).decode()
    assert records.read(lines) == [RECORD, RECORD]
    assert records.read(lines[:-2]) == [RECORD]
    assert records.read("") == []
