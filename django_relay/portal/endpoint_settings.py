"""What a tenant chooses of an endpoint: adding one, and changing it."""

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext_lazy as _

from django_relay import conf, exceptions
from django_relay.models import Endpoint, EventType, endpoint_choices
from django_relay.portal import endpoints, frame, problems, snippets, subscriptions
from django_relay.portal.visits import Visit
from django_relay.rules import headers

_BLANK_HEADERS = 2
_CHANGED = ("url", "description", "event_types", "filters", "headers", "rate_limit", "format")


class EndpointForm(forms.Form):
    """What a tenant chooses of an endpoint. The rules are the model's; the form only puts texts into their shape."""

    url = forms.CharField(max_length=4_096, strip=True)
    description = forms.CharField(max_length=500, required=False)
    subscribe = forms.ChoiceField(choices=[("all", ""), ("some", "")], initial="all")
    event_types = forms.MultipleChoiceField(required=False)
    patterns = forms.CharField(required=False, max_length=20_000)
    filters = forms.CharField(required=False, max_length=100_000)
    rate_limit = forms.IntegerField(required=False, min_value=0, max_value=10_000)
    format = forms.ChoiceField(choices=Endpoint.Format.choices, initial=Endpoint.Format.STANDARD)
    header_name = forms.CharField(required=False)
    header_value = forms.CharField(required=False)

    def __init__(self, data: Any = None, *, types: list[EventType], endpoint: Endpoint | None = None) -> None:
        self.types, self.endpoint = types, endpoint
        super().__init__(data, initial=_initial(endpoint, types))
        names = [row.name for row in types]
        self.fields["event_types"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]

    def clean_filters(self) -> Any:
        """Return the filters as a JSON value."""
        text = self.cleaned_data["filters"].strip()
        try:
            return json.loads(text) if text else {}
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 1)
            raise ValidationError(_("This is not JSON; look at line %(line)s."), params={"line": line}) from error

    def clean(self) -> dict[str, Any]:
        """Put patterns and headers together."""
        chosen = super().clean() or {}
        if chosen.get("subscribe") == "all":
            chosen["event_types"] = ["*"]
        else:
            chosen["event_types"] = [*chosen.get("event_types", []), *chosen.get("patterns", "").split()]
            if not chosen["event_types"] and "event_types" not in self.errors:
                self.add_error("event_types", _("Choose at least one event type, or receive all events."))
        chosen["rate_limit"] = chosen.get("rate_limit") or 0
        chosen["headers"] = self._headers()
        return chosen

    def values(self) -> dict[str, Any]:
        """Return the endpoint's fields."""
        return {name: self.cleaned_data[name] for name in _CHANGED}

    def groups(self) -> list[subscriptions.Group]:
        """Return the tree of the picker."""
        return subscriptions.tree(self.types, self["event_types"].value() or [])

    def header_rows(self) -> list[tuple[str, bool]]:
        """Return the header fields to draw: each with its name, and whether a value is stored, which is never shown."""
        if self.is_bound:
            names = self.data.getlist("header_name")  # type: ignore[attr-defined]
            stored = self.endpoint.headers if self.endpoint else {}
            return [(name, name in stored) for name in names if name] + [("", False)]
        stored = self.endpoint.headers if self.endpoint else {}
        return [(name, True) for name in stored] + [("", False)] * _BLANK_HEADERS

    def _headers(self) -> dict[str, str]:
        """Return the headers: a name without a value keeps the stored one, a stored name that is left out goes."""
        stored = self.endpoint.headers if self.endpoint else {}
        names = self.data.getlist("header_name")[: headers.MAX_HEADERS + 1]  # type: ignore[attr-defined]
        values = self.data.getlist("header_value")  # type: ignore[attr-defined]
        found: dict[str, str] = {}
        for name, value in zip((name.strip() for name in names), values, strict=False):
            if not name:
                continue
            if not value and name not in stored:
                self.add_error("header_name", _("Give the header a value, or remove its name."))
            found[name] = value or stored.get(name, "")
        return found


@frame.page("write", methods=("GET", "POST"))
def add(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """Add an endpoint, and show its secret once."""
    types = subscriptions.types(visit)
    form = EndpointForm(request.POST if request.method == "POST" else None, types=types)
    status = 200
    if request.method == "POST":
        endpoint = _register(form, visit) if form.is_valid() else None
        if endpoint is not None:
            context = {
                "section": "endpoints",
                "endpoint": endpoint,
                "secret": endpoint.secrets[0],
                "snippets": snippets.SNIPPETS,
                "example_type": next(
                    (row.name for row in types if subscriptions.reaches(endpoint.event_types, row.name)), ""
                ),
            }
            return frame.show(request, visit, "endpoints/created.html", context, status=201)
        status = 422
    context = {"section": "endpoints", "form": form, "source_addresses": conf.settings.PORTAL["SOURCE_ADDRESSES"]}
    return frame.show(request, visit, "endpoints/add.html", context, status=status)


@frame.page("write", methods=("POST",))
def check_url(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """Say whether a URL could be an endpoint, while it is typed."""
    url = request.POST.get("url", "").strip()
    problem = ""
    if url not in {"", "https://"}:
        try:
            endpoint_choices.parse_url(url)
        except exceptions.InvalidInput as error:
            problem = problems.sentence(error)
    context = {"problem": problem, "fine": bool(url) and url != "https://" and not problem}
    return frame.show(request, visit, "endpoints/verdict.html", context)


@frame.page("write", methods=("GET", "POST"))
def edit(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Change what an endpoint is."""
    endpoint = endpoints.find(visit, endpoint_id)
    form = EndpointForm(
        request.POST if request.method == "POST" else None, types=subscriptions.types(visit), endpoint=endpoint
    )
    if request.method == "POST" and form.is_valid() and _update(form, endpoint, visit):
        return endpoints.back_to("endpoint", endpoint)
    status = 422 if request.method == "POST" else 200
    return frame.show(
        request, visit, "endpoints/edit.html", {**endpoints.about(visit, endpoint, "edit"), "form": form}, status=status
    )


def _initial(endpoint: Endpoint | None, types: list[EventType]) -> dict[str, Any]:
    if endpoint is None:
        return {"url": "https://"}
    single, patterns = subscriptions.split(endpoint.event_types, [row.name for row in types])
    everything = endpoint.event_types == ["*"]
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "subscribe": "all" if everything else "some",
        "event_types": single,
        "patterns": "" if everything else "\n".join(patterns),
        "filters": json.dumps(endpoint.filters, ensure_ascii=False) if endpoint.filters else "",
        "rate_limit": endpoint.rate_limit or None,
        "format": endpoint.format,
    }


def _register(form: EndpointForm, visit: Visit) -> Endpoint | None:
    assert visit.application is not None and visit.caller is not None  # noqa: S101, PT018 - frame.page lets nobody else in
    try:
        endpoint = Endpoint.objects.using(visit.using).register(
            tenant_id=str(visit.owner.tenant_id),
            application=visit.application.slug,
            caller=visit.caller,
            **form.values(),
        )
    except ValidationError as error:
        problems.add(form, error, otherwise="url")
    except exceptions.InvalidInput as error:
        form.add_error(None, problems.sentence(error))
    else:
        return endpoint
    return None


def _update(form: EndpointForm, endpoint: Endpoint, visit: Visit) -> bool:
    assert visit.caller is not None  # noqa: S101 - likewise
    try:
        endpoint.change(caller=visit.caller, **form.values())
    except ValidationError as error:
        problems.add(form, error, otherwise="url")
    except exceptions.WrongState as error:
        form.add_error(None, problems.sentence(error))
    else:
        return True
    return False
