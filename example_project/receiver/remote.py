"""A receiver as seen by the program that started it."""

import json
import time
from pathlib import Path
from typing import Any, Self
from urllib.request import ProxyHandler, Request, build_opener

from example_project.processes import Process
from example_project.receiver import records

_START_SECONDS = 20.0
_opener = build_opener(ProxyHandler({}))  # it lives on this machine, whatever proxies the environment names


class Receiver:
    """A receiver in a process of its own; as a context manager it stops it at the end.

    Args:
        log: the file of its records; one kept from an earlier receiver is appended to.
        arguments: further options of ``python -m example_project.receiver``.
        secret: the endpoint's signing secret; without one nothing is verified.
        port: 0 takes a free one; give the old one to bring a stopped receiver back.

    Raises:
        RuntimeError: it did not start; says why.
    """

    def __init__(self, log: Path, *arguments: str, secret: str = "", port: int = 0) -> None:
        self.log = log
        output = log.with_suffix(".out")
        output.unlink(missing_ok=True)
        options = ["--log", str(log), "--port", str(port), "--secret", secret, *arguments]
        self.process = Process("receiver", "-m", "example_project.receiver", *options, output=output)
        ready = json.loads(self._first_line(output))
        self.url: str = ready["url"]
        self.port: int = ready["port"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it; requests that it holds open are cut."""
        self.process.stop()

    def tell(self, **behaviour: Any) -> dict[str, Any]:
        """Change how it answers: ``answer``, ``headers``, ``delay``, ``hold``, ``secret``, ``record``.

        Returns how it behaves then, with the numbers of requests ``received`` and ``held``.
        """
        return self._control(json.dumps(behaviour).encode())

    def state(self) -> dict[str, Any]:
        """Return how it behaves, with the numbers of requests ``received`` and of those it now holds open."""
        return self._control(None)

    def records(self) -> list[records.Record]:
        """Return what it has written down, oldest first."""
        return records.read(self.log.read_text()) if self.log.exists() else []

    def _first_line(self, output: Path) -> str:
        gives_up_at = time.monotonic() + _START_SECONDS
        while self.process.running and time.monotonic() < gives_up_at:
            line, end, _rest = output.read_text().partition("\n")
            if end and line.startswith("{"):
                return line
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"The receiver did not start. {output.read_text()}")

    def _control(self, body: bytes | None) -> dict[str, Any]:
        with _opener.open(Request(f"{self.url}__control__", data=body), timeout=10) as response:
            state: dict[str, Any] = json.load(response)
        return state
