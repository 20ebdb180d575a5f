"""The demo: the whole product in a few seconds, with real processes, and checked at the end.

``story`` plays it, on the ``stage`` (a folder and a database of its own); ``telling`` is how it looks; ``audit``
compares what the receiver wrote down with what the shop says it sent.
"""
