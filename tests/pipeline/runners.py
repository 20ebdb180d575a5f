"""Runners for the setting RUNNER in these tests."""


class RecordingRunner:
    """Notes who was woken."""

    woken = []

    def wake(self, using):
        self.woken.append(using)


class BrokenRunner:
    """Cannot reach its broker."""

    def wake(self, using):
        raise ConnectionError("the broker is down")
