import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_relay import exceptions
from django_relay.rules import origins

LISTED = ["https://app.example.com/settings", "https://www.example.com", "http://localhost:8000"]


class TestIsListed:
    @pytest.mark.parametrize(
        "url",
        [
            "https://app.example.com/settings",
            "https://app.example.com/settings/",
            "https://app.example.com/settings/webhooks?tab=1#top",
            "https://app.example.com:443/settings",
            "https://app.example.com/settings?x=/../",
            "https://www.example.com",
            "https://www.example.com/",
            "https://www.example.com/any/thing",
            "https://www.example.com?x=1",
            "http://localhost:8000/portal",
        ],
    )
    def test_at_or_below_an_entry(self, url):
        assert origins.is_listed(url, LISTED)

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example.com",
            "//evil.example.com",
            "/\\evil.example.com",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://app.example.com",
            "https://app.example.com/",
            "https://app.example.com/settings-of-others",
            "https://app.example.com/settings/../admin",
            "https://app.example.com/settings/%2e%2e/admin",
            "https://app.example.com/settings/%2E./admin",
            "https://app.example.com/settings/..",
            "https://app.example.com/settings\\..\\admin",
            "https://app.example.com:8443/settings",
            "http://app.example.com/settings",
            "http://www.example.com/",
            "https://www.example.com.evil.example",
            "https://www.example.com@evil.example",
            "https://user@www.example.com/",
            "https://www.example.com:70000/",
            "https://www.example.com:0/",
            "https:/www.example.com/",
            "https:www.example.com/",
            "https:///www.example.com/",
            "HTTPS://www.example.com/",
            "https://WWW.example.com/",
            "https://www.example.com./",
            "https://www.example.com/ ",
            " https://www.example.com/",
            "https://www.example.com/\n",
            "https://www.example.com/\x00",
            "https://www.example.com/é",
            "https://www。example.com/",
            "https://www.example.com/%zz",
            "http://localhost:8001/",
            "",
            None,
            b"https://www.example.com/",
            "https://www.example.com/" + "a" * 2_048,
        ],
        ids=lambda url: ascii(url)[:60],
    )
    def test_nothing_else(self, url):
        assert not origins.is_listed(url, LISTED)

    @pytest.mark.parametrize(
        "listings", [[], ["*"], ["https://*.example.com"], ["https://www.example.com/?a"], [None]], ids=str
    )
    def test_an_entry_that_is_wrong_allows_nothing(self, listings):
        assert not origins.is_listed("https://www.example.com/", listings)

    @given(st.text(alphabet="htps:/\\@.#?%2eawxmplco\n\t ", max_size=40))
    def test_whatever_follows_an_origin_stays_in_it(self, tail):
        url = f"https://www.example.com{tail}"
        if origins.is_listed(url, ["https://www.example.com"]):
            assert tail == "" or tail[0] in "/?#"
            assert not set(tail) & set("\\\n\t ")


class TestOrigin:
    @pytest.mark.parametrize("origin", ["https://app.example.com", "https://localhost:8443", "https://[::1]:9443"])
    def test_fine(self, origin):
        assert origins.parse_origin(origin) == origin

    @pytest.mark.parametrize(
        "origin",
        ["*", "https://*", "https://*.example.com", "http://localhost:1", "https://a.example/", "https://a.example;", "'self'", "https:", "https://a.example https://b.example", "https://a.example\n", None],
        ids=ascii,
    )  # fmt: skip
    def test_refused(self, origin):
        with pytest.raises(exceptions.InvalidInput) as caught:
            origins.parse_origin(origin)
        assert caught.value.code == "bad_origin"


class TestListing:
    @pytest.mark.parametrize("text", ["https://a.example/?x", "https://a.example/#x", "http://a.example", "a.example"])
    def test_refused(self, text):
        with pytest.raises(exceptions.InvalidInput) as caught:
            origins.parse_listing(text)
        assert caught.value.code == "bad_url"

    def test_http_is_for_this_machine(self):
        for host in ("localhost", "app.localhost", "127.0.0.1", "[::1]"):
            assert origins.parse_listing(f"http://{host}:8000/").origin == f"http://{host}:8000"
