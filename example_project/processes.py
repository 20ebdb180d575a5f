"""Processes that the demo starts and stops again: only those, each by its own id."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parent.parent


class Process:
    """A Python process in a session of its own, so that a Ctrl-C in the terminal reaches us alone and we stop it.

    Args:
        name: what to call it.
        arguments: what follows ``python``.
        output: the file that takes what it prints; default a pipe, read with :meth:`lines`.
        environ: changes of the environment.
    """

    def __init__(
        self, name: str, *arguments: str, output: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.output = output
        with open(output or os.devnull, "ab") as file:
            self._popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=file if output else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The id of the process itself; what it started has others."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._popen.poll() is None

    def lines(self) -> Iterator[str]:
        """Give what it prints, line by line, until it ends."""
        if self._popen.stdout is not None:
            with self._popen.stdout as stream:
                for line in stream:
                    yield line.rstrip("\n")

    def stop(self, *, seconds: float = 30.0) -> int:
        """End it and return its exit code: SIGTERM to it alone; SIGKILL to all it started when time or patience is out.

        A SIGTERM to the whole group would end a qcluster's workers under its hands, which can hang it.
        """
        if not self.running:
            self._kill_the_rest()
            return self._popen.returncode
        self._popen.terminate()
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._kill_the_rest()
        except KeyboardInterrupt:
            self._kill_the_rest()
            raise
        return self._popen.wait()

    def _kill_the_rest(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # the group is ours: it began as a session of its own
