import ast
import inspect
import re
import time

import pytest

from django_relay import ids
from django_relay.rules import tokens

KEY = "rlk_0a1b2c3d4e5f_" + "A" * 43
SESSION_ID = ids.new("psess_").removeprefix("psess_")


class TestGenerate:
    @pytest.mark.parametrize(
        ("kind", "public"),
        [(tokens.API_KEY, "0a1b2c3d4e5f"), (tokens.PORTAL_LINK, SESSION_ID), (tokens.PORTAL_SESSION, SESSION_ID)],
        ids=["key", "link", "session"],
    )
    def test_says_its_kind_and_finds_its_row(self, kind, public):
        token = tokens.generate(kind, public)
        assert token.startswith(f"{kind}{public}_")
        assert tokens.public_part(token, kind=kind) == public
        for other in {tokens.API_KEY, tokens.PORTAL_LINK, tokens.PORTAL_SESSION} - {kind}:
            assert tokens.public_part(token, kind=other) is None

    def test_holds_256_bits_of_chance(self):
        secret = tokens.generate(tokens.API_KEY, "0a1b2c3d4e5f").rpartition("_")[2]
        assert len(secret) == 43
        assert 62**43 >= 2**256
        seen = "".join(tokens.generate(tokens.API_KEY, "0a1b2c3d4e5f").rpartition("_")[2] for _ in range(200))
        assert len(set(seen)) == 62
        assert len({tokens.generate_public_part() for _ in range(1_000)}) == 1_000

    def test_refuses_a_public_part_that_could_not_be_found_again(self):
        with pytest.raises(ValueError, match="public part"):
            tokens.generate(tokens.API_KEY, "UPPER")

    @pytest.mark.parametrize("kind", [tokens.API_KEY, tokens.PORTAL_LINK, tokens.PORTAL_SESSION])
    def test_secret_scanners_find_it_in_any_text(self, kind):
        token = tokens.generate(kind, "0a1b2c3d4e5f" if kind == tokens.API_KEY else SESSION_ID)
        assert re.findall(tokens.SCANNER_PATTERN, f'{{"key":"{token}"}} {token[:-1]} x{token}') == [token]


class TestPublicPart:
    @pytest.mark.parametrize(
        "token",
        [
            "", "null", "Bearer", None, 1, b"rlk_", KEY + "\n", KEY + " ", " " + KEY, KEY + "\x00", KEY[:-1], KEY + "A",
            KEY.upper(), KEY.replace("rlk_", "rlp_"), KEY.replace("A", "\u0661"), KEY.replace("0a", "\u0660a"), "rlk_0a1b2c3d4e5f",
            "a" * 1_000_000, tokens.digest(KEY),
        ],
        ids=lambda token: ascii(token)[:24],
    )  # fmt: skip
    def test_is_none_for_what_is_no_token(self, token):
        assert tokens.public_part(token, kind=tokens.API_KEY) is None

    def test_costs_nothing_for_a_megabyte(self):
        token = "rlk_" + "a" * 1_000_000
        began = time.perf_counter()
        for _ in range(1_000):
            tokens.public_part(token, kind=tokens.API_KEY)
        assert time.perf_counter() - began < 2


class TestMatches:
    def test_the_token_and_nothing_else(self):
        stored = tokens.digest(KEY)
        assert tokens.matches(KEY, stored)
        assert not tokens.matches(KEY[:-1] + "B", stored)
        assert not tokens.matches(stored, stored)
        assert not tokens.matches(KEY, tokens.NO_DIGEST)

    def test_what_is_stored_does_not_say_the_token(self):
        assert re.fullmatch("[0-9a-f]{64}", tokens.digest(KEY))

    @pytest.mark.parametrize("function", [tokens.matches, tokens.is_csrf_token])
    def test_secrets_are_compared_by_hmac_alone(self, function):
        tree = ast.parse(inspect.getsource(function))
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert "hmac.compare_digest" in calls
        compared = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Compare)]
        assert not [text for text in compared if "==" in text or " in " in text]


class TestCsrfToken:
    def test_is_of_its_session_alone(self):
        mine, other = (tokens.generate(tokens.PORTAL_SESSION, SESSION_ID) for _ in range(2))
        token = tokens.csrf_token(mine)
        assert tokens.is_csrf_token(token, mine)
        assert not tokens.is_csrf_token(token, other)
        assert mine.rpartition("_")[2] not in token

    def test_each_is_another_and_all_are_good(self):
        session = tokens.generate(tokens.PORTAL_SESSION, SESSION_ID)
        made = {tokens.csrf_token(session) for _ in range(20)}
        assert len(made) == 20
        assert all(tokens.is_csrf_token(token, session) for token in made)

    @pytest.mark.parametrize(
        "value", [None, "", ".", "a.b", "é.é", "a" * 1_000_000, 5, "\x00"], ids=lambda v: ascii(v)[:12]
    )
    def test_nothing_else_is_one(self, value):
        assert not tokens.is_csrf_token(value, tokens.generate(tokens.PORTAL_SESSION, SESSION_ID))
