import pickle
import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_relay import exceptions
from django_relay.models import AuditEntry, PortalSession
from django_relay.rules import access, tokens
from django_relay.rules.access import Caller
from tests.factories import make_api_key, make_application, make_link, make_portal_session
from tests.people import ALICE, CHARLIE
from tests.threads import together
from tests.tracebacks import Hidden, report

pytestmark = pytest.mark.django_db

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
RETURN_URL = "https://app.example.com/settings"


def portal(**values):
    usual = {"RETURN_URLS": ["https://app.example.com"], "LOGO_URLS": ["https://cdn.example.com"]}
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "PORTAL": {**usual, **values}})


def authenticate(token, now=None):
    return PortalSession.objects.authenticate(token, now=now or timezone.now())


def exchange(token, now=None, **values):
    return PortalSession.objects.exchange(token, now=now or timezone.now(), **values)


def unusable(token, now=None):
    with pytest.raises(exceptions.UnusableLink) as caught:
        exchange(token, now)
    return caught.value.code


class TestInvite:
    def test_lets_see_and_no_more_unless_said(self):
        session, token = PortalSession.objects.invite(tenant_id=ALICE.tenant_id)
        assert (session.application.slug, session.tenant_id, session.capabilities) == ("default", "acme", ["view"])
        assert session.link_hash == tokens.digest(token)
        assert (session.session_hash, session.used_at, session.created_by) == ("", None, "system")

    def test_takes_capabilities_theme_and_return_url(self):
        theme = {"accent": "#1a56db", "scheme": "dark", "logo_url": "https://cdn.example.com/a.svg"}
        make_application("eu")
        with portal():
            session, _token = make_link(
                application="eu", capabilities=["test", "endpoints"], theme=theme, return_url=RETURN_URL
            )
        session.refresh_from_db()
        assert session.capabilities == ["view", "endpoints", "test"]
        assert (session.theme["accent"], session.return_url) == ("#1a56db", RETURN_URL)

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"capabilities": ["admin"]}, {"capabilities": "bad_capability"}),
            ({"capabilities": []}, {"capabilities": "bad_capability"}),
            ({"theme": {"css": "x"}}, {"theme": "bad_theme"}),
            ({"theme": {"logo_url": "javascript:alert(1)"}}, {"theme": "bad_theme"}),
            ({"return_url": "https://evil.example.com"}, {"return_url": "bad_return_url"}),
            ({"return_url": "//evil.example.com"}, {"return_url": "bad_return_url"}),
            ({"return_url": "/\\evil.example.com"}, {"return_url": "bad_return_url"}),
            ({"return_url": "javascript:alert(1)"}, {"return_url": "bad_return_url"}),
            ({"return_url": "data:text/html,x"}, {"return_url": "bad_return_url"}),
            ({"return_url": 5}, {"return_url": "bad_return_url"}),
            ({"tenant_id": "a\x00"}, {"tenant_id": "bad_tenant_id"}),
            ({"tenant_id": None}, {"tenant_id": "bad_tenant_id"}),
            ({"expires_in_seconds": 59}, {"expires_in_seconds": "bad_expiry"}),
            ({"expires_in_seconds": 28_801}, {"expires_in_seconds": "bad_expiry"}),
            ({"expires_in_seconds": "600"}, {"expires_in_seconds": "bad_expiry"}),
            ({"expires_in_seconds": True}, {"expires_in_seconds": "bad_expiry"}),
        ],
        ids=ascii,
    )
    def test_what_is_wrong_is_said_by_field_and_nothing_is_stored(self, values, expected):
        with portal(), pytest.raises(ValidationError) as caught:
            make_link(**values)
        assert {field: errors[0].code for field, errors in caught.value.error_dict.items()} == expected
        assert not PortalSession.objects.exists()
        assert not AuditEntry.objects.exists()

    def test_a_session_changed_by_hand_is_held_to_the_rules(self):
        session, _link = make_link()
        session.return_url = "https://evil.example.com"
        with pytest.raises(ValidationError):
            session.save()

    def test_an_unknown_application(self):
        with pytest.raises(exceptions.UnknownApplication):
            make_link(application="eu")

    def test_is_for_those_who_may(self):
        tenant = Caller("key:1", frozenset({"read"}), "default", "acme")
        for caller in (tenant, Caller("key:1", frozenset({"read", "write"})), make_portal_session()[0].caller()):
            with pytest.raises(exceptions.NotAllowed):
                make_link(caller=caller)

    def test_staff_give_no_more_than_they_may(self):
        staff = Caller("staff:7", frozenset({"read", "portal"}))
        session, _token = make_link(caller=staff)
        assert session.opened_as_staff
        with pytest.raises(exceptions.NotAllowed, match="write"):
            make_link(caller=staff, capabilities=["endpoints"])

    def test_a_key_that_makes_links_and_no_more_gives_what_it_likes(self):
        key, _token = make_api_key(operator=True, scopes=["portal"])
        session, _token = make_link(caller=key.caller(), capabilities=access.CAPABILITIES)
        assert (session.created_by, session.opened_as_staff) == (f"key:{key.pk}", False)

    def test_is_audited(self):
        session, _token = make_link(caller=Caller("staff:7", frozenset(access.SCOPES), address="192.0.2.1"))
        (entry,) = AuditEntry.objects.for_tenant("acme")
        assert (entry.action, entry.actor, entry.object_id, entry.address) == (
            "portal_session.created",
            "staff:7",
            session.pk,
            "192.0.2.1",
        )


class TestExchange:
    def test_gives_the_session_and_a_token_of_its_own(self):
        session, link = make_link()
        opened, token = exchange(link)
        assert opened == session
        assert token not in (link, "")
        assert authenticate(token) == session
        assert authenticate(link) is None

    def test_works_once(self):
        _session, link = make_link()
        exchange(link)
        assert unusable(link) == "link_used"

    def test_to_the_moment(self):
        now = timezone.now()
        _session, link = make_link(now=now)
        assert unusable(link, now + 10 * MINUTE) == "link_expired"
        assert exchange(link, now + 10 * MINUTE - timedelta(microseconds=1))

    def test_never_later_than_ten_minutes_whatever_the_setting(self):
        now = timezone.now()
        with portal(LINK_SECONDS=86_400):
            session, _link = make_link(now=now)
        assert session.link_expires_at == now + 10 * MINUTE
        with portal(LINK_SECONDS=30):
            assert make_link(now=now)[0].link_expires_at == now + 30 * SECOND

    def test_a_link_outlives_no_session(self):
        now = timezone.now()
        assert make_link(now=now, expires_in_seconds=60)[0].link_expires_at == now + MINUTE

    def test_a_revoked_link(self):
        session, link = make_link()
        assert session.revoke()
        assert unusable(link) == "link_revoked"

    def test_unknown_links_look_alike(self):
        session, link = make_link()
        changed = link[:-1] + ("A" if link[-1] != "A" else "B")
        unknown = tokens.generate(tokens.PORTAL_LINK, make_link()[0].pk.removeprefix("psess_"))
        PortalSession.objects.exclude(pk=session.pk).delete()
        too_big = tokens.generate(tokens.PORTAL_LINK, "8" + "z" * 25)
        _opened, session_token = make_portal_session()
        wrong = (
            "",
            None,
            link.upper(),
            link + "=",
            changed,
            unknown,
            too_big,
            session.link_hash,
            session_token,
            make_api_key()[1],
        )
        assert {unusable(token) for token in wrong} == {"link_unknown"}

    def test_says_where_to_go_back_to_once_the_link_is_known(self):
        now = timezone.now()
        with portal():
            _session, link = make_link(return_url=RETURN_URL, now=now)
        with pytest.raises(exceptions.UnusableLink) as expired:
            exchange(link, now + HOUR)
        assert (expired.value.return_url, "new one" in str(expired.value)) == (RETURN_URL, True)
        with pytest.raises(exceptions.UnusableLink) as unknown:
            exchange(link[:-1] + "_", now)
        assert unknown.value.return_url == ""

    def test_is_audited_with_the_address(self):
        session, link = make_link()
        exchange(link, address="2001:db8::1")
        entry = AuditEntry.objects.get(action="portal_session.used")
        assert (entry.actor, entry.address, entry.tenant_id) == (f"portal:{session.pk}", "2001:db8::1", "acme")

    @pytest.mark.parametrize("isolated", [False, True], ids=["autocommit", "in a transaction"])
    def test_of_twenty_at_once_exactly_one_wins(self, transactional_db, isolated):
        _session, link = make_link()
        now = timezone.now()

        def try_it(_number):
            from django.db import transaction

            if not isolated:
                return exchange(link, now)
            with transaction.atomic():
                return exchange(link, now)

        done = together(try_it, 20)
        winners = [result for result in done if isinstance(result, tuple)]
        losers = [result for result in done if not isinstance(result, tuple)]
        assert len(winners) == 1, losers
        assert {(type(loser), loser.code) for loser in losers} == {(exceptions.UnusableLink, "link_used")}
        ((session, token),) = winners
        assert authenticate(token, now) == session
        assert AuditEntry.objects.filter(action="portal_session.used").count() == 1


class TestAuthenticate:
    def test_not_before_the_link_was_used(self):
        session, _link = make_link()
        forged = tokens.generate(tokens.PORTAL_SESSION, session.pk.removeprefix("psess_"))
        assert authenticate(forged) is None

    def test_no_key_and_no_other_token(self):
        session, token = make_portal_session()
        last = "A" if token[-1] != "A" else "B"
        for wrong in (token[:-1] + last, session.session_hash, session.pk, make_api_key()[1], "", None):
            assert authenticate(wrong) is None

    def test_ends_when_nothing_was_asked_for_half_an_hour(self):
        now = timezone.now()
        _session, token = make_portal_session(now=now)
        assert authenticate(token, now + 30 * MINUTE - SECOND)
        _session, token = make_portal_session(now=now)
        assert authenticate(token, now + 30 * MINUTE) is None

    def test_use_keeps_it_open_but_not_beyond_eight_hours(self, transactional_db):
        now = timezone.now()
        _session, token = make_portal_session(now=now)
        at = now
        while at + 29 * MINUTE < now + 8 * HOUR:
            at += 29 * MINUTE
            assert authenticate(token, at), at - now
        assert authenticate(token, now + 8 * HOUR) is None

    def test_how_long_is_a_setting(self):
        now = timezone.now()
        with portal(IDLE_SECONDS=120, SESSION_SECONDS=600):
            session, token = make_portal_session(now=now)
            assert authenticate(token, now + 119 * SECOND)
            assert session.ends_at() == now + 120 * SECOND
        assert session.expires_at == now + 10 * MINUTE

    def test_ends_with_its_life_counted_from_the_link(self):
        now = timezone.now()
        _session, link = make_link(now=now, expires_in_seconds=300)
        _session, token = exchange(link, now + 2 * MINUTE)
        assert authenticate(token, now + 5 * MINUTE - SECOND)
        assert authenticate(token, now + 5 * MINUTE) is None

    def test_a_revoked_session_is_refused_by_the_next_request(self):
        session, token = make_portal_session()
        assert authenticate(token)
        assert PortalSession.objects.get(pk=session.pk).revoke()
        assert authenticate(token) is None

    def test_an_ended_session_can_still_say_where_to_go(self):
        with portal():
            session, token = make_portal_session(return_url=RETURN_URL)
        session.revoke()
        assert PortalSession.objects.find(token).return_url == RETURN_URL
        assert PortalSession.objects.find(token[:-1] + "_") is None

    def test_costs_one_query_and_one_update_a_minute(self, transactional_db, django_assert_num_queries):
        now = timezone.now()
        session, token = make_portal_session(now=now)
        with django_assert_num_queries(1):
            assert authenticate(token, now + 59 * SECOND).caller().application == "default"
        with django_assert_num_queries(2):
            authenticate(token, now + 60 * SECOND)
        session.refresh_from_db()
        assert session.seen_at == now + 60 * SECOND

    def test_the_token_of_another_tenants_session_is_that_sessions(self):
        mine, mine_token = make_portal_session(ALICE)
        other, other_token = make_portal_session(CHARLIE)
        assert (authenticate(mine_token), authenticate(other_token)) == (mine, other)
        swapped = f"rls_{mine.pk.removeprefix('psess_')}_{other_token.rpartition('_')[2]}"
        assert authenticate(swapped) is None


class TestCaller:
    def test_is_of_one_tenant_with_what_its_capabilities_grant(self):
        session, _token = make_portal_session(capabilities=["endpoints", "replay"])
        expected = Caller(
            f"portal:{session.pk}", frozenset({"read", "write", "replay"}), "default", "acme", "192.0.2.1"
        )
        assert session.caller(address="192.0.2.1") == expected


class TestRevoke:
    def test_happens_once_and_is_audited_once(self):
        session, _token = make_portal_session()
        assert session.revoke(caller=Caller("staff:7"))
        assert session.revoked_at is not None
        assert not session.revoke()
        assert AuditEntry.objects.get(action="portal_session.revoked").actor == "staff:7"

    def test_all_of_a_tenant_and_of_nobody_else(self):
        make_application("eu")
        _mine, mine_token = make_portal_session()
        _link, link = make_link()
        _other, other_token = make_portal_session(CHARLIE)
        _eu, eu_token = make_portal_session(application="eu")
        assert PortalSession.objects.for_tenant("acme").revoke_all() == 2
        assert PortalSession.objects.for_tenant("acme").revoke_all() == 0
        assert authenticate(mine_token) is None
        assert unusable(link) == "link_revoked"
        assert authenticate(other_token)
        assert authenticate(eu_token)
        assert AuditEntry.objects.filter(action="portal_session.revoked").count() == 2

    def test_what_has_ended_is_left_alone(self):
        now = timezone.now()
        make_link(now=now - HOUR)
        make_portal_session(now=now - 9 * HOUR)
        assert PortalSession.objects.revoke_all(now=now) == 0

    def test_wins_against_exchanges_at_the_same_time_or_loses_cleanly(self, transactional_db):
        session, link = make_link()
        now = timezone.now()

        def act(number):
            return PortalSession.objects.for_tenant("acme").revoke_all(now=now) if number == 0 else exchange(link, now)

        revoked, *_exchanges = together(act, 6)
        assert revoked == 1
        session.refresh_from_db()
        assert session.revoked_at == now


class TestNothingLeaks:
    def test_the_tokens_are_nowhere_but_in_what_is_returned(self, caplog):
        caplog.set_level("DEBUG")
        with CaptureQueriesContext(connection) as queries:
            _session, link = make_link()
            session, token = exchange(link)
            authenticate(token)
            with pytest.raises(exceptions.UnusableLink) as used:
                exchange(link)
            session.revoke()
        places = [
            *(repr(session), str(session), str(session.__dict__), str(session.caller())),
            *(caplog.text, str(queries.captured_queries), str(used.value), repr(used.value)),
            *(str(list(model.objects.values())) for model in (PortalSession, AuditEntry)),
        ]
        for secret in (link.rpartition("_")[2], token.rpartition("_")[2]):
            assert not [place for place in places if secret in place]
            assert secret.encode() not in pickle.dumps(session)

    def test_error_reports_show_no_token(self):
        link = Hidden(make_link()[1])
        session = Hidden(make_portal_session()[1])
        calls = [
            lambda: PortalSession.objects.exchange(link.value, now=None),
            lambda: PortalSession.objects.authenticate(session.value, now=None),
            lambda: make_link(caller=Caller("staff:7", frozenset({"portal"})), capabilities=["replay"]),
        ]
        for call in calls:
            assert not re.search(tokens.SCANNER_PATTERN, report(call))
