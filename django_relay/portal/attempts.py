"""Attempts: what was sent to an endpoint, and what came back."""

from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext_lazy as _

from django_relay.models import lists, paging
from django_relay.portal import endpoints, frame, subscriptions
from django_relay.portal.visits import Visit

PAGE = 25
_FORMATS = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


class WindowForm(forms.Form):
    """A page of a list within a window of time, which is entered in the reader's zone."""

    since = forms.DateTimeField(required=False, input_formats=_FORMATS)
    until = forms.DateTimeField(required=False, input_formats=_FORMATS)
    zone = forms.IntegerField(required=False, min_value=-1_080, max_value=1_080)
    cursor = forms.CharField(required=False, max_length=1_000)

    def clean(self) -> dict[str, Any]:
        """Read the times in the reader's zone: ``zone`` is its offset in minutes, by the page's script; else UTC."""
        found = super().clean() or {}
        zone = fixed(timedelta(minutes=found.get("zone") or 0))
        for name in ("since", "until"):
            if found.get(name) is not None:
                found[name] = datetime.combine(found[name].date(), found[name].time(), zone).astimezone(UTC)
        if found.get("since") and found.get("until") and found["since"] >= found["until"]:
            raise ValidationError(_("The end must be after the beginning."))
        return found

    @property
    def wanted(self) -> paging.Wanted:
        """Which page of the list."""
        return paging.Wanted(PAGE, self.cleaned_data.get("cursor") or None)

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the page was chosen."""
        return any(value for name, value in self.cleaned_data.items() if name not in {"cursor", "zone"})


class AttemptForm(WindowForm):
    """What the list of attempts is narrowed down to."""

    status = forms.ChoiceField(required=False, choices=[("", ""), *((each, each) for each in lists.STATUS_CLASSES)])
    event_type = forms.CharField(required=False, max_length=128)


@frame.page()
def list_attempts(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Show an endpoint's attempts, newest first."""
    endpoint = endpoints.find(visit, endpoint_id)
    form = AttemptForm(request.GET)
    found: paging.Page[Any] = paging.Page([])
    if form.is_valid():
        filters = lists.Filters(
            endpoint_id=endpoint.pk,
            status_class=form.cleaned_data["status"],
            event_type=form.cleaned_data["event_type"],
            since=form.cleaned_data["since"],
            until=form.cleaned_data["until"],
        )
        found = lists.attempts(visit.owner, filters, wanted=form.wanted, using=visit.using)
    context = {
        **endpoints.about(visit, endpoint, "attempts"),
        "form": form,
        "page": found,
        "types": subscriptions.types(visit),
        "outcomes": [
            ("", _("All")), ("2xx", _("Succeeded")), ("4xx", "4xx"), ("5xx", "5xx"), ("none", _("No answer")),
        ],
    }  # fmt: skip
    return frame.show(request, visit, "endpoints/attempts.html", context)
