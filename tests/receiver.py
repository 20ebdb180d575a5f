"""A customer's server, as a process of its own that no test kills: ``python -m tests.receiver LOG``.

It is the judge: what it did not log was not sent. Its log is append-only, one ``write()`` a line: a ``got`` line when a
request has come in whole, and an ``answered`` line when its answer was written, or the sender found gone. What it answers
is told to it at run time by JSON lines on its standard input; it ends when that does.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from standardwebhooks import Webhook

HOLD = "hold"
"""The answer of a path that keeps requests open until :meth:`Receiver.release`."""


@dataclass
class Received:
    """One request, as the receiver saw it."""

    at: float
    """The machine's monotonic clock, when the request had come in."""
    path: str
    id: str
    attempt: int
    sha256: str
    body: str
    verified: tuple[int, ...]
    """Which of the secrets told to the receiver verify it, by their place."""
    answered_at: float | None = None
    answer: int | None = None
    """The status; ``None`` while the request is held, and when the sender was gone before the answer."""


class Receiver:
    """The test's end of the process."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "receiver.log"
        self._log.touch()
        self._read = self._log.open("rb")
        self._received: dict[int, Received] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.receiver", str(self._log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        self.port = int(self._process.stdout.readline())

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, path: str, *answers: int | str, delay: float = 0.0) -> None:
        """Answer a path's requests by these one after the other (the last one repeats), each after ``delay`` seconds."""
        self._tell(do="answer", path=path, answers=answers, delay=delay)

    def hold(self, path: str) -> None:
        """Keep the path's requests open until they are released."""
        self.answer(path, HOLD)

    def release(self, path: str, status: int = 200) -> None:
        """Answer the path's held requests, and those to come, by ``status``."""
        self.answer(path, status)
        self._tell(do="release", path=path, status=status)

    def know(self, path: str, *secrets: str) -> None:
        """Verify the path's requests against these secrets from now on."""
        self._tell(do="know", path=path, secrets=secrets)

    def requests(self, path: str | None = None) -> list[Received]:
        """Return the requests that came in, in their order."""
        while line := self._read.readline():
            if not line.endswith(b"\n"):  # it is being written just now
                self._read.seek(-len(line), os.SEEK_CUR)
                break
            self._take(json.loads(line))
        return [item for item in self._received.values() if path in (None, item.path)]

    def held(self, path: str | None = None) -> int:
        """Return how many requests are open now."""
        return sum(item.answered_at is None for item in self.requests(path))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
        self._read.close()

    def _tell(self, **command: object) -> None:
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == b"done\n"

    def _take(self, line: dict) -> None:
        number = line.pop("n")
        if line.pop("kind") == "got":
            self._received[number] = Received(**line | {"verified": tuple(line["verified"])})
        else:
            item = self._received[number]
            item.answered_at, item.answer = line["at"], line["answer"]


class _Server:
    def __init__(self, log: str) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND)
        self._count = 0
        self._answers: dict[str, list[int | str]] = {}
        self._delays: dict[str, float] = {}
        self._secrets: dict[str, list[Webhook]] = {}
        self._held: defaultdict[str, list[asyncio.Future[int]]] = defaultdict(list)

    async def run(self) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        commands = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(commands), os.fdopen(0, "rb", 0)
        )
        while line := await commands.readline():
            self._obey(**json.loads(line))
            os.write(1, b"done\n")
        os._exit(0)  # whatever is still held

    def _obey(self, *, do: str, path: str, **told) -> None:
        if do == "answer":
            self._answers[path], self._delays[path] = told["answers"], told["delay"]
        elif do == "know":
            self._secrets[path] = [Webhook(secret) for secret in told["secrets"]]
        else:
            for held in self._held.pop(path, []):
                if not held.done():
                    held.set_result(told["status"])

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                request, *lines = head.rstrip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                path = request.split(" ")[1]
                self._count += 1
                number = self._count
                self._write(
                    n=number,
                    kind="got",
                    at=time.monotonic(),
                    path=path,
                    id=headers.get("webhook-id"),
                    attempt=int(headers.get("webhook-attempt", 0)),
                    sha256=hashlib.sha256(body).hexdigest(),
                    body=body.decode(),
                    verified=self._verified(path, headers, body),
                )
                status = await self._status(path, reader)
                if status is not None:
                    writer.write(f"HTTP/1.1 {status} Told\r\ncontent-length: 2\r\n\r\nok".encode())
                self._write(n=number, kind="answered", at=time.monotonic(), answer=status)
                if status is None:
                    break
        writer.close()

    async def _status(self, path: str, reader: asyncio.StreamReader) -> int | None:
        """Return what to answer; ``None`` when the sender went away first."""
        answers = self._answers.get(path) or [200]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if answer == HOLD:
            self._held[path].append(told)
        elif delay := self._delays.get(path):
            asyncio.get_running_loop().call_later(delay, lambda: told.done() or told.set_result(answer))
        else:
            return answer
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({told, gone}, return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            gone.cancel()
            await asyncio.wait({gone})
            return told.result()
        told.cancel()
        with contextlib.suppress(ConnectionError):
            gone.result()
        return None

    def _verified(self, path: str, headers: dict[str, str], body: bytes) -> list[int]:
        found = []
        for place, secret in enumerate(self._secrets.get(path, [])):
            with contextlib.suppress(Exception):  # whatever it raises, it did not verify
                secret.verify(body, headers)
                found.append(place)
        return found

    def _write(self, **line: object) -> None:
        os.write(self._log, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    asyncio.run(_Server(sys.argv[1]).run())
