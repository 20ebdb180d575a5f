"""What an error report shows of a call that failed: Django's own, as mailed to admins, with every frame's variables."""

import sys

from django.views.debug import ExceptionReporter


class Hidden:
    """Holds a secret that the test's own frames must not show."""

    def __init__(self, value):
        self.value = value


def report(call):
    """Call, expect it to fail, and return the report as HTML."""
    try:
        call()
    except Exception:
        return ExceptionReporter(None, *sys.exc_info()).get_traceback_html()
    raise AssertionError("it did not fail")
