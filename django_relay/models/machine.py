"""The machine that this process runs on, and whether other processes of it live."""

import os
import platform
from pathlib import Path


def name() -> str:
    """Return the name of this machine and, of a container, of its process ids: others may have the same of either."""
    try:
        return f"{platform.node()[:200]} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not on Linux
        return platform.node()[:200]


def is_running(pid: int) -> bool:
    """Return whether a process of this machine has not ended; of one that cannot be asked after, that it has not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:  # not on Linux, or gone since
        return True
    return state not in (b"Z", b"X")  # ended, and waiting for its parent to take note
