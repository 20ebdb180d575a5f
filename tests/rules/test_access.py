import dataclasses

import pytest

from django_relay import exceptions
from django_relay.rules import access
from django_relay.rules.access import Caller, Member

WHAT_A_KEY_SCOPE_GRANTS = [
    # scope          read   write  test   replay secrets portal events:send
    ("read",        (True,  False, False, False, False, False, False)),
    ("write",       (False, True,  True,  False, False, False, False)),
    ("replay",      (False, False, False, True,  False, False, False)),
    ("secrets",     (False, False, False, False, True,  False, False)),
    ("portal",      (False, False, False, False, False, True,  False)),
    ("events:send", (False, False, False, False, False, False, True)),
]  # fmt: skip
WHAT_A_CAPABILITY_GRANTS = [
    ("view",        (True,  False, False, False, False, False, False)),
    ("endpoints",   (False, True,  False, False, False, False, False)),
    ("secrets",     (False, False, False, False, True,  False, False)),
    ("replay",      (False, False, False, True,  False, False, False)),
    ("test",        (False, False, True,  False, False, False, False)),
]  # fmt: skip


class TestTable:
    def test_knows_every_scope_and_capability(self):
        assert [scope for scope, _grants in WHAT_A_KEY_SCOPE_GRANTS] == list(access.KEY_SCOPES)
        assert [capability for capability, _grants in WHAT_A_CAPABILITY_GRANTS] == list(access.CAPABILITIES)
        assert set(access.GRANTED_BY_KEY_SCOPE) == set(access.KEY_SCOPES)
        assert set(access.GRANTED_BY_CAPABILITY) == set(access.CAPABILITIES)
        assert set(access.NEEDED_PERMISSIONS) == set(access.SCOPES)

    @pytest.mark.parametrize(("scope", "grants"), WHAT_A_KEY_SCOPE_GRANTS)
    def test_what_a_key_scope_grants(self, scope, grants):
        caller = Caller("key:1", access.granted([scope], access.GRANTED_BY_KEY_SCOPE))
        assert tuple(map(caller.may, access.SCOPES)) == grants

    @pytest.mark.parametrize(("capability", "grants"), WHAT_A_CAPABILITY_GRANTS)
    def test_what_a_capability_grants(self, capability, grants):
        caller = Caller("portal:1", access.granted([capability], access.GRANTED_BY_CAPABILITY), "default", "acme")
        assert tuple(map(caller.may, access.SCOPES)) == grants

    def test_no_capability_is_an_operators(self):
        assert not access.granted(access.CAPABILITIES, access.GRANTED_BY_CAPABILITY) & access.OPERATOR_SCOPES

    def test_names_out_of_place_grant_nothing(self):
        assert access.granted(["portal", "x"], access.GRANTED_BY_CAPABILITY) == frozenset()

    def test_cannot_be_changed_while_running(self):
        with pytest.raises(TypeError):
            access.GRANTED_BY_CAPABILITY["view"] = frozenset(access.SCOPES)


class TestCaller:
    def test_is_an_operator_or_a_tenants(self):
        assert Caller("key:1").is_operator
        assert not Caller("key:1", application="default", tenant_id="acme").is_operator
        assert not Caller("key:1", application="default", tenant_id="").is_operator

    @pytest.mark.parametrize("owner", [{"application": "default"}, {"tenant_id": "acme"}], ids=str)
    def test_has_both_an_application_and_a_tenant_or_neither(self, owner):
        with pytest.raises(ValueError, match="or neither"):
            Caller("key:1", **owner)

    @pytest.mark.parametrize("scope", sorted(access.OPERATOR_SCOPES))
    def test_of_a_tenant_cannot_be_built_with_an_operators_scope(self, scope):
        with pytest.raises(ValueError, match="operators"):
            Caller("key:1", frozenset({scope}), "default", "acme")

    def test_takes_no_scope_that_does_not_exist(self):
        with pytest.raises(ValueError, match="no scope raed"):
            Caller("key:1", frozenset({"raed"}))

    def test_a_mistyped_question_is_no_silent_refusal(self):
        with pytest.raises(ValueError, match="'wirte'"):
            access.SYSTEM.may("wirte")

    def test_require_says_what_is_missing(self):
        caller = Caller("key:1", frozenset({"read"}))
        caller.require("read")
        with pytest.raises(exceptions.NotAllowed, match="replay, secrets") as caught:
            caller.require("read", "replay", "secrets")
        assert caught.value.code == "scope_missing"

    def test_is_a_value(self):
        assert Caller("key:1") == Caller("key:1")
        with pytest.raises(dataclasses.FrozenInstanceError):
            Caller("key:1").tenant_id = "globex"

    def test_does_not_show_the_address(self):
        assert "192.0.2.1" not in repr(Caller("key:1", address="192.0.2.1"))

    @pytest.mark.parametrize("actor", ["key:key_1", "portal:psess_1", "user:42", "staff:7", "command:x", "system"])
    def test_kind_is_what_the_actor_begins_with(self, actor):
        assert Caller(actor).kind == actor.split(":")[0]


class TestKeyScopes:
    def test_each_once_in_one_order(self):
        assert access.validate_key_scopes(("write", "read", "write"), operator=False) == ["read", "write"]

    @pytest.mark.parametrize(
        "scopes", ["read", b"read", None, 5, [], ["raed"], [1], ["test"], {"read": 1}, ["read", None]], ids=str
    )
    def test_refused(self, scopes):
        with pytest.raises(exceptions.InvalidInput) as caught:
            access.validate_key_scopes(scopes, operator=True)
        assert caught.value.code == "bad_scope"
        assert "events:send" in str(caught.value)

    @pytest.mark.parametrize("scope", sorted(access.OPERATOR_SCOPES))
    def test_of_operators_are_not_for_tenants(self, scope):
        assert access.validate_key_scopes([scope], operator=True) == [scope]
        with pytest.raises(exceptions.InvalidInput) as caught:
            access.validate_key_scopes([scope], operator=False)
        assert caught.value.code == "operator_scope"


class TestCapabilities:
    def test_view_is_always_among_them(self):
        assert access.validate_capabilities(["test", "endpoints"]) == ["view", "endpoints", "test"]

    @pytest.mark.parametrize("capabilities", ["view", [], ["read"], None, [["view"]]], ids=str)
    def test_refused(self, capabilities):
        with pytest.raises(exceptions.InvalidInput) as caught:
            access.validate_capabilities(capabilities)
        assert caught.value.code == "bad_capability"


class TestGrant:
    def test_nobody_makes_a_key_that_can_do_more_than_they(self):
        caller = Caller("key:1", frozenset({"read", "write", "test"}))
        access.check_grant(caller, ["read", "write"], operator=True)
        with pytest.raises(exceptions.NotAllowed, match="secrets") as caught:
            access.check_grant(caller, ["read", "secrets"], operator=False)
        assert caught.value.code == "scope_missing"

    @pytest.mark.parametrize("operator", [True, False])
    def test_tenants_make_none(self, operator):
        caller = Caller("key:1", frozenset({"read"}), "default", "acme")
        with pytest.raises(exceptions.NotAllowed) as caught:
            access.check_grant(caller, ["read"], operator=operator)
        assert caught.value.code == "operator_only"


class TestMember:
    def test_may_everything_a_tenant_may_unless_said(self):
        assert Member("acme").capabilities == access.CAPABILITIES
        assert Member("acme", capabilities=(name for name in ["endpoints"])).capabilities == ("view", "endpoints")

    @pytest.mark.parametrize(
        "values", [{"tenant_id": None}, {"tenant_id": 5}, {"tenant_id": "a", "capabilities": ["x"]}], ids=str
    )
    def test_that_is_wrong_is_the_hosts_mistake(self, values):
        with pytest.raises(exceptions.RelayConfigurationError):
            Member(**values)
