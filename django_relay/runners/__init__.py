"""What makes the worker run: django-q2 passes, a plain process, or inline after commit."""

from django.apps import apps


def connect() -> None:
    """Let the runners hear what they need to hear."""
    if apps.is_installed("django_q"):
        from django_relay.runners import django_q  # noqa: PLC0415 - django-q2's models exist only where it is installed

        django_q.connect()
