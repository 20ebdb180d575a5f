import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_relay.models import ApiKey, AuditEntry
from tests.factories import make_api_key, make_application

pytestmark = pytest.mark.django_db


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    call_command("relay_api_keys", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def refused(*arguments):
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return str(caught.value)


class TestCreate:
    def test_prints_the_key_alone_on_stdout(self):
        out, err = run("create", "--tenant", "t1", "--scopes", "read,write", "--name", "CI")
        key = ApiKey.objects.authenticate(out.removesuffix("\n"), now=timezone.now())
        assert (key.tenant_id, key.scopes, key.name, key.expires_at) == ("t1", ["read", "write"], "CI", None)
        assert key.created_by == "command:relay_api_keys"
        assert out.strip() not in err
        assert key.pk in err
        assert "default/t1" in err

    def test_of_an_operator_and_of_another_application(self):
        make_application("eu")
        run("create", "--operator", "--scopes", "portal, events:send")
        run("create", "--tenant", "t1", "--application", "eu")
        operator, tenant = ApiKey.objects.order_by("created_at")
        assert (operator.is_operator, operator.scopes) == (True, ["portal", "events:send"])
        assert (tenant.application.slug, tenant.scopes) == ("eu", ["read"])

    @pytest.mark.parametrize(("life", "expected"), [("12h", 0.5), ("30d", 30), ("2w", 14)])
    def test_for_a_time(self, life, expected):
        run("create", "--tenant", "t1", "--expires", life)
        key = ApiKey.objects.get()
        assert key.expires_at - key.created_at == timedelta(days=expected)

    def test_is_audited(self):
        run("create", "--tenant", "t1")
        assert AuditEntry.objects.get().actor == "command:relay_api_keys"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--tenant", "t1", "--scopes", "raed"], "no scope 'raed'"),
            (["--tenant", "t1", "--scopes", ""], "Give a list of read, write"),
            (["--tenant", "t1", "--scopes", "portal"], "only an operator's can"),
            (["--tenant", "t1", "--application", "eu"], "no application 'eu'"),
            (["--tenant", "t1", "--expires", "soon"], "12h, 30d, 52w"),
            (["--tenant", "t1", "--expires", "0d"], "12h, 30d, 52w"),
            (["--tenant", "t1", "--operator"], "not allowed with"),
            ([], "--tenant --operator is required"),
        ],
        ids=str,
    )
    def test_what_cannot_be_made_is_said(self, arguments, said):
        assert said in refused("create", *arguments)
        assert not ApiKey.objects.exists()


class TestList:
    def test_shows_a_line_a_key_and_no_token(self):
        mine, mine_token = make_api_key(name="CI", scopes=["read", "replay"])
        operator, operator_token = make_api_key(operator=True)
        operator.revoke()
        out, _err = run("list")
        header, first, second = out.splitlines()
        assert header.split() == [
            "id",
            "prefix",
            "owner",
            "scopes",
            "name",
            "state",
            "created_at",
            "expires_at",
            "last_used_at",
        ]
        assert first.split()[:6] == [mine.pk, mine.prefix, "default/acme", "read,", "replay", "CI"]
        assert " live " in first
        assert second.split()[:5] == [operator.pk, operator.prefix, "operator", "read", "revoked"]
        for token in (mine_token, operator_token):
            assert token.rpartition("_")[2] not in out
        assert mine.hash not in out

    def test_as_json_and_of_one_tenant(self):
        now = timezone.now()
        key, _token = make_api_key(expires_at=now, now=now - timedelta(days=1))
        make_api_key(operator=True)
        make_api_key(tenant_id="other")
        (row,) = json.loads(run("list", "--tenant", "acme", "--format", "json")[0])
        assert (row["id"], row["state"], row["scopes"], row["last_used_at"]) == (key.pk, "expired", ["read"], "never")

    def test_a_tenants_name_does_not_steer_the_terminal(self):
        make_api_key(tenant_id="a\x1b[2J\nb")
        out, _err = run("list")
        assert "\x1b" not in out
        assert len(out.splitlines()) == 2

    def test_none(self):
        assert len(run("list")[0].splitlines()) == 1
        assert json.loads(run("list", "--format", "json")[0]) == []


class TestRevoke:
    @pytest.mark.parametrize("by", ["id", "prefix", "token"])
    def test_by_id_by_prefix_or_by_a_key_that_has_leaked(self, by):
        key, token = make_api_key()
        _out, err = run("revoke", {"id": key.pk, "prefix": key.prefix, "token": token}[by])
        assert "is revoked" in err
        assert token not in err
        assert ApiKey.objects.authenticate(token, now=timezone.now()) is None

    def test_twice(self):
        key, _token = make_api_key()
        run("revoke", key.pk)
        assert "was revoked already" in run("revoke", key.pk)[1]

    @pytest.mark.parametrize(
        "given",
        ["key_x", "rlk_x", "", "x" * 10_000, "rlk_0a1b2c3d4e5f_" + "A" * 43, "a\x00"],
        ids=lambda g: ascii(g)[:20],
    )
    def test_what_is_no_key_is_not_repeated(self, given):
        message = refused("revoke", given)
        assert "no such key" in message
        assert not given or given not in message
