"""Run one function in several threads at once, each with connections of its own."""

import threading
from concurrent.futures import ThreadPoolExecutor

from django.db import connections


def together(function, times):
    """Call ``function(number)`` in ``times`` threads that start at the same moment; return results in order.

    What a call raises stands in its place, so that a test can say how many may fail and how.
    """
    barrier = threading.Barrier(times)

    def call(number):
        try:
            barrier.wait(timeout=30)
            return function(number)
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(call, range(times)))
