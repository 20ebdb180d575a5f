import base64
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.test import override_settings
from django.utils import timezone

from django_relay import exceptions, signals, verify
from django_relay.models import AuditEntry, Endpoint, SigningSecret
from django_relay.rules import signing
from django_relay.rules.access import Caller
from django_relay.testing import FakeTransport, deliver_pending
from tests.factories import make_application, make_delivery, make_endpoint
from tests.people import ALICE, BOB, CHARLIE
from tests.threads import together

pytestmark = pytest.mark.django_db

OWN = "whsec_" + base64.b64encode(b"a secret of the tenant's own").decode()


class TestRegister:
    def test_stores_the_endpoint_with_its_first_secret(self):
        endpoint = make_endpoint(ALICE, event_types=["invoice.*"], description="Books", metadata={"a": 1})
        stored = Endpoint.objects.get()
        assert stored == endpoint
        assert (stored.tenant_id, stored.application.slug, stored.event_types) == ("acme", "default", ["invoice.*"])
        assert (stored.enabled, stored.deleted_at, stored.format, stored.rate_limit) == (True, None, "standard", 0)
        (secret,) = stored.secrets
        assert secret == endpoint.secrets[0] == signing.validate_secret(secret)
        assert SigningSecret.objects.get().scheme == "v1"

    def test_a_secret_of_the_tenants_own(self):
        assert make_endpoint(secret=OWN).secrets == [OWN]

    @pytest.mark.parametrize("secret", ["whsec_short", "password123", "WHSEC_YWJj", OWN + "\n"])
    def test_a_malformed_secret_stores_nothing(self, secret):
        with pytest.raises(ValidationError) as caught:
            make_endpoint(secret=secret)
        assert caught.value.error_dict["secret"][0].code == "bad_secret"
        assert Endpoint.objects.count() == 0

    def test_a_deleted_endpoint_gets_no_secret(self):
        endpoint = make_endpoint()
        endpoint.delete()
        with pytest.raises(exceptions.InvalidInput, match="deleted"):
            endpoint.rotate_secret()
        assert SigningSecret.objects.count() == 0

    def test_an_unknown_application(self):
        with pytest.raises(exceptions.UnknownApplication):
            make_endpoint(application="nowhere")

    def test_the_url_is_stored_in_one_spelling(self):
        assert make_endpoint(url="HTTPS://Alice.EXAMPLE/a").url == "https://alice.example/a"

    @pytest.mark.parametrize(
        ("values", "field", "code"),
        [
            ({"url": "ftp://a.example/"}, "url", "scheme"),
            ({"url": "https://169.254.169.254/"}, "url", "address_not_public"),
            ({"url": "https://10.0.0.1/"}, "url", "address_not_public"),
            ({"url": "https://user:pass@a.example/"}, "url", None),
            ({"url": ""}, "url", None),
            ({"url": "https://a.example/" + "a" * 3000}, "url", None),
            ({"event_types": []}, "event_types", "wrong_type"),
            ({"event_types": ["Invoice"]}, "event_types", "bad_pattern"),
            ({"event_types": ["a"] * 101}, "event_types", "wrong_type"),
            ({"event_types": [None]}, "event_types", None),
            ({"filters": {"a": {"b": 1}}}, "filters", "bad_filter"),
            ({"filters": [1]}, "filters", "bad_filter"),
            ({"headers": {"Host": "a"}}, "headers", "forbidden_header"),
            ({"headers": {"webhook-id": "a"}}, "headers", "forbidden_header"),
            ({"headers": {"X-A": "a\r\nb"}}, "headers", "bad_header_value"),
            ({"headers": {"X A": "a"}}, "headers", "bad_header_name"),
            ({"headers": {"X-A": 1}}, "headers", "wrong_type"),
            ({"headers": ["X-A"]}, "headers", "wrong_type"),
            ({"retry_schedule": [0]}, "retry_schedule", "bad_retry_schedule"),
            ({"retry_schedule": [True]}, "retry_schedule", "bad_retry_schedule"),
            ({"retry_schedule": [float("nan")]}, "retry_schedule", "bad_retry_schedule"),
            ({"retry_schedule": [31 * 86_400]}, "retry_schedule", "bad_retry_schedule"),
            ({"retry_schedule": [1] * 51}, "retry_schedule", "wrong_type"),
            ({"retry_schedule": "5"}, "retry_schedule", "wrong_type"),
            ({"timeout_seconds": 0}, "timeout_seconds", "min_value"),
            ({"timeout_seconds": 31}, "timeout_seconds", "max_value"),
            ({"format": "xml"}, "format", "invalid_choice"),
            ({"rate_limit": -1}, "rate_limit", "min_value"),
            ({"tenant_id": "a\x00"}, "tenant_id", "bad_tenant_id"),
            ({"tenant_id": "a" * 256}, "tenant_id", "max_length"),
            ({"description": "a" * 501}, "description", "max_length"),
            ({"metadata": {"a": object()}}, "metadata", "bad_metadata"),
        ],
        ids=lambda value: ascii(value)[:40] if isinstance(value, dict) and "metadata" not in value else "",
    )
    def test_what_is_wrong_is_said_by_field_with_a_code(self, values, field, code):
        with pytest.raises(ValidationError) as caught:
            make_endpoint(**values)
        assert list(caught.value.error_dict) == [field]
        if code:
            assert code in [error.code for error in caught.value.error_dict[field]]
        assert (Endpoint.objects.count(), SigningSecret.objects.count()) == (0, 0)

    @pytest.mark.parametrize("event_types", ["*", None, {"*": 1}])
    def test_patterns_are_a_list(self, event_types):
        with pytest.raises(ValidationError) as caught:
            Endpoint.objects.register(tenant_id="acme", url=ALICE.url, event_types=event_types)
        assert "wrong_type" in [error.code for error in caught.value.error_dict["event_types"]]

    def test_everything_wrong_is_said_at_once(self):
        with pytest.raises(ValidationError) as caught:
            make_endpoint(url="ftp://a", event_types=["?"], headers={"Host": "a"}, format="xml")
        assert set(caught.value.error_dict) == {"url", "event_types", "headers", "format"}

    def test_no_message_shows_a_headers_value(self):
        with pytest.raises(ValidationError) as caught:
            make_endpoint(headers={"X-A": "canary\n"})
        assert "canary" not in str(caught.value)

    @pytest.mark.parametrize(
        "values",
        [
            {"description": "a\x00"},
            {"metadata": {"a": "\x00"}},
            {"metadata": {"\ud800": 1}},
            {"tenant_id": "\ud800"},
            {"metadata": {"a": [float("nan")]}},
        ],
        ids=ascii,
    )
    def test_what_a_database_cannot_hold_is_a_validation_error_on_both(self, values):
        with pytest.raises(ValidationError) as caught:
            make_endpoint(**values)
        assert list(caught.value.error_dict) == list(values)


class TestForTenant:
    def test_only_their_own_and_not_the_deleted(self):
        mine, colleagues, deleted = make_endpoint(ALICE), make_endpoint(BOB), make_endpoint(ALICE)
        deleted.delete()
        make_endpoint(CHARLIE)
        make_application("second")
        other = make_endpoint(ALICE, application="second")
        assert set(Endpoint.objects.for_tenant("acme")) == {mine, colleagues}
        assert set(Endpoint.objects.for_tenant("acme", "second")) == {other}
        assert not Endpoint.objects.for_tenant("ACME").exists()
        assert not Endpoint.objects.for_tenant("").exists()


class TestRotateSecret:
    def test_both_sign_during_the_overlap_and_then_the_new_one_alone(self):
        endpoint = make_endpoint()
        (old,) = endpoint.secrets
        new = endpoint.rotate_secret(timedelta(hours=1))
        assert endpoint.secrets == [new, old]
        now = timezone.now()
        assert endpoint.secrets_at(now + timedelta(minutes=59)) == [new, old]
        assert endpoint.secrets_at(now + timedelta(minutes=61)) == [new]

    def test_the_default_overlap_is_a_setting(self):
        from django.conf import settings

        endpoint = make_endpoint()
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "SECRET_OVERLAP_SECONDS": 60}):
            endpoint.rotate_secret()
        assert len(endpoint.secrets_at(timezone.now() + timedelta(seconds=59))) == 2
        assert len(endpoint.secrets_at(timezone.now() + timedelta(seconds=61))) == 1

    def test_without_overlap_the_old_ones_end_now(self):
        endpoint = make_endpoint()
        endpoint.rotate_secret(timedelta(days=1))
        new = endpoint.rotate_secret(timedelta(0))
        assert endpoint.secrets == [new]

    def test_a_longer_overlap_does_not_revive_what_was_to_end_sooner(self):
        endpoint = make_endpoint()
        (first,) = endpoint.secrets
        second = endpoint.rotate_secret(timedelta(hours=1))
        third = endpoint.rotate_secret(timedelta(hours=3))
        now = timezone.now()
        assert endpoint.secrets == [third, second, first]
        assert endpoint.secrets_at(now + timedelta(hours=2)) == [third, second]

    def test_a_secret_of_the_tenants_own(self):
        endpoint = make_endpoint()
        assert endpoint.rotate_secret(secret=OWN) == OWN
        assert endpoint.secrets[0] == OWN

    def test_a_malformed_secret_changes_nothing(self):
        endpoint = make_endpoint()
        before = endpoint.secrets
        with pytest.raises(exceptions.InvalidSecret):
            endpoint.rotate_secret(secret="whsec_short")
        with pytest.raises(exceptions.InvalidSecret):
            endpoint.rotate_secret(scheme="v2")
        assert endpoint.secrets == before
        assert SigningSecret.objects.get().expires_at is None

    def test_only_this_endpoints(self):
        other = make_endpoint()
        make_endpoint().rotate_secret(timedelta(0))
        assert len(other.secrets) == 1

    def test_to_v1a_and_the_receiver_verifies_with_the_public_key(self):
        endpoint = make_endpoint()
        old = endpoint.secrets[0]
        new = endpoint.rotate_secret(timedelta(hours=1), scheme="v1a")
        assert new.startswith("whsk_")
        assert SigningSecret.objects.get(expires_at=None).scheme == "v1a"
        make_delivery(endpoint=endpoint)
        transport = FakeTransport()
        deliver_pending(transport=transport)
        (request,) = transport.requests
        assert [part.split(",")[0] for part in request.headers["webhook-signature"].split(" ")] == ["v1a", "v1"]
        assert verify(request.body, request.headers, signing.public_key(new))["type"] == "invoice.paid"
        assert verify(request.body, request.headers, old)["type"] == "invoice.paid"

    def test_a_secret_that_has_ended_signs_no_more(self):
        endpoint = make_endpoint()
        (old,) = endpoint.secrets
        new = endpoint.rotate_secret(timedelta(0))
        make_delivery(endpoint=endpoint)
        transport = FakeTransport()
        deliver_pending(transport=transport)
        (request,) = transport.requests
        assert verify(request.body, request.headers, new)
        with pytest.raises(exceptions.VerificationError):
            verify(request.body, request.headers, old)


class TestDisableAndEnable:
    def test_disable_says_why_and_when_and_tells_once(self, django_capture_on_commit_callbacks):
        heard = []

        def receiver(sender, instance, **kwargs):
            heard.append((instance.pk, instance.disabled_reason))

        endpoint, now = make_endpoint(), timezone.now()
        signals.endpoint_disabled.connect(receiver)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                assert endpoint.disable("tenant", at=now) is True
                assert heard == []
            with django_capture_on_commit_callbacks(execute=True):
                assert endpoint.disable("staff") is False
        finally:
            signals.endpoint_disabled.disconnect(receiver)
        assert heard == [(endpoint.pk, "tenant")]
        assert (endpoint.enabled, endpoint.disabled_reason, endpoint.disabled_at) == (False, "tenant", now)

    def test_a_made_up_reason_is_refused(self):
        endpoint = make_endpoint()
        with pytest.raises(ValueError, match="mood"):
            endpoint.disable("mood")
        assert Endpoint.objects.get().enabled

    def test_enable_forgets_why(self):
        endpoint = make_endpoint()
        endpoint.disable()
        Endpoint.objects.update(failing_since=timezone.now())
        assert endpoint.enable() is True
        assert endpoint.enable() is False
        for row in (endpoint, Endpoint.objects.get()):
            assert (row.enabled, row.disabled_reason, row.disabled_at, row.failing_since) == (True, "", None, None)

    def test_both_work_although_the_headers_cannot_be_read(self):
        from django_relay import fields

        endpoint = make_endpoint(headers={"X-Key": "1"})
        Endpoint.objects.update(headers=fields.Ciphertext("r1.gone.AAAA"))
        endpoint = Endpoint.objects.get()
        assert endpoint.disable() is True
        assert endpoint.enable() is True

    def test_a_stale_instance_does_not_undo_what_others_did(self):
        endpoint, stale = make_endpoint(), Endpoint.objects.get()
        endpoint.disable("tenant")
        assert stale.disable("staff") is False
        assert stale.disabled_reason == "tenant"


class TestSoftDelete:
    def test_keeps_the_row_and_destroys_its_secrets(self):
        endpoint = make_endpoint(headers={"X-Key": "1"})
        endpoint.rotate_secret()
        endpoint.delete()
        stored = Endpoint.objects.get()
        assert (stored.enabled, stored.headers, stored.secrets) == (False, {}, [])
        assert stored.deleted_at is not None
        assert SigningSecret.objects.count() == 0
        assert list(Endpoint.objects.open()) == []

    def test_cannot_be_enabled_again(self):
        endpoint = make_endpoint()
        endpoint.delete()
        assert endpoint.enable() is False
        assert Endpoint.objects.get().enabled is False


class TestSecrets:
    def test_newest_first(self):
        endpoint = make_endpoint()
        made = [*endpoint.secrets, *[endpoint.rotate_secret(timedelta(days=1)) for _ in range(3)]]
        assert endpoint.secrets == made[::-1]

    def test_prefetched_rows_cost_no_query(self, django_assert_num_queries):
        make_endpoint()
        endpoint = Endpoint.objects.prefetch_related("signing_secrets").get()
        with django_assert_num_queries(0):
            assert len(endpoint.secrets) == 1


class TestSchedule:
    def test_its_own_or_the_projects(self):
        from django.conf import settings

        own, none, projects = make_endpoint(retry_schedule=[1]), make_endpoint(retry_schedule=[]), make_endpoint()
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "RETRY_SCHEDULE": [7, 8]}):
            assert [list(endpoint.schedule) for endpoint in (own, none, projects)] == [[1], [], [7, 8]]


class TestSave:
    def test_a_stale_instance_undoes_no_transition(self):
        stale = make_endpoint()
        Endpoint.objects.get(pk=stale.pk).delete()
        stale.description = "new"
        stale.save()
        stored = Endpoint.objects.get()
        assert (stored.description, stored.enabled) == ("new", False)
        assert stored.deleted_at is not None

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("event_types", 5),
            ("event_types", "zzz.*"),
            ("filters", []),
            ("retry_schedule", "5"),
            ("url", "http://[::1"),
        ],
    )
    def test_what_is_spoilt_is_refused(self, field, value):
        endpoint = make_endpoint()
        setattr(endpoint, field, value)
        with pytest.raises(ValidationError) as caught:
            endpoint.save()
        assert list(caught.value.error_dict) == [field]

    def test_every_way_to_delete_keeps_the_row(self):
        delivery = make_delivery()
        assert delivery.endpoint.delete() == (1, {"django_relay.Endpoint": 1})
        assert delivery.endpoint.delete()[0] == 0
        make_endpoint()
        assert Endpoint.objects.all().delete() == (1, {"django_relay.Endpoint": 1})
        assert Endpoint.objects.filter(deleted_at__isnull=False).count() == 2
        assert SigningSecret.objects.count() == 0

    @pytest.mark.parametrize("metadata", [{"a": 10**5000}, {"a": float("nan")}, {"a": {1}}])
    def test_metadata_that_cannot_be_stored(self, metadata):
        with pytest.raises(ValidationError) as caught:
            make_endpoint(metadata=metadata)
        assert list(caught.value.error_dict) == ["metadata"]

    def test_other_arguments_are_refused(self):
        with pytest.raises(TypeError, match="enabled"):
            make_endpoint(enabled=False)


class TestChange:
    @pytest.mark.parametrize("name", ["tenant_id", "application", "enabled", "deleted_at", "id", "colour"])
    def test_whose_it_is_and_its_state_are_no_choices(self, name):
        endpoint = make_endpoint()
        with pytest.raises(TypeError, match=f"change\\(\\) takes description.*; got {name}"):
            endpoint.change(description="new", **{name: "globex"})
        stored = Endpoint.objects.get()
        assert (stored.tenant_id, stored.enabled, stored.description) == ("acme", True, "")
        assert (endpoint.tenant_id, endpoint.description) == ("acme", "")


@pytest.mark.django_db
class TestOnRecord:
    def test_who_made_and_changed_it_and_what_differs_from_what_was_stored(self):
        caller = Caller("key:key_1")
        endpoint = make_endpoint(caller=caller, rate_limit=3)
        stale = Endpoint.objects.get(pk=endpoint.pk)
        endpoint.change(caller=caller, description="new")
        stale.change(caller=caller, rate_limit=5)
        entries = AuditEntry.objects.filter(object_id=endpoint.pk).order_by("pk")
        assert [(entry.action, entry.actor) for entry in entries] == [
            ("endpoint.created", "key:key_1"), ("endpoint.updated", "key:key_1"), ("endpoint.updated", "key:key_1"),
        ]  # fmt: skip
        assert entries[0].changes["rate_limit"] == {"after": 3}
        assert entries[1].changes == {"description": {"before": "", "after": "new"}}
        assert entries[2].changes == {"rate_limit": {"before": 3, "after": 5}}

    def test_nothing_of_what_failed_nor_of_what_the_hosts_own_code_did(self):
        endpoint = make_endpoint()
        endpoint.change(rate_limit=5)
        with pytest.raises(ValidationError):
            endpoint.change(caller=Caller("key:key_1"), url="ftp://acme.example/")
        Endpoint.objects.get(pk=endpoint.pk).delete()
        with pytest.raises(exceptions.WrongState):
            endpoint.change(caller=Caller("key:key_1"), url="https://acme.example/")
        assert not AuditEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
class TestRotationRaces:
    def test_two_at_once_leave_one_current_secret(self):
        for _ in range(5):
            endpoint = make_endpoint()
            together(lambda number, endpoint=endpoint: Endpoint.objects.get(pk=endpoint.pk).rotate_secret(), 4)
            assert SigningSecret.objects.filter(endpoint=endpoint, expires_at__isnull=True).count() == 1

    def test_a_deleted_endpoint_keeps_none(self):
        for _ in range(5):
            endpoint = make_endpoint()

            def act(number, pk=endpoint.pk):
                found = Endpoint.objects.get(pk=pk)
                return found.delete() if number % 2 else found.rotate_secret()

            together(act, 4)
            assert not SigningSecret.objects.filter(endpoint=endpoint).exists()
