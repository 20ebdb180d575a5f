"""Step 4: from a lease to a request: envelope, signature, headers. No transaction is open, and no row changes."""

import logging
from datetime import datetime

from django_relay import __version__, conf, exceptions, ids
from django_relay.models import Delivery, Event, SigningSecret
from django_relay.models.delivery import Lease
from django_relay.models.endpoint import MAX_TIMEOUT_SECONDS
from django_relay.rules import envelopes, signing
from django_relay.transport import base

logger = logging.getLogger(__name__)

USER_AGENT = f"django_relay/{__version__}"


def begin(lease: Lease, *, now: datetime) -> base.Request | base.Outcome:
    """Return the request of a lease's attempt, or its outcome when there is nothing to send.

    That is when the lease was taken from a worker that vanished (``unknown``), and when the request cannot be made
    because a secret cannot be read (``local_error``).
    """
    delivery = lease.delivery
    if lease.lost_at is not None:
        error = "The worker that made this attempt vanished; whether the receiver got it is not known."
        return _outcome(delivery, kind="unknown", error=error, at=lease.lost_at)
    try:
        return prepare(delivery, now=now)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this delivery's and must hold up no other
        words = str(error) if isinstance(error, exceptions.RelayError) else type(error).__name__
        # Without the traceback: its frames hold the secrets, and error trackers collect them.
        logger.error(  # noqa: TRY400
            "An attempt could not be prepared: %s",
            words,
            extra={"event": "attempt.not_prepared", "delivery_id": delivery.pk},
        )
        return _outcome(delivery, kind="local_error", error=words, at=now)


def prepare(delivery: Delivery, *, now: datetime) -> base.Request:
    """Return the signed request of a delivery's next attempt; its id is the attempt's.

    The body's bytes are the same on every attempt; the timestamp, and with it the signature, is of ``now``.

    Raises:
        DecryptionError: a secret or custom header cannot be read; nothing may be sent then.
    """
    endpoint, event = delivery.endpoint, delivery.event
    body, content_type = envelopes.encode(_facts(event), endpoint.format)
    timestamp = int(now.timestamp())
    secrets = endpoint.secrets_at(now)
    if not secrets:
        raise exceptions.DecryptionError(f"Endpoint {endpoint.pk} has no live signing secret.")
    headers = {
        "webhook-id": event.pk,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.signature_header(secrets, webhook_id=event.pk, timestamp=timestamp, body=body),
        "webhook-attempt": str(delivery.attempt_count + 1),
        "content-type": content_type,
        "user-agent": USER_AGENT,
    }
    if event.traceparent:
        headers["traceparent"] = event.traceparent
    own = {name: value for name, value in endpoint.headers.items() if name.lower() not in headers}
    return _request(delivery, headers={**headers, **own}, body=body)


def _outcome(delivery: Delivery, *, kind: str, error: str, at: datetime) -> base.Outcome:
    request = _request(delivery, headers={}, body=b"")
    return base.Outcome(request=request, started_at=at, duration_ms=0, error_kind=kind, error=error)


def _request(delivery: Delivery, *, headers: dict[str, str], body: bytes) -> base.Request:
    return base.Request(
        id=ids.new("att_"),
        tenant_id=delivery.tenant_id,
        url=delivery.endpoint.url,
        headers=headers,
        body=body,
        timeout_seconds=min(delivery.endpoint.timeout_seconds or conf.settings.TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS),
        max_response_bytes=conf.settings.MAX_RESPONSE_BYTES,
    )


def _facts(event: Event) -> envelopes.Facts:
    return envelopes.Facts(
        event_id=event.pk,
        event_type=event.event_type,
        occurred_at=event.occurred_at,
        payload=event.payload,
        schema_version=event.schema_version,
        subject=event.subject,
        source=conf.settings.CLOUDEVENTS_SOURCE or f"/django_relay/{event.application.slug}",
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
