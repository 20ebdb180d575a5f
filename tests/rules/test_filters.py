import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_relay import exceptions
from django_relay.rules import filters

from . import vectors

SCALARS = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
GIVEN = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), SCALARS | st.lists(SCALARS, max_size=4), max_size=5)


BAD_VALUES = [
    *[None, {}, [[]], [None], [{"a": 1}], b"x", object(), {1}],
    *[float("nan"), float("inf"), [1, float("-inf")], 2**63, -(2**63) - 1, 10**5000],
    *["a\0b", "\ud800", ["\udfff"], "x" * 257, list(range(51))],
]


class TestValidate:
    @pytest.mark.parametrize("case", vectors.load("filters", "payload_filter"))
    def test_the_catalogue_of_filter_languages_is_refused(self, case):
        with pytest.raises(exceptions.InvalidFilter) as caught:
            filters.validate(vectors.given(case))
        assert caught.value.code == case["reason"] == "bad_filter"

    def test_a_scalar_becomes_a_list_of_one(self):
        given_filters = {"plan": "pro", "seats": [1, 2.5], "beta": True}
        expected = {"plan": ["pro"], "seats": [1, 2.5], "beta": [True]}
        assert filters.validate(given_filters) == expected

    @pytest.mark.parametrize("nothing", [None, {}])
    def test_nothing_is_no_filter(self, nothing):
        assert filters.validate(nothing) == {}

    def test_a_key_may_have_no_values(self):
        assert filters.validate({"plan": []}) == {"plan": []}

    @pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: ascii(type(value)))
    def test_a_bad_value_is_refused_and_its_key_named(self, value):
        with pytest.raises(exceptions.InvalidFilter, match="colour") as caught:
            filters.validate({"colour": value})
        assert caught.value.code == "bad_filter"

    @pytest.mark.parametrize("name", ["", "k" * 65, "a\0", "\ud800", 1, None, ("a",)])
    def test_a_bad_name_is_refused(self, name):
        with pytest.raises(exceptions.InvalidFilter) as caught:
            filters.validate({name: "x"})
        str(caught.value).encode()

    @pytest.mark.parametrize("value", ["a", 1, [], [("a", 1)], True, object()])
    def test_only_a_mapping_is_taken(self, value):
        with pytest.raises(exceptions.InvalidFilter):
            filters.validate(value)

    def test_the_limits_are_inclusive(self):
        assert filters.validate({f"{n}": n for n in range(20)})
        assert filters.validate({"k" * 64: ["x" * 256] * 50})
        with pytest.raises(exceptions.InvalidFilter):
            filters.validate({f"{n}": n for n in range(21)})

    @given(GIVEN)
    def test_the_normal_form_is_json_and_stays_as_it_is(self, values):
        normal = filters.validate(values)
        assert filters.validate(normal) == normal
        assert json.loads(json.dumps(normal)) == normal

    def test_the_given_list_is_not_kept(self):
        values = ["a"]
        normal = filters.validate({"k": values})
        values.append(object())
        assert normal == {"k": ["a"]}


class TestValidateAttributes:
    def test_the_normal_form_is_that_of_filters(self):
        assert filters.validate_attributes({"a": 1, "b": ["x"]}) == {"a": [1], "b": ["x"]}

    @pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: ascii(type(value)))
    def test_a_bad_value_is_refused_with_a_code_of_its_own(self, value):
        with pytest.raises(exceptions.InvalidEvent, match="colour") as caught:
            filters.validate_attributes({"colour": value})
        assert caught.value.code == "bad_attributes"

    def test_only_a_mapping_is_taken(self):
        with pytest.raises(exceptions.InvalidEvent) as caught:
            filters.validate_attributes(["a"])
        assert caught.value.code == "bad_attributes"


class TestAccepts:
    @pytest.mark.parametrize(
        ("wanted", "attributes", "expected"),
        [
            ({}, {}, True),
            ({}, {"plan": ["pro"]}, True),
            ({"plan": []}, {}, True),
            ({"plan": ["pro"]}, {"plan": ["pro"]}, True),
            ({"plan": ["pro", "team"]}, {"plan": ["team"]}, True),
            ({"plan": ["pro"]}, {"plan": ["free"]}, False),
            ({"plan": ["pro"]}, {}, False),
            ({"plan": ["pro"]}, {"plan": []}, False),
            ({"plan": ["pro"]}, {"plan": ["free", "pro"]}, True),
            ({"plan": ["pro"], "area": ["eu"]}, {"plan": ["pro"], "area": ["eu"]}, True),
            ({"plan": ["pro"], "area": ["eu"]}, {"plan": ["pro"], "area": ["us"]}, False),
            ({"plan": ["pro"], "area": ["eu"]}, {"plan": ["pro"]}, False),
            ({"plan": "pro"}, {"plan": "pro"}, True),
            ({"plan": "pro"}, {"plan": "p"}, False),
            ({"n": [1]}, {"n": [1.0]}, True),
            ({"n": [1]}, {"n": [True]}, False),
            ({"n": [False]}, {"n": [0]}, False),
            ({"n": [True]}, {"n": [True]}, True),
            ({"n": ["1"]}, {"n": [1]}, False),
            ({"n": [""]}, {"n": [""]}, True),
            ({"n": [""]}, {}, False),
            ({"n": [2**53]}, {"n": [2**53 + 1]}, False),
        ],
    )
    def test_the_table(self, wanted, attributes, expected):
        assert filters.accepts(wanted, attributes) is expected

    @given(GIVEN, GIVEN)
    def test_it_agrees_with_the_definition(self, wanted, attributes):
        wanted, attributes = filters.validate(wanted), filters.validate_attributes(attributes)

        def same(one, other):
            return one == other and isinstance(one, bool) == isinstance(other, bool)

        expected = all(
            not values or any(same(one, other) for one in values for other in attributes.get(name, []))
            for name, values in wanted.items()
        )
        assert filters.accepts(wanted, attributes) is expected

    @given(GIVEN)
    def test_an_event_passes_filters_made_of_its_own_attributes(self, values):
        normal = filters.validate(values)
        assert filters.accepts(normal, normal)
