"""Where the tasks of a Celery canvas stand in its run: chains and chords as workflows.

A chain's message carries the signatures of the tasks that follow, a chord's that of its body. Whoever publishes the
first message of a canvas gives each of them its place, by :func:`begin`; it travels in their headers. What runs side by
side (the header of a chord, a group within a chain) is one step of several parts::

    chain(a, b, c)                      a 1, b 2, c 3
    chord([a, b], c)                    a 1 part 1, b 1 part 2, c 2
    chain(a, group(b, c), d)            a 1, b 2 part 1, c 2 part 2, d 3       Celery makes it a chord
    chord([chain(a, b), c], d)          a 1 part 1.1, b 1 part 1.2, c 1 part 2, d 2
    chain(a, group(b, c))               a 1, b 2 part 1, c 2 part 2, of unknown number: Celery tells of no end

Nothing here knows Celery: signatures are the dicts that they are in messages.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from django_relay.sources.job_facts import Workflow

Signature = MutableMapping[str, Any]
Give = Callable[[Signature, Workflow], None]
_Place = tuple[Signature, int, str]


def begin(headers: Mapping[str, Any], embed: Mapping[str, Any], give: Give) -> Workflow | None:
    """Return the place of a message's task in the run that it begins; ``None`` if it is no part of any.

    ``embed`` is the third part of the message's body. ``give`` is called with each signature that follows and its
    place.
    """
    following: list[Signature] = [*reversed(embed.get("chain") or [])]
    last = _options(following[-1]) if following else {**embed, "group_id": headers.get("group"), **_index(headers)}
    if last.get("chord") and last.get("group_id"):
        body, part = last["chord"], str((last.get("group_index") or 0) + 1)
        places = [(signature, 1, f"{part}.{number}") for number, signature in enumerate(following, 2)]
        after, steps = _in_order([body], 2)
        own = f"{part}.1" if following else part
        run_id, name = last["group_id"], _first(after, body)
    elif following:
        after, steps = _in_order(following, 2)
        places, own, run_id, name = [], "", headers["id"], headers["task"]
    else:
        return None
    run = Workflow(run_id=run_id, name=name, step=headers["task"], step_number=1, steps=steps, part=own)
    for signature, number, part in (*places, *after):
        give(signature, dataclasses.replace(run, step=signature["task"], step_number=number, part=part))
    return run


def _in_order(signatures: Sequence[Signature], number: int) -> tuple[list[_Place], int | None]:
    """Return the places of what runs one after the other from step ``number``, and the last step's number.

    That is ``None`` where several end side by side.
    """
    places: list[_Place] = []
    end: int | None = number - 1
    for signature in signatures:
        kind = signature.get("subtask_type")
        if kind == "chain":
            found, end = _in_order(_members(signature["kwargs"]["tasks"]), number)
        elif kind == "chord":
            found = _side_by_side(_members(signature["kwargs"]["header"]), number)
            body, end = _in_order([signature["kwargs"]["body"]], number + 1)
            found += body
        elif kind == "group":
            members = _members(signature["kwargs"]["tasks"])
            found, end = _side_by_side(members, number), number if len(members) == 1 else None
        else:
            found, end = [(signature, number, "")], number
        places += found
        number = max([number, *(place for _signature, place, _part in found)]) + 1
    return places, end


def _side_by_side(signatures: Sequence[Signature], number: int) -> list[_Place]:
    places = []
    for part, signature in enumerate(signatures, 1):
        leaves = [*_leaves(signature)]
        for index, leaf in enumerate(leaves, 1):
            places.append((leaf, number, f"{part}.{index}" if len(leaves) > 1 else str(part)))
    return places


def _leaves(signature: Signature) -> Iterator[Signature]:
    kind = signature.get("subtask_type")
    inner: list[Signature] = []
    if kind in ("chain", "group"):
        inner = _members(signature["kwargs"]["tasks"])
    elif kind == "chord":
        inner = [*_members(signature["kwargs"]["header"]), signature["kwargs"]["body"]]
    else:
        yield signature
    for member in inner:
        yield from _leaves(member)


def _members(tasks: Any) -> list[Signature]:
    """Return the tasks of a group, chain or header: a list, or a group; of a generator, which may run once, none."""
    if isinstance(tasks, Mapping):
        tasks = tasks["kwargs"]["tasks"]
    return [*tasks] if isinstance(tasks, list | tuple) else []


def _first(places: Sequence[_Place], body: Signature) -> str:
    return str(places[0][0]["task"] if places else body["task"])


def _options(signature: Signature) -> Mapping[str, Any]:
    return signature.get("options") or {}


def _index(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {"group_index": headers.get("group_index")}
