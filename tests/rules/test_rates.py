import pytest
from rest_framework.throttling import SimpleRateThrottle

from django_relay import exceptions
from django_relay.rules import rates


class Throttle(SimpleRateThrottle):
    rate = "1/day"


class TestParse:
    @pytest.mark.parametrize("text", ["1/second", "600/minute", "5/hour", "100000/day"])
    def test_reads_what_drf_reads(self, text):
        assert tuple(rates.parse(text)) == Throttle().parse_rate(text)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "600",
            "600/",
            "0/minute",
            "-1/minute",
            "1.5/day",
            "600/fortnight",
            "6\u0660/day",
            "6/day ",
            None,
            600,
            ["1/day"],
        ],
        ids=ascii,
    )
    def test_refuses_the_rest(self, text):
        with pytest.raises(exceptions.InvalidInput, match="600/minute") as caught:
            rates.parse(text)
        assert caught.value.code == "bad_rate"
