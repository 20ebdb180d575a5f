import ast
import inspect
import itertools

import pytest
from django.test import override_settings

from django_relay import conf


class TestSettings:
    def test_the_projects_value_or_the_default(self):
        with override_settings(DJANGO_RELAY={"TIMEOUT_SECONDS": 7}):
            assert conf.settings.TIMEOUT_SECONDS == 7
            assert conf.settings.LEASE_SECONDS == 45.0

    def test_are_read_live(self):
        for value in (1, 2, 3):
            with override_settings(DJANGO_RELAY={"PASSES": value}):
                assert value == conf.settings.PASSES

    def test_without_the_dict_all_is_default(self):
        with override_settings():
            from django.conf import settings

            del settings.DJANGO_RELAY
            assert conf.settings.PASSES == 1

    def test_a_falsy_value_is_a_value(self):
        with override_settings(DJANGO_RELAY={"RETRY_SCHEDULE": (), "ENABLED": False}):
            assert conf.settings.RETRY_SCHEDULE == ()
            assert conf.settings.ENABLED is False

    def test_a_setting_that_does_not_exist_is_an_attribute_error(self):
        with pytest.raises(AttributeError):
            _value = conf.settings.TIMEOUT

    def test_every_setting_has_a_type_and_a_docstring(self):
        (body,) = [node.body for node in ast.parse(inspect.getsource(conf.Settings)).body]
        documented = {
            before.target.id
            for before, after in itertools.pairwise(body)
            if isinstance(before, ast.AnnAssign)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        }
        named = {name for name in vars(conf.Settings) if name.isupper()}
        assert named == documented == set(conf.annotations())
