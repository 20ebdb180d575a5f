import pytest

from django_relay import exceptions
from django_relay.rules import themes

LOGOS = ["https://cdn.example.com/logos"]
WHOLE = {
    "accent": "#1a56db",
    "logo_url": "https://cdn.example.com/logos/acme.svg",
    "scheme": "dark",
    "radius": 8,
    "font": "humanist",
}


class TestThemes:
    def test_any_of_the_values(self):
        assert themes.validate(WHOLE, logo_urls=LOGOS) == WHOLE
        assert themes.validate({}, logo_urls=()) == {}
        assert themes.validate({"accent": "#ABCDEF"}, logo_urls=()) == {"accent": "#abcdef"}

    @pytest.mark.parametrize(
        "theme",
        [
            None, [], "dark", {"Accent": "#ffffff"}, {"css": "*{}"}, {1: 2},
            {"accent": "red"}, {"accent": "#fff"}, {"accent": "#ffffff\n"}, {"accent": "#ffffff;}"}, {"accent": 0}, {"accent": "#\u0660\u0660\u0660\u0660\u0660\u0660"},
            {"logo_url": "javascript:alert(1)"}, {"logo_url": "https://evil.example/x.svg"}, {"logo_url": ""}, {"logo_url": None},
            {"logo_url": "https://cdn.example.com/logos/../x.svg"}, {"logo_url": "data:image/svg+xml,x"},
            {"scheme": "DARK"}, {"scheme": ["dark"]}, {"scheme": None},
            {"radius": -1}, {"radius": 25}, {"radius": "8"}, {"radius": 8.0}, {"radius": True}, {"radius": "8px;}"},
            {"font": "Comic Sans"}, {"font": "system; x"}, {"font": {}},
        ],
        ids=ascii,
    )  # fmt: skip
    def test_nothing_else(self, theme):
        with pytest.raises(exceptions.InvalidInput) as caught:
            themes.validate(theme, logo_urls=LOGOS)
        assert caught.value.code == "bad_theme"

    def test_without_an_allow_list_there_is_no_logo(self):
        with pytest.raises(exceptions.InvalidInput, match="LOGO_URLS"):
            themes.validate({"logo_url": WHOLE["logo_url"]}, logo_urls=())
