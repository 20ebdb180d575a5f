"""The form of an endpoint: what a tenant chooses; its headers' values go in, and never come out again."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from django_relay import exceptions
from django_relay.models import Endpoint
from django_relay.rules import headers

CHOSEN = ("url", "description", "event_types", "filters", "rate_limit", "format", "retry_schedule",
          "timeout_seconds", "metadata")  # fmt: skip
"""The fields of the model that the form has."""
_JSON = ("filters", "retry_schedule", "metadata")


class Patterns(forms.CharField):
    """Patterns of event types, one a line; the model says whether they are any."""

    widget = forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"})

    def prepare_value(self, value: Any) -> Any:
        """Return the lines of a list."""
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """Return the list of the lines."""
        return str(super().to_python(value)).split()

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return whether other patterns are wanted."""
        return bool(list(initial or []) != self.to_python(data or ""))


class Schedule(forms.JSONField):
    """A list of seconds; nothing stands for the project's."""

    def prepare_value(self, value: Any) -> Any:
        """Return the list as JSON, and nothing for none."""
        return "" if value is None else super().prepare_value(value)


class HeaderLines(forms.Textarea):
    """Lines of ``Name: value`` that are drawn without the values, typed ones included."""

    def format_value(self, value: Any) -> str:
        """Return the names alone."""
        return "".join(f"{line.partition(':')[0].strip()}:\n" for line in str(value or "").splitlines() if line.strip())


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]
    """What is chosen of an endpoint; never a secret."""

    event_types = Patterns(help_text=_("Patterns such as invoice.paid, invoice.*, invoice.** or *, one a line."))
    own_headers = forms.CharField(
        label=_("Own headers"),
        required=False,
        widget=HeaderLines(
            attrs={"rows": 3, "class": "vLargeTextField relay-code", "spellcheck": "false", "autocomplete": "off"}
        ),
        help_text=_(
            "One a line, as Name: value. Values are secret and not shown: a name without one keeps the value it has, "
            "a line that is taken out takes its header off."
        ),
    )

    class Meta:
        model = Endpoint
        fields = ("application", "tenant_id", *CHOSEN)
        field_classes = {"retry_schedule": Schedule}
        help_texts = {
            "retry_schedule": _("Seconds to wait after each failure, as in [5, 300, 1800]; empty is the project's.")
        }
        widgets = {
            "url": forms.TextInput(attrs={"class": "vLargeTextField"}),
            "description": forms.TextInput(attrs={"class": "vLargeTextField"}),
            **{name: forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField relay-code"}) for name in _JSON},
        }

    @sensitive_variables()
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["own_headers"] = "".join(f"{name}:\n" for name in self._stored())

    @sensitive_variables()
    def clean_own_headers(self) -> dict[str, str]:
        """Return the headers that are wanted: as typed, or as they were where nothing was."""
        stored, chosen = self._stored(), {}
        for line in self.cleaned_data["own_headers"].splitlines():
            name, _colon, value = (part.strip() for part in line.partition(":"))
            if not name and not value:
                continue
            if not value and name not in stored:
                problem = gettext("%(name)s has no value: write it as Name: value.") % {"name": name or ":"}
                raise ValidationError(problem, code="no_value")
            chosen[name] = value or stored[name]
        try:
            return headers.validate(chosen)
        except exceptions.InvalidInput as error:
            raise ValidationError(str(error), code=error.code) from error

    @sensitive_variables()
    def _post_clean(self) -> None:
        """Ask again for values that were typed, where anything else is wrong: the page does not give them back."""
        super()._post_clean()  # type: ignore[misc]  # the model's own rules; the stubs do not have it
        if self.errors and self.cleaned_data.get("own_headers", {}) not in ({}, self._stored()):
            self.add_error("own_headers", _("The values are not kept in the page: type them once more."))

    def _stored(self) -> dict[str, str]:
        return {} if self.instance._state.adding else dict(self.instance.headers)
