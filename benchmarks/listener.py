"""The anchor of latency, a bare LISTEN → POST loop: ``python -m benchmarks.listener SECRETS``.

One event at a time: hears its id, reads it, signs it, POSTs it on a kept-alive socket; records nothing. Whoever
does less is not sending webhooks from a database.
"""

import base64
import hmac
import http.client
import json
import os
import sys
import time
from datetime import UTC
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from django_relay import ids

_READ = """
SELECT event.event_type, event.occurred_at, event.payload, endpoint.url
FROM django_relay_event event JOIN django_relay_endpoint endpoint USING (application_id, tenant_id) WHERE event.id = %s
"""


def main(secrets: dict[str, str]) -> None:
    """Listen until ended."""
    keys = {path: base64.b64decode(secret.removeprefix("whsec_")) for path, secret in secrets.items()}
    url = os.environ["BENCH_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as ear, psycopg.connect(url, autocommit=True) as database:
        ear.execute("LISTEN bench")
        receiver: http.client.HTTPConnection | None = None
        print("ready", flush=True)
        for notice in ear.notifies():
            webhook_id = notice.payload
            found = database.execute(_READ, [ids.to_uuid(webhook_id, prefix="evt_")]).fetchone()
            event_type, occurred_at, payload, url = found
            target = urlsplit(url)
            at = occurred_at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
            body = f'{{"type":"{event_type}","id":"{webhook_id}","timestamp":"{at}Z","data":{payload}}}'.encode()
            stamp = int(time.time())
            digest = hmac.digest(keys[target.path], f"{webhook_id}.{stamp}.".encode() + body, "sha256")
            headers = {
                "webhook-id": webhook_id,
                "webhook-timestamp": str(stamp),
                "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
                "content-type": "application/json",
            }
            receiver = receiver or http.client.HTTPConnection(target.netloc)
            receiver.request("POST", target.path, body, headers)
            receiver.getresponse().read()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
