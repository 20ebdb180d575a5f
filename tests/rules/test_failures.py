import pytest

from django_relay.rules import access, failures
from django_relay.rules.failures import Failure
from django_relay.transport.base import ERROR_KINDS

TENANT = access.Caller("key:key_1", frozenset({"read"}), "default", "acme")
OPERATOR = access.Caller("key:key_2", frozenset({"read"}))


class TestWhatIsTold:
    def test_what_reached_nothing_looks_alike_to_a_tenant(self):
        seen = {
            failures.told(Failure(kind, f"10.1.2.3 {kind}", 1_000 * number), TENANT)
            for number, kind in enumerate(failures.UNREACHED)
        }
        (one,) = seen
        assert (one.kind, one.duration_ms) == ("unreachable", None)
        for hint in ("DNS", "port", "firewall", "certificate", "expired"):
            assert hint in one.words

    @pytest.mark.parametrize("kind", ["timeout", "local_error", "unknown", "new"])
    def test_other_kinds_keep_their_name_and_time_but_not_the_words_for_staff(self, kind):
        seen = failures.told(Failure(kind, "worker 7: no file descriptor", 12), TENANT)
        assert (seen.kind, seen.duration_ms) == (kind, 12)
        assert "worker 7" not in seen.words

    def test_answers_are_no_secret(self):
        answer = Failure("", "HTTP 503", 12)
        assert failures.told(answer, TENANT) == answer

    def test_an_operator_is_told_everything(self):
        for kind in ("", *ERROR_KINDS):
            facts = Failure(kind, "10.1.2.3 refused", 12)
            assert failures.told(facts, OPERATOR) == facts

    def test_every_kind_of_a_transport_is_known(self):
        assert {*failures.KINDS, "not_sent"} == {*ERROR_KINDS, failures.UNREACHABLE}


class TestKinds:
    def test_a_tenant_asks_for_all_that_looks_alike_or_for_none_of_it(self):
        assert set(failures.kinds("unreachable", TENANT)) == failures.UNREACHED
        assert failures.kinds("tls", TENANT) == ()
        assert failures.kinds("timeout", TENANT) == ("timeout",)

    def test_an_operator_asks_for_either(self):
        assert set(failures.kinds("unreachable", OPERATOR)) == failures.UNREACHED
        assert failures.kinds("tls", OPERATOR) == ("tls",)
