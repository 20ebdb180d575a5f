"""Step 4: from a lease to a request: envelope, signature, headers. No transaction is open, and no row changes."""

from datetime import datetime

from django_relay import __version__, conf, exceptions, ids
from django_relay.models import Delivery
from django_relay.rules import envelopes, signing
from django_relay.transport import base

USER_AGENT = f"django_relay/{__version__}"


def prepare(delivery: Delivery, *, now: datetime) -> base.Request:
    """Return the signed request of a delivery's next attempt; its id is the attempt's.

    The body's bytes are the same on every attempt; the timestamp, and with it the signature, is of ``now``.

    Raises:
        DecryptionError: a secret or custom header cannot be read; nothing may be sent then.
    """
    endpoint, event = delivery.endpoint, delivery.event
    body, content_type = envelopes.encode(_message(delivery), endpoint.format)
    timestamp = int(now.timestamp())
    secrets = endpoint.secrets_at(now)
    if not secrets:
        raise exceptions.DecryptionError(f"Endpoint {endpoint.pk} has no live signing secret.")
    headers = {
        "webhook-id": event.pk,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.signature_header(secrets, message_id=event.pk, timestamp=timestamp, body=body),
        "webhook-attempt": str(delivery.attempt_count + 1),
        "content-type": content_type,
        "user-agent": USER_AGENT,
    }
    if event.traceparent:
        headers["traceparent"] = event.traceparent
    own = {name: value for name, value in endpoint.headers.items() if name.lower() not in headers}
    return _request(delivery, headers={**headers, **own}, body=body)


def not_made(delivery: Delivery, *, kind: str, error: str, at: datetime) -> base.Outcome:
    """Return the outcome of an attempt whose request was never made, or is not known to have been."""
    request = _request(delivery, headers={}, body=b"")
    return base.Outcome(request=request, started_at=at, duration_ms=0, error_kind=kind, error=error)


def _request(delivery: Delivery, *, headers: dict[str, str], body: bytes) -> base.Request:
    return base.Request(
        id=ids.new("att_"),
        tenant_id=delivery.tenant_id,
        url=delivery.endpoint.url,
        headers=headers,
        body=body,
        timeout_seconds=delivery.endpoint.timeout_seconds or conf.settings.TIMEOUT_SECONDS,
        max_response_bytes=conf.settings.MAX_RESPONSE_BYTES,
    )


def _message(delivery: Delivery) -> envelopes.Message:
    event = delivery.event
    return envelopes.Message(
        event_id=event.pk,
        event_type=event.event_type,
        occurred_at=event.occurred_at,
        payload=event.payload,
        schema_version=event.schema_version,
        subject=event.subject,
        source=conf.settings.CLOUDEVENTS_SOURCE or f"/django_relay/{event.application.slug}",
    )
