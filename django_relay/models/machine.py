"""The machine that this process runs on, and whether other processes of it live."""

import os
import platform
from pathlib import Path

_NO_CONTAINER = "pid:[4026531836]"  # PROC_PID_INIT_INO of Linux' include/linux/proc_ns.h


def name() -> str:
    """Return the name of this machine and, of a container, of its process ids: others may have the same of either.

    Namesakes are told apart by ``/etc/machine-id``, which outlives a reboot, so that what a reboot ended is known to
    be gone. Containers of one image may all have the same, and none outlives its host: there it is the boot's id.
    """
    node = platform.node()[:200]
    try:
        processes = str(Path("/proc/self/ns/pid").readlink())
        of_machine = Path("/etc/machine-id")
        known = of_machine.read_text().strip() if processes == _NO_CONTAINER and of_machine.exists() else ""
        return f"{node} {(known or _boot())[:8]} {processes}"
    except OSError:  # not on Linux
        return node


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()


def is_gone(hostname: str, pid: int | None) -> bool:
    """Return whether a process is known to have ended: never of another machine's, named as by :func:`name`."""
    return pid is not None and hostname == name() and not is_running(pid)


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
