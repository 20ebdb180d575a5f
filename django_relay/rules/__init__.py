"""The rules: pure functions without Django, settings, clock or I/O. What they need is handed in."""
