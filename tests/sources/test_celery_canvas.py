"""Where the tasks of a canvas stand, read from the messages that Celery itself makes of it."""

import json

import celery
import pytest
from celery import chain, chord, group, signals

from django_relay.sources import celery_canvas
from django_relay.sources.job_facts import Workflow

app = celery.Celery("canvases", broker="memory://", backend="cache+memory://", set_as_current=False)


@app.task
def a():
    pass


@app.task
def b():
    pass


def places(canvas):
    """Publish a canvas, and return the places of all its tasks that the messages give: (function, step, part)."""
    found, runs = {}, set()

    def hear(headers, body, **kwargs):
        def give(signature, place):
            found[signature["options"]["task_id"]] = place

        if headers["task"].startswith("celery."):
            return
        place = celery_canvas.begin(headers, body[2], give)
        if place is not None:
            found[headers["id"]] = place

    signals.before_task_publish.connect(hear, weak=False)
    try:
        canvas.apply_async()
    finally:
        signals.before_task_publish.disconnect(hear)
    runs = {(place.run_id, place.steps) for place in found.values()}
    assert len(runs) <= 1
    shown = sorted((place.step_number, place.part, place.step.rpartition(".")[2]) for place in found.values())
    return shown, next(iter(runs))[1] if runs else None


@pytest.mark.parametrize(
    ("canvas", "expected", "steps"),
    [
        (chain(a.si(), b.si(), a.si()), [(1, "", "a"), (2, "", "b"), (3, "", "a")], 3),
        (chord([a.si(), b.si()], a.si()), [(1, "1", "a"), (1, "2", "b"), (2, "", "a")], 2),
        (
            chord([a.si(), b.si()], chain(a.si(), b.si())),
            [(1, "1", "a"), (1, "2", "b"), (2, "", "a"), (3, "", "b")],
            3,
        ),
        (
            chord([chain(a.si(), b.si()), b.si()], a.si()),
            [(1, "1.1", "a"), (1, "1.2", "b"), (1, "2", "b"), (2, "", "a")],
            2,
        ),
        (group(a.si(), b.si()), [], None),
        (a.si(), [], None),
    ],
    ids=["chain", "chord", "chord with a chain as body", "chord of chains", "group", "task"],
)
def test_the_places_in_a_canvas(canvas, expected, steps):
    assert places(canvas) == (expected, steps)


def test_a_canvas_of_json_has_the_same_places():
    """Signatures come back from a broker as dicts."""
    canvas = json.loads(json.dumps(chain(a.si(), chord([a.si(), b.si()], b.si()), group(a.si(), b.si()))))
    following = canvas["kwargs"]["tasks"]
    found = []
    place = celery_canvas.begin(
        {"id": "1", "task": "first"}, {"chain": following[::-1]}, lambda signature, place: found.append(place)
    )
    assert isinstance(place, Workflow)
    assert (place.run_id, place.name, place.steps, place.step_number) == ("1", "first", None, 1)
    assert [(item.step_number, item.part) for item in found] == [
        (2, ""),
        (3, "1"),
        (3, "2"),
        (4, ""),
        (5, "1"),
        (5, "2"),
    ]
