"""The job source of django-q2."""


def connect() -> None:
    """Hear django-q2."""
