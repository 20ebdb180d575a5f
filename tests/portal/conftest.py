import pytest


@pytest.fixture
def relay_settings(settings):
    """Give a function that changes ``DJANGO_RELAY`` until the test ends."""

    def change(**values):
        settings.DJANGO_RELAY = {**settings.DJANGO_RELAY, **values}

    return change
