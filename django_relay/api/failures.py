"""Failures, shown: to an operator as they are, to a tenant as :mod:`django_relay.rules.failures` lets it see them."""

from typing import Any, ClassVar

from django_relay.api import fields
from django_relay.rules import failures
from django_relay.rules.failures import Failure


class FailureShown(fields.Shown):
    """The base of what tells of failures. Its context names the ``caller``; ``resources.Resource.context`` is one."""

    told: ClassVar[tuple[str, str, str | None]]
    """The fields that hold the kind, the words and the duration, if there is one."""

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return the row as its reader may see it."""
        shown = super().to_representation(instance)
        kind, words, duration = self.told
        facts = Failure(shown[kind], shown[words], None if duration is None else shown[duration])
        seen = failures.told(facts, self.context["caller"])
        return shown | {kind: seen.kind, words: seen.words} | ({duration: seen.duration_ms} if duration else {})


class DurationShown(fields.Whole):
    """How long a request took; null where that is not told."""

    def __init__(self, **kwargs: Any) -> None:
        told = "Tenants are not told how long it took to find out that an endpoint cannot be reached."
        super().__init__(min_value=0, max_value=2**31, allow_null=True, help_text=told, **kwargs)
