"""The reference tells the settings that there are."""

from tests.house import settings_table


def test_the_page_shows_every_setting_with_its_default():
    assert settings_table.written() == settings_table.render(), "run python -m tests.house.settings_table"
