import json
from decimal import Decimal
from functools import partial

import pytest

from django_relay import exceptions
from django_relay.rules import bodies, payloads

encode = partial(payloads.encode, max_bytes=1_000, max_depth=8, convert=str)


class TestNumbers:
    @pytest.mark.parametrize("text", ["1.10", "1.0", "-0.0", "1e2", "1E+2", "-1.50e-3", "0.1", "9007199254740993"])
    def test_that_were_read_are_written_as_they_were(self, text):
        value = bodies.read(f'{{"a": [ {text} , "é\\n1.10"], "b": {text}}}'.encode(), max_depth=8)
        assert value["b"] == json.loads(text)
        assert encode(value) == f'{{"a":[{text},"é\\n1.10"],"b":{text}}}'

    def test_of_the_hosts_are_written_as_ever(self):
        assert encode({"a": 1.10, "b": Decimal("1.10"), "c": 1e2}) == '{"a":1.1,"b":"1.10","c":100.0}'

    def test_that_are_spelled_are_held_to_the_same_limits(self):
        with pytest.raises(exceptions.InvalidPayload) as caught:
            encode([payloads.Spelled("1.10")] * 1_000)
        assert caught.value.code == "too_large"
        assert encode({"a": [payloads.Spelled("1.10"), Decimal("2.50")]}) == '{"a":[1.10,"2.50"]}'


class TestEscapes:
    @pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "C:\\u0000"])
    def test_what_looks_like_the_escape_of_nul_is_text(self, text):
        data = {text: [text], "n": payloads.Spelled("1e999")}
        assert json.loads(encode(data), parse_float=str) == {**data, "n": "1e999"}
