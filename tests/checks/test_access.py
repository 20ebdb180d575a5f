import pytest
from django.conf import settings
from django.test import override_settings

from django_relay import checks, conf
from django_relay.checks import access


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


def ids(found):
    return [message.id.removeprefix("django_relay.") for message in found]


class TestPortal:
    def test_the_defaults_are_fine(self):
        for values in ({}, {"PORTAL": {}}):
            with relay(**values):
                assert access.check_portal(None) == []

    def test_keys_that_are_left_out_keep_their_defaults(self):
        with relay(PORTAL={"IDLE_SECONDS": 300}):
            assert conf.settings.PORTAL["IDLE_SECONDS"] == 300
            assert conf.settings.PORTAL["LINK_SECONDS"] == 600

    def test_an_unknown_key_gets_a_near_miss(self):
        with relay(PORTAL={"FRAME_ANCESTOR": [], "ZZZ": 1}):
            near, far = access.check_portal(None)
        assert (near.id, near.hint) == ("django_relay.E060", "Did you mean 'FRAME_ANCESTORS'?")
        assert (far.id, far.hint) == ("django_relay.E060", None)

    @pytest.mark.parametrize(
        "values",
        [
            {"LINK_SECONDS": 601},
            {"LINK_SECONDS": 0},
            {"LINK_SECONDS": "600"},
            {"LINK_SECONDS": True},
            {"IDLE_SECONDS": 119},
            {"IDLE_SECONDS": None},
            {"IDLE_SECONDS": 900, "SESSION_SECONDS": 600},
            {"SESSION_SECONDS": 0},
            {"SESSION_SECONDS": 10**9},
            {"RETURN_URLS": "https://app.example.com"},
            {"RETURN_URLS": ["http://app.example.com"]},
            {"RETURN_URLS": ["app.example.com"]},
            {"RETURN_URLS": ["https://*.example.com"]},
            {"RETURN_URLS": [None]},
            {"LOGO_URLS": ["https://cdn.example.com/?x"]},
            {"FRAME_ANCESTORS": ["*"]},
            {"FRAME_ANCESTORS": ["https://app.example.com/"]},
            {"FRAME_ANCESTORS": ["https://app.example.com; script-src *"]},
            {"FRAME_ANCESTORS": ["http://localhost:8000"]},
            {"ORIGIN": "app.example.com"},
            {"ORIGIN": "http://app.example.com"},
            {"ORIGIN": "https://app.example.com/webhooks"},
            {"ORIGIN": "https://app.example.com?x"},
            {"ORIGIN": None},
            {"SOURCE_ADDRESSES": ["192.0.2.300"]},
            {"SOURCE_ADDRESSES": [1]},
            {"SOURCE_ADDRESSES": "192.0.2.1"},
        ],
        ids=str,
    )
    def test_wrong_values(self, values):
        with relay(PORTAL=values):
            (error,) = access.check_portal(None)
        assert error.id == "django_relay.E061"
        assert next(iter(values)) in error.msg

    def test_what_is_allowed(self):
        values = {
            "LINK_SECONDS": 60,
            "IDLE_SECONDS": 600,
            "SESSION_SECONDS": 3_600,
            "RETURN_URLS": ("https://app.example.com/settings", "http://127.0.0.1:8000"),
            "LOGO_URLS": ["https://cdn.example.com"],
            "FRAME_ANCESTORS": ["https://app.example.com", "https://localhost:8443"],
            "ORIGIN": "https://app.example.com",
            "SOURCE_ADDRESSES": ["192.0.2.1", "192.0.2.0/28", "2001:db8::/48"],
        }
        with relay(PORTAL=values):
            assert access.check_portal(None) == []

    @pytest.mark.parametrize("origin", ["", "https://app.example.com/", "http://localhost:8000"])
    def test_what_links_may_begin_with(self, origin):
        with relay(PORTAL={"ORIGIN": origin}):
            assert access.check_portal(None) == []

    @pytest.mark.parametrize("values", [{"IDLE_SECONDS": 1_801}, {"SESSION_SECONDS": 28_801}], ids=str)
    def test_long_sessions_are_warned_of(self, values):
        with relay(PORTAL=values):
            assert ids(access.check_portal(None)) == ["W060"]

    @pytest.mark.parametrize("value", [None, [], "x", 5], ids=repr)
    def test_what_is_no_dict_is_said_once(self, value):
        with relay(PORTAL=value, API_THROTTLES=value):
            assert [*access.check_portal(None), *access.check_throttles(None)] == []
            assert ids(checks.check_settings(None)) == ["E002", "E002"]


class TestThrottles:
    def test_fine(self):
        for values in ({}, {"tenant": "10/second"}, {"operator": None, "tenant": None}):
            with relay(API_THROTTLES=values):
                assert access.check_throttles(None) == []

    def test_an_unknown_key_gets_a_near_miss(self):
        with relay(API_THROTTLES={"tenants": "1/day"}):
            (error,) = access.check_throttles(None)
        assert (error.id, error.hint) == ("django_relay.E060", "Did you mean 'tenant'?")

    @pytest.mark.parametrize("rate", ["", "10", "10/m", "0/minute", 10, ["1/day"]], ids=repr)
    def test_a_rate_that_cannot_be_read(self, rate):
        with relay(API_THROTTLES={"tenant": rate}):
            assert ids(access.check_throttles(None)) == ["E061"]

    def test_guessing_without_end_is_warned_of(self):
        with relay(API_THROTTLES={"failed": None}):
            assert ids(access.check_throttles(None)) == ["W061"]


class TestResolver:
    @pytest.mark.parametrize(
        "resolver",
        [None, lambda request: None, "tests.models.test_callers.everybody_is_acme"],
        ids=["none", "callable", "path"],
    )
    def test_fine(self, resolver):
        with relay(TENANT_RESOLVER=resolver):
            assert access.check_resolver(None) == []
            assert checks.check_settings(None) == []

    @pytest.mark.parametrize("resolver", ["no.such.resolver", "nodots", "django_relay.ids.hashlib"])
    def test_what_cannot_be_called(self, resolver):
        with relay(TENANT_RESOLVER=resolver):
            assert ids(access.check_resolver(None)) == ["E062"]
