"""The receiver: a server as a process of its own that is fast enough not to be what is measured, and the judge.

``python -m benchmarks.receiver`` is one epoll loop in one thread (about 15 µs a request, thousands of kept-alive
connections). Of each request it keeps the raw bytes and the monotonic time it was whole; only when it is asked, after
the clock has stopped, it reads them: counts, repeats, and every signature by an HMAC of its own. It is driven by JSON
lines on its standard input and answers by JSON lines; two lines come by themselves: ``first`` and ``reached``.

Paths behave as they are told: ``{"status": 503, "header": "retry-after: 2", "times": 5, "delay": 0.3, "hang": true}``;
after ``times`` requests a path answers 204 again.
"""

import base64
import contextlib
import hashlib
import heapq
import hmac
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

_OK = b"HTTP/1.1 204 No Content\r\n\r\n"
_READ = select.EPOLLIN
_BIGGEST = 65_536


class Receiver:
    """The benchmark's end of the process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.receiver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._buffer = b""
        self._said: dict[str, float] = {}
        self.port = self._read(10)["port"]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def expect(self, target: int, behaviours: dict[str, dict] | None = None) -> None:
        """Forget what came, and say when the first and the ``target``-th request came (hanging paths not counted)."""
        self._ask({"do": "expect", "target": target, "behaviours": behaviours or {}}, "expecting")
        self._said.clear()

    def wait_first(self, seconds: float) -> float:
        """Return when the first request came."""
        return self._notice("first", seconds)

    def wait_reached(self, seconds: float) -> float:
        """Return when the last expected request came.

        Raises:
            TimeoutError: not within ``seconds``.
        """
        return self._notice("reached", seconds)

    def count(self) -> int:
        """Return how many requests came to paths that do not hang."""
        return self._ask({"do": "count"}, "count")["count"]

    def held(self) -> int:
        """Return how many requests hang now."""
        return self._ask({"do": "count"}, "count")["held"]

    def arrivals(self) -> list[tuple[str, str, float]]:
        """Return path, webhook-id and monotonic time of each request, in order."""
        return [tuple(row) for row in self._ask({"do": "arrivals"}, "arrivals")["arrivals"]]

    def judge(self, secrets: dict[str, str]) -> dict[str, int]:
        """Return the counts ``requests``, ``distinct``, ``repeats`` and ``bad``.

        Bad are those that are unsigned, wrongly signed, or hold another event than their header says.

        ``secrets`` are the signing secrets by path; paths without one are not judged but for repeats.
        """
        return self._ask({"do": "judge", "secrets": secrets}, "judged")["judged"]

    def close(self) -> None:
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, command: dict, key: str) -> dict:
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return self._until(key, 120)

    def _notice(self, key: str, seconds: float) -> float:
        if key not in self._said:
            self._until(key, seconds)
        return self._said[key]

    def _until(self, key: str, seconds: float) -> dict:
        ends_at = time.monotonic() + seconds
        while True:
            line = self._read(ends_at - time.monotonic())
            self._said |= {name: line[name] for name in ("first", "reached") if name in line}
            if key in line:
                return line

    def _read(self, seconds: float) -> dict:
        ends_at = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            if not select.select([self._process.stdout], [], [], max(ends_at - time.monotonic(), 0))[0]:
                raise TimeoutError(f"The receiver said nothing for {seconds:.0f} s.")
            data = os.read(self._process.stdout.fileno(), 1 << 20)
            if not data:
                raise ConnectionError("The receiver is gone.")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)


class _Server:
    """The process itself."""

    def __init__(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.listener, _READ)
        self.epoll.register(0, _READ)
        self.connections: dict[int, socket.socket] = {}
        self.partial: dict[int, bytes] = {}
        self.later: list[tuple[float, int, int, socket.socket, bytes]] = []
        self.held: set[int] = set()
        self.expect(0, {})
        self.say({"port": self.listener.getsockname()[1]})

    def expect(self, target: int, behaviours: dict[str, dict]) -> None:
        self.requests: list[tuple[float, bytes, bytes]] = []
        self.behaviours = {path.encode(): {**behaviour, "seen": 0} for path, behaviour in behaviours.items()}
        self.counted, self.target = 0, target
        self.command = b""

    def say(self, line: dict) -> None:
        data = memoryview(json.dumps(line).encode() + b"\n")
        while data:
            data = data[os.write(1, data) :]

    def run(self) -> None:
        while True:
            timeout = max(self.later[0][0] - time.monotonic(), 0) if self.later else -1
            for number, _event in self.epoll.poll(timeout):
                if number in self.connections:
                    self.receive(number)
                elif number == 0:
                    if not self.obey():
                        return
                else:
                    self.accept()
            while self.later and self.later[0][0] <= time.monotonic():
                _at, _order, number, connection, answer = heapq.heappop(self.later)
                if self.connections.get(number) is connection:
                    self.send(number, answer)

    def accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _address = self.listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections[connection.fileno()] = connection
                self.epoll.register(connection.fileno(), _READ)

    def receive(self, number: int) -> None:
        try:
            data = self.connections[number].recv(_BIGGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.forget(number)
            return
        if number in self.partial:
            data = self.partial.pop(number) + data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            head = data[:end]
            at = head.lower().find(b"\r\ncontent-length:")
            length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(data) >= end + 4 + length:
                self.take(number, head, data[end + 4 :])
                return
        self.partial[number] = data

    def take(self, number: int, head: bytes, body: bytes) -> None:
        now = time.monotonic()
        self.requests.append((now, head, body))
        behaviour = self.behaviours.get(_path(head)) if self.behaviours else None
        if behaviour:
            behaviour["seen"] += 1
            if behaviour.get("hang"):
                self.held.add(number)
                return
        self.counted += 1
        if not behaviour or behaviour["seen"] > behaviour.get("times", 1 << 60):
            self.send(number, _OK)
        else:
            answer = _answer(behaviour)
            if behaviour.get("delay"):
                at = now + behaviour["delay"]
                heapq.heappush(self.later, (at, len(self.requests), number, self.connections[number], answer))
            else:
                self.send(number, answer)
        if self.counted == 1:
            self.say({"first": now})
        if self.counted == self.target:
            self.say({"reached": now})

    def send(self, number: int, answer: bytes) -> None:
        try:
            self.connections[number].send(answer)
        except OSError:
            self.forget(number)

    def forget(self, number: int) -> None:
        self.connections.pop(number).close()
        self.partial.pop(number, None)
        self.held.discard(number)

    def obey(self) -> bool:
        """Do what the lines on standard input say; return whether there is more to come."""
        data = os.read(0, 1 << 20)
        *lines, self.command = (self.command + data).split(b"\n")
        for line in map(json.loads, lines):
            if line["do"] == "expect":
                self.expect(line["target"], line["behaviours"])
                self.say({"expecting": True})
            elif line["do"] == "count":
                self.say({"count": self.counted, "held": len(self.held)})
            elif line["do"] == "arrivals":
                rows = [
                    (_path(head).decode(), _headers(head).get("webhook-id", ""), at) for at, head, _ in self.requests
                ]
                self.say({"arrivals": rows})
            elif line["do"] == "judge":
                self.say({"judged": _judge(self.requests, line["secrets"])})
        return bool(data)


def _path(head: bytes) -> bytes:
    return head.split(b" ", 2)[1]


def _answer(behaviour: dict) -> bytes:
    header = f"{behaviour['header']}\r\n" if behaviour.get("header") else ""
    return f"HTTP/1.1 {behaviour.get('status', 200)} Told\r\n{header}content-length: 0\r\n\r\n".encode()


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _judge(requests: list[tuple[float, bytes, bytes]], secrets: dict[str, str]) -> dict[str, int]:
    keys = {path: base64.b64decode(secret.removeprefix("whsec_")) for path, secret in secrets.items()}
    seen: defaultdict[str, Counter] = defaultdict(Counter)
    bad = 0
    for _at, head, body in requests:
        path, headers = _path(head).decode(), _headers(head)
        seen[path][headers.get("webhook-id") or hashlib.sha256(body).hexdigest()] += 1
        if path in keys and not _is_genuine(keys[path], headers, body):
            bad += 1
    distinct = sum(map(len, seen.values()))
    return {"requests": len(requests), "distinct": distinct, "repeats": len(requests) - distinct, "bad": bad}


def _is_genuine(key: bytes, headers: dict[str, str], body: bytes) -> bool:
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    digest = hmac.new(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(digest).decode()
    given = headers.get("webhook-signature", "").split(" ")
    fresh = abs(time.time() - int(timestamp or 0)) < 900
    return fresh and expected in given and json.loads(body)["id"] == webhook_id


if __name__ == "__main__":
    _Server().run()
