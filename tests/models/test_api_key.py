import pickle
import re
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay import exceptions
from django_relay.models import ApiKey, AuditEntry, PortalSession
from django_relay.rules import access, tokens
from django_relay.rules.access import Caller
from tests.factories import make_api_key, make_application, make_link, make_portal_session
from tests.people import ALICE, CHARLIE
from tests.threads import together
from tests.tracebacks import Hidden, report

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def codes(caught):
    return {field: [error.code for error in errors] for field, errors in caught.value.error_dict.items()}


def authenticate(token, now=None):
    return ApiKey.objects.authenticate(token, now=now or timezone.now())


class TestIssue:
    def test_a_tenants_key_can_read_and_no_more_unless_said(self):
        key, token = ApiKey.objects.issue(tenant_id=ALICE.tenant_id)
        assert (key.application.slug, key.tenant_id, key.scopes, key.is_operator) == (
            "default",
            "acme",
            ["read"],
            False,
        )
        assert token.startswith(f"{key.prefix}_")
        assert key.hash == tokens.digest(token)

    def test_an_operators_key_has_no_tenant(self):
        key, _token = make_api_key(operator=True, scopes=["portal", "events:send"])
        assert (key.application, key.tenant_id, key.is_operator) == (None, "", True)

    def test_of_another_application(self):
        make_application("eu")
        key, _token = make_api_key(application="eu")
        assert key.application.slug == "eu"
        with pytest.raises(exceptions.UnknownApplication):
            make_api_key(application="us")

    @pytest.mark.parametrize("owner", [{}, {"tenant_id": None}, {"tenant_id": "acme", "operator": True}], ids=str)
    def test_a_tenant_that_is_missing_by_mistake_makes_no_operator(self, owner):
        with pytest.raises(ValidationError) as caught:
            ApiKey.objects.issue(**owner)
        assert codes(caught) == {"tenant_id": ["bad_tenant_id"]}

    def test_the_global_tenant_is_no_operator(self):
        key, token = ApiKey.objects.issue(tenant_id="")
        assert not key.is_operator
        assert not authenticate(token).caller().is_operator

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"scopes": []}, {"scopes": ["bad_scope"]}),
            ({"scopes": "read"}, {"scopes": ["bad_scope"]}),
            ({"scopes": ["read", "admin"]}, {"scopes": ["bad_scope"]}),
            ({"scopes": ["portal"]}, {"scopes": ["operator_scope"]}),
            ({"tenant_id": "a\x00"}, {"tenant_id": ["bad_tenant_id"]}),
            ({"tenant_id": "a" * 256}, {"tenant_id": ["max_length"]}),
            ({"name": "\ud800"}, {"name": ["bad_name"]}),
            ({"name": "a\x1b[2J"}, {"name": ["bad_name"]}),
            ({"name": "a" * 201}, {"name": ["max_length"]}),
        ],
        ids=ascii,
    )
    def test_what_is_wrong_is_said_by_field_and_nothing_is_stored(self, values, expected):
        with pytest.raises(ValidationError) as caught:
            ApiKey.objects.issue(**{"tenant_id": "acme", **values})
        assert codes(caught) == expected
        assert not ApiKey.objects.exists()
        assert not AuditEntry.objects.exists()

    def test_one_that_has_expired_already(self):
        now = timezone.now()
        with pytest.raises(ValidationError) as caught:
            make_api_key(expires_at=now, now=now)
        assert codes(caught) == {"expires_at": ["bad_expiry"]}

    def test_can_do_no_more_than_its_maker(self):
        maker = make_api_key(operator=True, scopes=["read", "write", "portal"])[0].caller()
        key, _token = make_api_key(scopes=["read", "write"], caller=maker)
        assert key.created_by == maker.actor
        for wanted in (["secrets"], ["events:send"]):
            with pytest.raises(exceptions.NotAllowed):
                make_api_key(operator=True, scopes=wanted, caller=maker)
        tenant = make_api_key(scopes=["read", "write"])[0].caller()
        with pytest.raises(exceptions.NotAllowed) as caught:
            make_api_key(scopes=["read"], caller=tenant)
        assert caught.value.code == "operator_only"

    def test_is_audited_without_token_and_hash(self):
        key, token = make_api_key(scopes=["write"], caller=Caller("staff:7", frozenset(access.SCOPES)))
        (entry,) = AuditEntry.objects.all()
        assert (entry.action, entry.actor, entry.object_id) == ("api_key.created", "staff:7", key.pk)
        assert entry.changes["scopes"] == {"after": ["write"]}
        assert token not in str(entry.__dict__)
        assert key.hash not in str(entry.__dict__)

    def test_the_database_refuses_an_operator_with_a_tenant(self):
        key, _token = make_api_key()
        with pytest.raises(IntegrityError), transaction.atomic():
            ApiKey.objects.filter(pk=key.pk).update(application=None)

    def test_a_key_changed_by_hand_is_held_to_the_rules(self):
        key, _token = make_api_key()
        key.scopes = ["portal"]
        with pytest.raises(ValidationError):
            key.save()


class TestAuthenticate:
    def test_the_key_of_the_token(self):
        key, token = make_api_key(scopes=["read", "write"])
        make_api_key(CHARLIE)
        assert authenticate(token) == key

    def test_nothing_else(self):
        key, token = make_api_key()
        last = "A" if token[-1] != "A" else "B"
        for wrong in (
            token[:-1] + last,
            key.prefix,
            key.hash,
            key.pk,
            token + " ",
            token.upper(),
            "",
            None,
            token.encode(),
        ):
            assert authenticate(wrong) is None
        unknown = tokens.generate(tokens.API_KEY, tokens.generate_public_part())
        assert authenticate(unknown) is None

    def test_no_portal_token(self):
        _link, link_token = make_link()
        _session, session_token = make_portal_session()
        assert authenticate(link_token) is None
        assert authenticate(session_token) is None

    def test_expires_to_the_moment(self):
        now = timezone.now()
        _key, token = make_api_key(expires_at=now + MINUTE, now=now)
        assert authenticate(token, now + MINUTE - timedelta(microseconds=1))
        assert authenticate(token, now + MINUTE) is None

    def test_a_revoked_key_is_refused_by_the_next_request(self):
        key, token = make_api_key()
        assert authenticate(token)
        assert ApiKey.objects.get(pk=key.pk).revoke()
        assert authenticate(token) is None

    def test_the_hash_is_compared_by_the_rules_alone(self):
        with CaptureQueriesContext(connection) as queries:
            authenticate(make_api_key()[1])
        (query,) = [query["sql"] for query in queries if query["sql"].startswith("SELECT") and "prefix" in query["sql"]]
        assert re.search(r'WHERE .*"prefix" = ', query)
        assert '"hash" =' not in query


@pytest.mark.django_db(transaction=True)
class TestUse:
    def test_costs_one_query_and_one_update_a_minute(self, django_assert_num_queries):
        now = timezone.now()
        key, token = make_api_key()
        with django_assert_num_queries(2):
            authenticate(token, now)
        with django_assert_num_queries(1):
            found = authenticate(token, now + MINUTE - timedelta(seconds=1))
            assert found.caller().application == "default"
        key.refresh_from_db()
        assert key.last_used_at == now
        with django_assert_num_queries(2):
            authenticate(token, now + MINUTE)
        key.refresh_from_db()
        assert key.last_used_at == now + MINUTE

    def test_a_refused_key_costs_one_query_and_one_that_is_none_costs_nothing(self, django_assert_num_queries):
        key, token = make_api_key()
        key.revoke()
        with django_assert_num_queries(1):
            authenticate(token)
        with django_assert_num_queries(0):
            authenticate("Bearer")
        key.refresh_from_db()
        assert key.last_used_at is None

    def test_a_long_transaction_that_uses_a_key_holds_up_nobody(self, backend):
        _key, token = make_api_key()
        if backend == "sqlite":
            pytest.skip("SQLite lets one transaction write at a time, whatever it writes")
        with transaction.atomic():
            assert authenticate(token)
            (other,) = together(lambda _number: authenticate(token), 1)  # would wait for a row that is locked
        assert isinstance(other, ApiKey)

    def test_twenty_at_once_are_all_let_in_and_note_it_once(self):
        key, token = make_api_key()
        now = timezone.now()
        assert together(lambda _number: authenticate(token, now), 20) == [key] * 20
        key.refresh_from_db()
        assert key.last_used_at == now


class TestCaller:
    def test_of_a_tenants_key(self):
        key, _token = make_api_key(scopes=["read", "write"])
        expected = Caller(f"key:{key.pk}", frozenset({"read", "write", "test"}), "default", "acme", "192.0.2.1")
        assert key.caller(address="192.0.2.1") == expected

    def test_of_an_operators_key(self):
        key, _token = make_api_key(operator=True, scopes=["events:send"])
        assert key.caller() == Caller(f"key:{key.pk}", frozenset({"events:send"}))


class TestRevoke:
    def test_happens_once_and_is_audited_once(self):
        key, _token = make_api_key()
        assert key.revoke(caller=Caller("staff:7", address="192.0.2.1"))
        first = key.revoked_at
        assert not key.revoke()
        assert key.revoked_at == first
        entry = AuditEntry.objects.get(action="api_key.revoked")
        assert (entry.actor, entry.address, entry.tenant_id) == ("staff:7", "192.0.2.1", "acme")

    def test_ends_the_portal_sessions_made_with_it(self):
        key, _token = make_api_key(operator=True, scopes=["portal"])
        mine, mine_token = make_portal_session(caller=key.caller())
        link, _link_token = make_link(caller=key.caller())
        _other, other_token = make_portal_session()
        key.revoke()
        now = timezone.now()
        assert PortalSession.objects.authenticate(mine_token, now=now) is None
        assert PortalSession.objects.authenticate(other_token, now=now)
        assert set(PortalSession.objects.filter(revoked_at__isnull=False)) == {mine, link}

    def test_several_at_once_revoke_it_once(self, transactional_db):
        key, _token = make_api_key()
        done = together(lambda _number: ApiKey.objects.get(pk=key.pk).revoke(), 8)
        assert sorted(done) == [False] * 7 + [True]
        assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


class TestQueries:
    def test_by_tenant_and_state(self):
        now = timezone.now()
        mine, _ = make_api_key()
        ended, _ = make_api_key(expires_at=now + MINUTE, now=now)
        make_api_key(CHARLIE)
        assert set(ApiKey.objects.for_tenant("acme")) == {mine, ended}
        assert set(ApiKey.objects.for_tenant("acme").live(now + MINUTE)) == {mine}
        assert not ApiKey.objects.for_tenant("acme", "eu").exists()


class TestNothingLeaks:
    def test_the_token_is_nowhere_but_in_what_is_returned(self, caplog, django_assert_num_queries):
        caplog.set_level("DEBUG")
        with CaptureQueriesContext(connection) as queries:
            key, token = make_api_key()
            authenticate(token)
            authenticate(token[:-1] + "_")
            key.revoke()
            authenticate(token)
        secret = token.rpartition("_")[2]
        places = [repr(key), str(key), str(key.__dict__), str(key.caller()), caplog.text, str(queries.captured_queries)]
        assert not [place for place in places if secret in place]
        assert secret.encode() not in pickle.dumps(key)
        for model in (ApiKey, AuditEntry):
            assert secret not in str(list(model.objects.values()))

    def test_error_reports_show_no_token(self):
        _key, token = make_api_key(expires_at=timezone.now() + MINUTE)
        hidden = Hidden(token)
        del token
        shown = report(lambda: ApiKey.objects.authenticate(hidden.value, now=None))
        assert "is_live" in shown
        assert hidden.value.rpartition("_")[2] not in shown
        shown = report(lambda: make_api_key(caller=Caller("staff:7")))
        assert "check_grant" in shown
        assert not re.search(tokens.SCANNER_PATTERN, shown)
