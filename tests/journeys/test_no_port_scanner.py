"""An endpoint is no scanner: whatever keeps requests from a target, its tenant sees the same; an operator sees why."""

import re
from dataclasses import replace

import pytest
from django.db import transaction

from django_relay.api import endpoint_tests
from django_relay.models import Delivery, DLQEntry
from django_relay.testing import FakeTransport, deliver_pending
from tests.api.callers import code_of, operator, tenant
from tests.factories import make_endpoint, make_event
from tests.people import ALICE
from tests.portal.visitors import Visitor

pytestmark = pytest.mark.django_db

TARGETS = {
    "address_not_public": (0, "10.1.2.3 is not a public address.", ""),
    "connection": (2, "The connection failed: Connection refused.", "192.0.2.7"),
    "connect_timeout": (15_003, "No connection was made in time.", ""),
    "tls": (87, "TLS failed: self-signed certificate.", "192.0.2.7"),
    "dns_error": (40, "db.internal: Name or service not known", ""),
}
TIMES = re.compile(
    r"(?:19|20)\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|\+00:00| UTC)?|\d{1,2} [A-Z][a-z]{2},? (?:20\d\d,? )?\d\d:\d\d(?::\d\d)?"
)
IDS = re.compile(r"\b(?:ep|evt|del|att|dlq|rpl)_[0-9a-z]{26}\b")


class Unreachable(FakeTransport):
    """Fails every request in one way."""

    def __init__(self, kind):
        super().__init__(OSError("refused"))
        self.kind = kind

    def completed(self, timeout):
        duration, words, address = TARGETS[self.kind]
        more = {"error_kind": self.kind, "error": words, "duration_ms": duration, "remote_address": address}
        return [replace(outcome, **more) for outcome in super().completed(timeout)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(endpoint_tests, "WAIT_SECONDS", 0)


def look_at(kind):
    """Return what is seen of a target: the tenant's answers, the operator's, and the portal's pages."""
    alice, host, visitor = tenant(), operator(), Visitor()
    endpoint = make_endpoint(url="https://acme.example/hooks")
    endpoint.change(retry_schedule=[])  # so that all of them are given up at the first failure
    event = make_event()
    deliver_pending(transport=Unreachable(kind))
    test = host.post(f"endpoints/{endpoint.pk}/test", {"event_type": "invoice.paid"}).data["event_id"]
    deliver_pending(transport=Unreachable(kind))
    found = {
        name: [plain(caller.get(path, **query)) for path, query in api_paths(endpoint, event)]
        for name, caller in (("tenant", alice), ("operator", host))
    }
    return {**found, "portal": [plain(visitor.get(name, *ids)) for name, *ids in pages(endpoint, event, test)]}


def api_paths(endpoint, event):
    delivery = Delivery.objects.get(event=event)
    for place in (
        f"deliveries/{delivery.pk}", f"deliveries/{delivery.pk}/attempts", f"events/{event.pk}",
        f"events/{event.pk}/deliveries", f"events/{event.pk}/attempts", f"endpoints/{endpoint.pk}",
        f"endpoints/{endpoint.pk}/deliveries", f"endpoints/{endpoint.pk}/attempts", f"endpoints/{endpoint.pk}/stats",
        f"dlq/{DLQEntry.objects.get(delivery=delivery).pk}", "deliveries", "dlq",
    ):  # fmt: skip
        yield place, {}
    for place in ("deliveries", "dlq", f"endpoints/{endpoint.pk}/attempts"):
        yield place, {"error_kind": "unreachable"}


def pages(endpoint, event, test):
    yield "event", event.pk
    yield "test_result", endpoint.pk, test
    yield from (("endpoint", endpoint.pk), ("attempts", endpoint.pk), ("dlq",), ("activity",), ("endpoints",))


def plain(answer):
    """Return an answer without what is of the row or of the moment: ids, times, and tokens against forgery."""
    assert answer.status_code == 200, answer.content
    text = TIMES.sub("<time>", IDS.sub("<id>", answer.content.decode()))
    return re.sub(r'name="(csrf|since|until)" value="[^"]*"|(?<=webhook-timestamp)\W[^0-9]*\d{10}', "", text)


class TestATarget:
    def test_that_cannot_be_reached_looks_like_any_other_but_to_an_operator(self):
        seen = {"tenant": {}, "operator": {}, "portal": {}}
        for kind in TARGETS:
            with transaction.atomic():
                for name, answers in look_at(kind).items():
                    seen[name][kind] = answers
                transaction.set_rollback(True)
        for name in ("tenant", "portal"):
            first, *others = seen[name].values()
            for other in others:
                assert other == first
        shown = "".join(seen["tenant"]["connection"])
        assert '"error_kind":"unreachable","error":"No connection could be made. Look at the host' in shown
        assert "No connection could be made. Look at the host" in "".join(seen["portal"]["connection"])
        for hidden in ("10.1.2.3", "192.0.2.7", "db.internal", "15003", "15.0 s", "self-signed"):
            assert hidden not in shown
            assert hidden not in "".join(seen["portal"]["connection"])
        for kind, (duration, words, _address) in TARGETS.items():
            facts = "".join(seen["operator"][kind])
            assert f'"duration_ms":{duration}' in facts
            assert f'"error_kind":"{kind}","error":"{words}"' in facts

    def test_is_not_asked_for_by_what_keeps_it(self):
        for place in ("deliveries", "dlq", f"endpoints/{make_endpoint().pk}/attempts"):
            refused = tenant().get(place, error_kind="connect_timeout")
            assert (refused.status_code, code_of(refused)) == (400, "bad_choice")
            assert "unreachable" in refused.data["detail"]
            assert operator().get(place, error_kind="connect_timeout", tenant_id=ALICE.tenant_id).status_code == 200
