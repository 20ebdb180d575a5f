import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_relay.rules import changes, signing, texts, tokens

SECRET = signing.generate_secret()
TOKEN = tokens.generate(tokens.API_KEY, "0a1b2c3d4e5f")


class TestDifference:
    def test_tells_what_differs_before_and_after(self):
        before = {"enabled": True, "url": "https://a.example/", "rate_limit": 5}
        after = {"enabled": False, "url": "https://a.example/", "rate_limit": 5}
        assert changes.difference(before, after) == {"enabled": {"before": True, "after": False}}

    def test_what_was_made_has_no_before_and_what_was_deleted_no_after(self):
        assert changes.difference(None, {"name": "a"}) == {"name": {"after": "a"}}
        assert changes.difference({"name": "a"}, None) == {"name": {"before": "a"}}
        assert changes.difference(None, None) == {}

    def test_of_secrets_only_that_they_changed(self):
        before = {"headers": {"X-Key": "one"}, "secret": "a", "payload": "{}"}
        after = {"headers": {"X-Key": "two"}, "secret": "b", "payload": "{}"}
        assert changes.difference(before, after) == {"headers": "changed", "secret": "changed"}

    @pytest.mark.parametrize("field", sorted(changes.SECRET_FIELDS))
    def test_no_secret_field_at_any_depth(self, field):
        told = changes.difference({}, {field: "hidden", "metadata": {"deep": [{field: "hidden"}]}})
        assert "hidden" not in json.dumps(told)

    @pytest.mark.parametrize("secret", [SECRET, TOKEN, signing.generate_secret("v1a")], ids=["whsec", "rlk", "whsk"])
    def test_no_secret_that_somebody_put_elsewhere(self, secret):
        told = changes.difference(
            {"description": "x"}, {"description": f"mine is {secret}, ok", "metadata": {"k": [secret]}}
        )
        assert secret not in json.dumps(told, ensure_ascii=False)
        assert told["description"]["after"] == "mine is …, ok"

    def test_no_query_of_a_url(self):
        told = changes.difference({"url": "https://a.example/x"}, {"url": "https://a.example/x?token=hidden"})
        assert told == {"url": {"before": "https://a.example/x", "after": "https://a.example/x?…"}}

    def test_what_is_long_is_not_kept(self):
        assert changes.difference({}, {"description": "a" * 2_000}) == {"description": "changed"}

    def test_values_become_json(self):
        moment = datetime(2026, 11, 22, 12, tzinfo=UTC)
        told = changes.difference(
            {}, {"a": moment, "b": Decimal("1.50"), "c": timedelta(minutes=1), "d": ("x",), "e": float("nan")}
        )
        assert json.loads(json.dumps(told, allow_nan=False)) == {
            "a": {"after": "2026-11-22T12:00:00+00:00"},
            "b": {"after": "1.50"},
            "c": {"after": "0:01:00"},
            "d": {"after": ["x"]},
            "e": {"after": "nan"},
        }

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda part: st.lists(part) | st.dictionaries(st.text(), part),
            max_leaves=8,
        )
    )
    def test_every_database_can_hold_it(self, value):
        told = changes.difference({}, {"field": value})
        assert texts.is_storable_json(told)
        json.dumps(told, allow_nan=False)
