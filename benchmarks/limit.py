"""The limit: what a bare loop reaches that does nothing but the work. ``python -m benchmarks.limit SECRETS IN_FLIGHT``.

One thread, raw non-blocking sockets kept alive, HMAC by hand, no ORM, no TLS, no resolver, no checks, no caps, no
decisions. The same bytes go on the wire, and the engine's own statements to the database, by bare psycopg, each batch
committed with fsync. It works until it is ended, and looks every 10 ms when idle.
"""

import base64
import hmac
import json
import os
import select
import socket
import sys
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import django
import psycopg
from uuid_utils import uuid7

from django_relay import ids

django.setup()  # the statements stand beside the models

from django_relay.models import due, endpoint_hour, writing  # noqa: E402
from django_relay.pipeline import settlement  # noqa: E402

COUNTED = {"delivered", "status_2xx", "within_25_ms"}


class Loop:
    """Claim, sign, POST, settle."""

    def __init__(self, connection: psycopg.Connection, secrets: dict[str, str], in_flight: int) -> None:
        self.database = connection
        rows = connection.execute("SELECT id, url FROM django_relay_endpoint").fetchall()
        connection.commit()
        self.targets = {endpoint: urlsplit(str(url)) for endpoint, url in rows}
        self.keys = {path: base64.b64decode(secret.removeprefix("whsec_")) for path, secret in secrets.items()}
        self.at_once = in_flight
        self.epoll = select.epoll()
        self.free: list[socket.socket] = []
        self.open: dict[int, tuple] = {}
        self.done: list[tuple] = []

    def run(self) -> None:
        half = max(self.at_once // 2, 1)
        while True:
            claimed = 0
            if self.at_once - len(self.open) >= half:
                claimed = self.claim(self.at_once - len(self.open))
            self.receive(1.0 if self.open and not self.done and not claimed else 0.0)
            if self.done and (len(self.done) >= half or not claimed):
                self.settle()
            elif not claimed and not self.open:
                time.sleep(0.01)

    def claim(self, limit: int) -> int:
        now, token = datetime.now(UTC), uuid.uuid4()
        values = {"now": now, "limit": limit, "full": [], "after": uuid.UUID(int=0), "scanned": due.SCANNED}
        with self.database.transaction():
            endpoints = self.database.execute(due._OLDEST, values).fetchall()
            if sum(row[1] for row in endpoints) == limit:
                endpoints = self.database.execute(due._EACH, values).fetchall()
            found = [row[0] for row in endpoints if row[0] is not None]
            if not found:
                return 0
            share = -(-limit // len(found))
            values |= {"endpoints": found, "counts": [share] * len(found)}
            taken = self.database.execute(due._TAKE, values).fetchall()[:limit]
            events = {row[0]: row for row in self.database.execute(due._EVENTS, [[row[1] for row in taken]])}
            self.database.execute(due._MARK, [token, now, now + timedelta(seconds=45), [row[0] for row in taken]])
        for delivery, event, endpoint, *_facts in taken:
            key, event_type, _version, payload, occurred_at, *_more = events[event]
            webhook_id = ids.from_uuid(key, prefix="evt_")
            at = occurred_at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
            body = f'{{"type":"{event_type}","id":"{webhook_id}","timestamp":"{at}Z","data":{payload}}}'.encode()
            self.post(delivery, endpoint, token, webhook_id, body)
        return len(taken)

    def post(self, delivery: uuid.UUID, endpoint: uuid.UUID, token: uuid.UUID, webhook_id: str, body: bytes) -> None:
        target = self.targets[endpoint]
        stamp = int(time.time())
        digest = hmac.digest(self.keys[target.path], f"{webhook_id}.{stamp}.".encode() + body, "sha256")
        head = (
            f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\nwebhook-id: {webhook_id}\r\n"
            f"webhook-timestamp: {stamp}\r\nwebhook-signature: v1,{base64.b64encode(digest).decode()}\r\n"
            f"webhook-attempt: 1\r\ncontent-type: application/json\r\nuser-agent: django_relay/limit\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        shown = [
            ["webhook-id", webhook_id],
            ["webhook-timestamp", str(stamp)],
            ["webhook-signature", "[redacted]"],
            ["webhook-attempt", "1"],
            ["content-type", "application/json"],
            ["user-agent", "django_relay/limit"],
        ]
        connection = self.free.pop() if self.free else self.connect(target.netloc)
        connection.send(head.encode() + body)
        self.open[connection.fileno()] = (
            connection,
            delivery,
            endpoint,
            token,
            shown,
            datetime.now(UTC),
            time.monotonic(),
        )

    def connect(self, address: str) -> socket.socket:
        host, _colon, port = address.rpartition(":")
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self.epoll.register(connection.fileno(), select.EPOLLIN)
        return connection

    def receive(self, timeout: float) -> None:
        for number, _event in self.epoll.poll(timeout):
            connection, delivery, endpoint, token, shown, started, at = self.open.pop(number)
            answer = connection.recv(65_536)
            if not answer.endswith(b"\r\n\r\n"):
                raise ConnectionError(f"Not an answer of the receiver's: {answer!r}")
            self.free.append(connection)
            duration = int((time.monotonic() - at) * 1000)
            self.done.append((delivery, endpoint, token, int(answer[9:12]), duration, started, shown))

    def settle(self) -> None:
        now = datetime.now(UTC)
        attempts = []
        for place, (delivery, _endpoint, token, status, duration, started, shown) in enumerate(self.done):
            attempt = {"place": place, "lease_token": token.hex, "state": "delivered"}
            attempt |= {"id": uuid7().hex, "delivery_id": delivery.hex, "number": 1, "trigger": "automatic"}
            attempt |= {"started_at": started, "duration_ms": duration, "status_code": status, "error_kind": ""}
            attempt |= {"error": "", "request_headers": shown, "response_headers": [], "response_body": ""}
            attempts.append(attempt | {"remote_address": "127.0.0.1"})
        hours = Counter(row[1] for row in self.done)
        marks, values = [], []
        for endpoint in sorted(hours):
            counts = (str(hours[endpoint] if name in COUNTED else 0) for name in endpoint_hour.COUNTS)
            marks.append(f"(%s, %s, %s, {', '.join(counts)})")
            values += [uuid7().hex, endpoint, endpoint_hour.hour_of(now)]
        with self.database.transaction():
            self.database.execute(settlement._WRITE, [writing.dumps(attempts), now, now]).fetchall()
            self.database.execute(endpoint_hour._UPSERT.format(marks=", ".join(marks)), values)
        self.done.clear()


if __name__ == "__main__":
    with psycopg.connect(os.environ["BENCH_DATABASE_URL"]) as found:
        print("ready", flush=True)
        Loop(found, json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])).run()
