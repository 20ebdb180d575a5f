"""The hostile inputs of tests/vectors, one JSON list a group; each case says what is expected and why."""

import json
from pathlib import Path

import pytest


def load(group, kind=None):
    """Return the cases of a group, or of one class in it, as pytest parameters named by their ids."""
    path = Path(__file__).parents[1] / "vectors" / f"{group}.json"
    cases = json.loads(path.read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["id"]) for case in cases if kind in {None, case["class"]}]


def given(case):
    """Return a case's input, joined if it is given as pieces with counts."""
    if "input_gen" in case:
        return "".join(text * count for text, count in case["input_gen"])
    return case["input"]
