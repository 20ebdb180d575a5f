"""The receiver's HTTP server: verify, write down, answer as told."""

import dataclasses
import hashlib
import ipaddress
import json
import os
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from example_project.receiver.records import Record

CONTROL = "/__control__"


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """How the receiver answers; each field can be changed at run time."""

    answer: int = 200
    """The status code for a request whose signature is right (or cannot be told); a wrong one gets 401."""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    """Further headers of the answer, such as ``{"retry-after": "2"}``."""
    delay: float = 0.0
    """Seconds to wait before answering."""
    hold: bool = False
    """Keep requests open, unanswered, until this is false again."""
    secret: str = ""
    """The endpoint's signing secret (``whsec_…``); without one nothing is verified."""
    record: bool = True
    """Whether requests are written down; a receiver that does not is one that loses what it accepted."""


class Server(ThreadingHTTPServer):
    """Listens, and holds what its handlers share.

    Args:
        address: host and port; port 0 takes a free one.
        behaviour: how to answer at first.
        log: the file descriptor that records are written to.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], behaviour: Behaviour, log: int) -> None:
        self.log = log
        self.received = 0
        self.held = 0
        self._behaviour = behaviour
        self._changed = threading.Condition()
        super().__init__(address, Handler)

    @property
    def behaviour(self) -> Behaviour:
        """How the next request is answered."""
        return self._behaviour

    def change(self, changes: dict[str, Any]) -> None:
        """Answer differently from now on; requests that came in before are answered as they were to be.

        Raises:
            TypeError: there is no such field.
        """
        with self._changed:
            self._behaviour = dataclasses.replace(self._behaviour, **changes)
            self._changed.notify_all()

    def write_down(self, record: Record) -> None:
        """Append to the log in one write, so that no reader and no crash sees half of what another wrote."""
        with self._changed:
            self.received += 1
            if self._behaviour.record:
                os.write(self.log, record.line())

    def wait_for_release(self) -> None:
        """Hold the caller while requests are to be held."""
        with self._changed:
            self.held += 1
            self._changed.wait_for(lambda: not self._behaviour.hold)
            self.held -= 1


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Tell how the receiver behaves and what it has seen."""
        if self.path != CONTROL:
            self._reply(200, b"This is a receiver: POST webhooks to it.\n")
        elif self._may_control():
            self._reply(200, self._state())

    def do_POST(self) -> None:
        """Take a webhook, or a change of behaviour."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == CONTROL:
            self._control(body)
        else:
            self._receive(body)

    def _receive(self, body: bytes) -> None:
        behaviour = self.server.behaviour
        verified = self._verify(body, behaviour.secret)
        answer = 401 if verified is False else behaviour.answer
        attempt = self.headers.get("webhook-attempt", "")
        self.server.write_down(
            Record(
                at=datetime.now(UTC).isoformat(),
                path=self.path,
                id=self.headers.get("webhook-id", ""),
                attempt=int(attempt) if attempt.isdecimal() else 0,
                sha256=hashlib.sha256(body).hexdigest(),
                verified=verified,
                answer=answer,
            )
        )
        if behaviour.hold:
            self.server.wait_for_release()
        time.sleep(behaviour.delay)
        self._reply(answer, b'{"received": true}\n', behaviour.headers)

    def _verify(self, body: bytes, secret: str) -> bool | None:
        if not secret:
            return None
        try:
            Webhook(secret).verify(body, dict(self.headers.items()), json_parse=False)
        except (WebhookVerificationError, ValueError):
            return False
        return True

    def _control(self, body: bytes) -> None:
        if not self._may_control():
            return
        try:
            self.server.change(json.loads(body))
        except (TypeError, ValueError) as error:
            self._reply(400, f"{error}\n".encode())
        else:
            self._reply(200, self._state())

    def _may_control(self) -> bool:
        if ipaddress.ip_address(self.client_address[0]).is_loopback:
            return True
        self._reply(403, b"Only this machine may do that.\n")
        return False

    def _state(self) -> bytes:
        behaviour = dataclasses.asdict(self.server.behaviour)
        del behaviour["secret"]
        counts = {"received": self.server.received, "held": self.server.held}
        return json.dumps({**behaviour, **counts}).encode() + b"\n"

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json" if body.startswith(b"{") else "text/plain")
            self.send_header("content-length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True  # the sender did not wait for the answer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing: the record says it."""
