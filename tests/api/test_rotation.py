import json
from datetime import timedelta

import pytest
import standardwebhooks
from django.utils import timezone

from django_relay.models import AuditEntry
from django_relay.testing import FakeTransport, deliver_pending
from tests.api.callers import tenant
from tests.factories import make_event

pytestmark = pytest.mark.django_db


def sent():
    """Deliver what is pending and return the one request that was sent."""
    transport = FakeTransport()
    deliver_pending(transport=transport)
    (request,) = transport.requests
    return request


def verifies(secret, request):
    try:
        standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


class TestRotation:
    def test_both_secrets_verify_during_the_overlap_and_after_it_the_new_one_alone(self):
        alice = tenant()
        endpoint = alice.post("endpoints", {"url": "https://acme.example/", "event_types": ["*"]}).data
        rotated = alice.post(f"endpoints/{endpoint['id']}/rotate-secret", {"overlap_seconds": 3_600}).data
        old, new = endpoint["secret"], rotated["secret"]
        assert old != new
        make_event()
        during = sent()
        assert (verifies(old, during), verifies(new, during)) == (True, True)

        from django_relay.models import SigningSecret

        ended = SigningSecret.objects.filter(expires_at__isnull=False)
        ended.update(expires_at=timezone.now() - timedelta(seconds=1))
        make_event()
        after = sent()
        assert (verifies(old, after), verifies(new, after)) == (False, True)

        actions = list(AuditEntry.objects.order_by("at").values_list("action", "changes"))
        assert [action for action, _changes in actions][-2:] == ["endpoint.created", "endpoint.secret_rotated"]
        assert all(secret.split("_")[1] not in json.dumps(actions) for secret in (old, new))
