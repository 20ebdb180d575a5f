from datetime import timedelta

import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from django_relay import exceptions
from django_relay.models import ApiKey, AuditEntry, audit
from django_relay.models.audit_entry import ACTIONS
from django_relay.rules import access
from django_relay.rules.access import Caller
from tests.factories import make_api_key, make_application, make_delivery, make_endpoint, make_event_type
from tests.people import ALICE, CHARLIE

pytestmark = pytest.mark.django_db

STAFF = Caller("staff:7", frozenset(access.SCOPES), address="192.0.2.1")
PORTAL = Caller("portal:psess_1", frozenset({"read", "write"}), "default", "acme", address="2001:db8::1")


def record(action, row, **values):
    return audit.record(action, row, **{"caller": STAFF, **values})


class TestRecord:
    def test_who_did_what_to_which_row_when_and_from_where(self):
        endpoint = make_endpoint()
        at = timezone.now() - timedelta(minutes=1)
        entry = record("endpoint.updated", endpoint, before={"rate_limit": 0}, after={"rate_limit": 5}, at=at)
        entry.refresh_from_db()
        assert (entry.actor, entry.action, entry.object_type, entry.object_id) == (
            "staff:7",
            "endpoint.updated",
            "endpoint",
            endpoint.pk,
        )
        assert (entry.application, entry.tenant_id, entry.address, entry.at) == ("default", "acme", "192.0.2.1", at)
        assert entry.changes == {"rate_limit": {"before": 0, "after": 5}}
        assert entry.description == "Endpoint changed"

    def test_an_endpoints_secret_headers_and_query_are_not_in_it(self):
        endpoint = make_endpoint(headers={"X-Key": "hidden-value"}, url="https://a.example/?token=hidden-value")
        told = {name: getattr(endpoint, name) for name in ("url", "headers", "secrets", "description")}
        entry = record("endpoint.created", endpoint, after=told)
        assert "hidden-value" not in str(entry.changes)
        assert endpoint.secrets[0] not in str(entry.changes)
        assert entry.changes["headers"] == "changed"

    def test_the_tenant_is_the_rows_else_the_callers(self):
        assert record("delivery.retried", make_delivery(), caller=PORTAL).tenant_id == "acme"
        assert record("event_type.updated", make_event_type()).tenant_id is None
        assert record("api_key.created", make_api_key(operator=True)[0]).tenant_id is None
        assert record("endpoint.created", make_endpoint(tenant_id="")).tenant_id == ""
        assert (
            record("tenant.erased", make_application(), tenant_id="globex", application="default").tenant_id == "globex"
        )

    def test_the_application_is_the_rows_else_the_callers(self):
        make_application("eu")
        assert record("endpoint.created", make_endpoint(application="eu")).application == "eu"
        assert record("delivery.retried", make_delivery(), caller=PORTAL).application == "default"
        assert record("delivery.retried", make_delivery()).application == ""
        assert record("delivery.retried", make_delivery(), application="default").application == "default"

    def test_an_action_that_nobody_declared(self):
        with pytest.raises(ValueError, match="exploded"):
            record("endpoint.exploded", make_endpoint())

    def test_names_are_dotted_and_lower_case_and_say_what_they_are(self):
        for name, description in ACTIONS.items():
            kind, _dot, verb = name.partition(".")
            assert kind.islower(), name
            assert verb.islower(), name
            assert str(description)

    def test_addresses_are_left_out_if_the_project_says_so(self):
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "AUDIT_ADDRESSES": False}):
            assert record("endpoint.created", make_endpoint()).address is None

    @pytest.mark.parametrize("address", ["", "unix:", "192.0.2.1, 10.0.0.1", "a" * 99])
    def test_what_is_no_address_is_left_out(self, address):
        assert record("endpoint.created", make_endpoint(), caller=Caller("staff:7", address=address)).address is None

    def test_logs_one_line_after_commit_without_the_address(self, caplog, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            entry = record("endpoint.updated", make_endpoint())
            assert not [line for line in caplog.records if getattr(line, "event", "") == "audit.recorded"]
        (line,) = [line for line in caplog.records if getattr(line, "event", "") == "audit.recorded"]
        assert (line.action, line.actor, line.object_id) == (entry.action, entry.actor, entry.object_id)
        assert "192.0.2.1" not in str(line.__dict__)


@pytest.mark.django_db(transaction=True)
class TestTransaction:
    def test_there_must_be_one(self):
        endpoint = make_endpoint()
        with pytest.raises(transaction.TransactionManagementError):
            record("endpoint.updated", endpoint)

    def test_what_was_undone_was_not_done(self):
        endpoint = make_endpoint()
        with transaction.atomic():
            record("endpoint.updated", endpoint)
            transaction.set_rollback(True)
        assert not AuditEntry.objects.exists()


class TestHistory:
    def test_is_never_changed(self):
        entry = record("endpoint.updated", make_endpoint())
        entry.actor = "staff:8"
        changes = [
            entry.save,
            entry.delete,
            AuditEntry.objects.get().save,
            AuditEntry.objects.all().delete,
            lambda: AuditEntry.objects.update(actor="staff:8"),
            lambda: AuditEntry.objects.bulk_update([entry], ["actor"]),
            lambda: AuditEntry.objects.update_or_create(pk=entry.pk, defaults={"actor": "staff:8"}),
        ]
        for change in changes:
            with pytest.raises(exceptions.WrittenOnce), transaction.atomic():
                change()
        assert AuditEntry.objects.get().actor == "staff:7"

    def test_outlives_what_it_tells_of(self):
        key, _token = make_api_key()
        assert AuditEntry.objects.of(key).count() == 1
        ApiKey.objects.all().delete()
        assert AuditEntry.objects.of(key).get().action == "api_key.created"

    def test_of_a_tenant(self):
        make_application("eu")
        mine = record("endpoint.created", make_endpoint(ALICE))
        record("endpoint.created", make_endpoint(CHARLIE))
        record("endpoint.created", make_endpoint(ALICE, application="eu"))
        assert list(AuditEntry.objects.for_tenant("acme")) == [mine]
