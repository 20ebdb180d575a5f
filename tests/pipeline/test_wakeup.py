import pytest
from django.test import override_settings

from django_relay.pipeline import notifications, wakeup
from tests.pipeline.runners import RecordingRunner


def relay(**values):
    """Override single settings of DJANGO_RELAY."""
    from django.conf import settings

    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


@pytest.fixture
def order(monkeypatch):
    """What happened: NOTIFY and the runner's wake, with the database."""
    happened = []
    monkeypatch.setattr(notifications, "notify", lambda using: happened.append(("notify", using)))
    monkeypatch.setattr(RecordingRunner, "wake", lambda self, using: happened.append(("runner", using)))
    return happened


class TestWake:
    def test_notifies_first_and_then_asks_the_runner(self, order):
        """A runner may take its time: the inline one delivers."""
        with relay(RUNNER="tests.pipeline.runners.RecordingRunner"):
            wakeup.wake("default")
        assert order == [("notify", "default"), ("runner", "default")]

    def test_notifies_although_the_runner_is_broken(self, order):
        with relay(RUNNER="tests.pipeline.runners.BrokenRunner"):
            wakeup.wake("default")
        assert order == [("notify", "default")]
