"""The limit: what a bare loop reaches that does nothing but the work. ``python -m benchmarks.limit SECRETS IN_FLIGHT``.

One thread, raw non-blocking sockets kept alive, HMAC by hand, no ORM, no TLS, no resolver, no checks; the same bytes
on the wire, the statements below, each batch committed with fsync. It works until it is ended, and looks every 10 ms
when idle.
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
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from uuid_utils import uuid7

from django_relay import ids

CLAIM = """
WITH taken AS (
    UPDATE django_relay_delivery
    SET lease_token = %(token)s, leased_at = now(), leased_until = now() + interval '45 seconds'
    WHERE id = ANY(ARRAY(
        SELECT id FROM django_relay_delivery
        WHERE state = 'pending' AND next_attempt_at <= now() AND (leased_until IS NULL OR leased_until <= now())
        ORDER BY next_attempt_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
    RETURNING id, event_id, endpoint_id)
SELECT taken.id, event.id, event.event_type, event.occurred_at, event.payload, endpoint.id, endpoint.url
FROM taken
JOIN django_relay_event event ON event.id = taken.event_id
JOIN django_relay_endpoint endpoint ON endpoint.id = taken.endpoint_id AND endpoint.enabled
"""
SETTLE = """
UPDATE django_relay_delivery d
SET state = 'delivered', attempt_count = attempt_count + 1, completed_at = now(), updated_at = now(),
    leased_at = NULL, leased_until = NULL, lease_token = NULL,
    last_error = '', last_error_kind = '', last_response = '',
    last_status_code = v.status_code, last_latency_ms = v.duration_ms
FROM unnest(%(deliveries)s::uuid[], %(tokens)s::uuid[], %(statuses)s::int[], %(durations)s::int[])
    AS v(id, token, status_code, duration_ms)
WHERE d.id = v.id AND d.lease_token = v.token
"""
RECORD = """
INSERT INTO django_relay_attempt (id, delivery_id, number, trigger, started_at, duration_ms, status_code,
    error_kind, error, request_headers, response_headers, response_body, remote_address)
SELECT v.id, v.delivery_id, 1, 'automatic', v.started_at, v.duration_ms, v.status_code, '', '',
    v.request_headers::jsonb, '[]', '', '127.0.0.1'
FROM unnest(%(attempts)s::uuid[], %(deliveries)s::uuid[], %(started)s::timestamptz[], %(durations)s::int[],
    %(statuses)s::int[], %(headers)s::text[])
    AS v(id, delivery_id, started_at, duration_ms, status_code, request_headers)
"""


class Loop:
    """Claim, sign, POST, settle."""

    def __init__(self, connection: psycopg.Connection, secrets: dict[str, str], in_flight: int) -> None:
        self.database = connection
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
        token = uuid.uuid4()
        rows = self.database.execute(CLAIM, {"token": token, "limit": limit}).fetchall()
        self.database.commit()
        for delivery, event, event_type, occurred_at, payload, _endpoint, url in rows:
            webhook_id = ids.from_uuid(event, prefix="evt_")
            at = occurred_at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
            body = f'{{"type":"{event_type}","id":"{webhook_id}","timestamp":"{at}Z","data":{payload}}}'.encode()
            self.post(delivery, token, url, webhook_id, body)
        return len(rows)

    def post(self, delivery: uuid.UUID, token: uuid.UUID, url: str, webhook_id: str, body: bytes) -> None:
        target = urlsplit(url)
        stamp = int(time.time())
        digest = hmac.digest(self.keys[target.path], f"{webhook_id}.{stamp}.".encode() + body, "sha256")
        head = (
            f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\nwebhook-id: {webhook_id}\r\n"
            f"webhook-timestamp: {stamp}\r\nwebhook-signature: v1,{base64.b64encode(digest).decode()}\r\n"
            f"webhook-attempt: 1\r\ncontent-type: application/json\r\nuser-agent: django_relay/limit\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        shown = (
            f'[["webhook-id","{webhook_id}"],["webhook-timestamp","{stamp}"],["webhook-signature","[redacted]"],'
            '["webhook-attempt","1"],["content-type","application/json"],["user-agent","django_relay/limit"]]'
        )
        connection = self.free.pop() if self.free else self.connect(target.hostname, target.port)
        connection.send(head.encode() + body)
        self.open[connection.fileno()] = (connection, delivery, token, shown, datetime.now(UTC), time.monotonic())

    def connect(self, host: str, port: int) -> socket.socket:
        connection = socket.create_connection((host, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self.epoll.register(connection.fileno(), select.EPOLLIN)
        return connection

    def receive(self, timeout: float) -> None:
        for number, _event in self.epoll.poll(timeout):
            connection, delivery, token, shown, started, at = self.open.pop(number)
            answer = connection.recv(65_536)
            if not answer.endswith(b"\r\n\r\n"):
                raise ConnectionError(f"Not an answer of the receiver's: {answer!r}")
            self.free.append(connection)
            duration = int((time.monotonic() - at) * 1000)
            self.done.append((delivery, token, int(answer[9:12]), duration, str(uuid7()), started, shown))

    def settle(self) -> None:
        names = ("deliveries", "tokens", "statuses", "durations", "attempts", "started", "headers")
        columns = dict(zip(names, map(list, zip(*self.done, strict=True)), strict=True))
        with self.database.transaction():
            self.database.execute(SETTLE, columns)
            self.database.execute(RECORD, columns)
        self.done.clear()


if __name__ == "__main__":
    with psycopg.connect(os.environ["BENCH_DATABASE_URL"]) as found:
        print("ready", flush=True)
        Loop(found, json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])).run()
