"""When the demo uses colours."""

import io

import pytest

from example_project.demo.telling import Teller, wants_colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "no_color", "options", "wanted"),
    [
        (Terminal(), None, {}, True),
        (io.StringIO(), None, {}, False),
        (Terminal(), "1", {}, False),
        (Terminal(), "", {}, True),  # https://no-color.org: present and not empty
        (Terminal(), None, {"never": True}, False),
        (io.StringIO(), None, {"force": True}, True),
    ],
)
def test_colours_are_for_terminals_and_for_those_who_ask(stream, no_color, options, wanted, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert wants_colour(stream, **{"force": False, "never": False, **options}) is wanted


def test_without_colour_there_is_no_escape():
    stream = io.StringIO()
    Teller(stream, colour=False).say("all is well", "good")
    assert stream.getvalue() == "all is well\n"
