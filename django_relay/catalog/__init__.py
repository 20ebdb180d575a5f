"""The catalog: all event types of an application.

``registry`` holds declarations in code, ``sync`` makes rows of them, ``lookup`` answers ``emit``.
"""
