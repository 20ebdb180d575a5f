"""The usual idiom: one q2 task per delivery, loaded and saved by the ORM, sent with ``requests.post``."""

import requests
from django.db import transaction
from django.utils import timezone

from django_relay.models import Attempt, Delivery
from django_relay.rules import envelopes, signing


def deliver(delivery_id: str) -> None:
    """Send one delivery and record it."""
    delivery = Delivery.objects.select_related("event", "endpoint").get(pk=delivery_id)
    event, endpoint = delivery.event, delivery.endpoint
    facts = envelopes.Facts(
        event_id=event.pk,
        event_type=event.event_type,
        occurred_at=event.occurred_at,
        payload=event.payload,
        schema_version=event.schema_version,
        subject=event.subject,
        source="/",
    )
    body, content_type = envelopes.encode(facts, endpoint.format)
    started_at = timezone.now()
    timestamp = int(started_at.timestamp())
    headers = {
        "webhook-id": event.pk,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.signature_header(
            map(signing.Signer, endpoint.secrets), webhook_id=event.pk, timestamp=timestamp, body=body
        ),
        "content-type": content_type,
    }
    response = requests.post(endpoint.url, data=body, headers=headers, timeout=15)
    duration_ms = int((timezone.now() - started_at).total_seconds() * 1000)
    with transaction.atomic():
        Attempt.objects.create(
            delivery=delivery,
            number=delivery.attempt_count + 1,
            trigger="automatic",
            started_at=started_at,
            duration_ms=duration_ms,
            status_code=response.status_code,
            request_headers=[[name, value] for name, value in headers.items() if name != "webhook-signature"],
            response_headers=[[name, value] for name, value in response.headers.items()],
            response_body=response.text,
            remote_address="127.0.0.1",
        )
        delivery.attempt_count += 1
        delivery.state = Delivery.State.DELIVERED
        delivery.last_status_code, delivery.last_latency_ms = response.status_code, duration_ms
        delivery.completed_at = delivery.updated_at = timezone.now()
        delivery.save()
