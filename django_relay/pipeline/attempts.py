"""Step 4: from a lease to a request: envelope, signature, headers. No transaction is open, and no row changes."""

import logging
from datetime import datetime

from django_relay import __version__, exceptions, ids
from django_relay.models import SigningSecret
from django_relay.models.lease import Lease
from django_relay.rules import envelopes, signing
from django_relay.transport import base

logger = logging.getLogger(__name__)

USER_AGENT = f"django_relay/{__version__}"


def begin(lease: Lease, *, now: datetime) -> base.Request | base.Outcome:
    """Return the request of a lease's attempt, or its outcome when there is nothing to send.

    That is when the lease was taken from a worker that vanished (``unknown``), and when the request cannot be made
    because a secret cannot be read (``local_error``).
    """
    if lease.lost_at is not None:
        error = "The worker that made this attempt vanished; whether the receiver got it is not known."
        return _outcome(lease, kind="unknown", error=error, at=lease.lost_at)
    try:
        return prepare(lease, now=now)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this delivery's and must hold up no other
        words = str(error) if isinstance(error, exceptions.RelayError) else type(error).__name__
        # Without the traceback: its frames hold the secrets, and error trackers collect them.
        logger.error(  # noqa: TRY400
            "An attempt could not be prepared: %s",
            words,
            extra={"event": "attempt.not_prepared", "delivery_id": lease.delivery_id},
        )
        return _outcome(lease, kind="local_error", error=words, at=now)


def prepare(lease: Lease, *, now: datetime) -> base.Request:
    """Return the signed request of a delivery's next attempt; its id is the attempt's.

    The body's bytes are the same on every attempt; the timestamp, and with it the signature, is of ``now``.

    Raises:
        DecryptionError: a secret or custom header cannot be read; nothing may be sent then.
    """
    ready, event = lease.ready, lease.event
    body, content_type = envelopes.encode(event, ready.endpoint.format)
    timestamp = int(now.timestamp())
    signers = ready.signers_at(now)
    if not signers:
        raise exceptions.DecryptionError(f"Endpoint {ready.endpoint.pk} has no live signing secret.")
    webhook_id = event.event_id
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.signature_header(signers, webhook_id=webhook_id, timestamp=timestamp, body=body),
        "webhook-attempt": str(lease.number),
        "content-type": content_type,
        "user-agent": USER_AGENT,
    }
    if event.traceparent:
        headers["traceparent"] = event.traceparent
    for name, value in ready.headers.items():
        if name.lower() not in headers:
            headers[name] = value
    return _request(lease, headers=headers, body=body)


def _outcome(lease: Lease, *, kind: str, error: str, at: datetime) -> base.Outcome:
    request = _request(lease, headers={}, body=b"")
    return base.Outcome(request=request, started_at=at, duration_ms=0, error_kind=kind, error=error)


def _request(lease: Lease, *, headers: dict[str, str], body: bytes) -> base.Request:
    ready = lease.ready
    return base.Request(
        id=ids.new("att_"),
        tenant_id=lease.tenant_id,
        url=ready.endpoint.url,
        headers=headers,
        body=body,
        timeout_seconds=ready.timeout_seconds,
        max_response_bytes=ready.max_response_bytes,
    )


def check_keys(*, using: str) -> None:
    """Refuse to start when none of the newest signing secrets opens: the configured keys are the wrong ones.

    Raises:
        RelayConfigurationError: the keys are missing, malformed, or open nothing.
    """
    newest = list(SigningSecret.objects.using(using).order_by("-created_at")[:10])
    for secret in newest:
        try:
            _key = secret.key
        except exceptions.DecryptionError as error:
            unreadable = error
        else:
            return
    if newest:
        raise exceptions.RelayConfigurationError(
            f"ENCRYPTION_KEYS opens none of the newest signing secrets; nothing is sent. {unreadable}"
        )
