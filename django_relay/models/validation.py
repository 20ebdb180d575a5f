"""How rows are held to the rules: each rule of a field normalises its value or refuses it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from django_relay import exceptions

Rules = Mapping[str, Callable[[Any], object]]


def apply(row: models.Model, rules: Rules, *, names: Iterable[str] | None = None) -> None:
    """Give the row's fields the values that their rules make of them; all of them, or those of ``names``.

    Raises:
        ValidationError: by field, with the rule's code.
    """
    errors: dict[str, ValidationError] = {}
    for name in rules if names is None else rules.keys() & set(names):
        try:
            setattr(row, name, rules[name](getattr(row, name)))
        except exceptions.InvalidInput as error:
            errors[name] = ValidationError(str(error), code=error.code)
    if errors:
        raise ValidationError(errors)
