"""Python's cycle collector, for as long as a worker runs: seldom, and past what was there before.

A claim makes thousands of objects that live until their settlement and die without it. By default the collector
goes through them, and through all of Django, again and again: a tenth of what a worker burns.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG = 20_000
"""How many more objects than were there are looked through: some claims' worth, and a few megabytes."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let the collector pass over all that is there now, and look at what is new when that is much."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
