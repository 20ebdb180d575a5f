"""What a tenant chooses of an endpoint: adding one, and changing it."""

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from django_relay import exceptions
from django_relay.models import Endpoint, EventType, SigningSecret, endpoint_choices
from django_relay.models.endpoint import MAX_TIMEOUT_SECONDS
from django_relay.portal import endpoints, frame, problems, schedules, secrets, subscriptions
from django_relay.portal.visits import Visit
from django_relay.rules import event_names, headers, signing

_BLANK_HEADERS = 2
_CHANGED = (
    "url", "description", "event_types", "filters", "headers", "rate_limit", "format", "retry_schedule",
    "timeout_seconds",
)  # fmt: skip


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
    timeout_seconds = forms.IntegerField(required=False, min_value=1, max_value=MAX_TIMEOUT_SECONDS)
    retry_schedule = forms.ChoiceField(choices=schedules.keys, initial="usual", required=False)
    waits = forms.CharField(required=False, max_length=1_000)
    scheme = forms.ChoiceField(choices=SigningSecret.Scheme.choices, initial=SigningSecret.Scheme.V1, required=False)
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

    def clean_waits(self) -> list[float]:
        """Return the waits of a schedule of one's own, in seconds."""
        return schedules.read(self.cleaned_data["waits"])

    def clean(self) -> dict[str, Any]:
        """Put patterns, headers and the retry schedule together."""
        chosen = super().clean() or {}
        if chosen.get("subscribe") == "all":
            chosen["event_types"] = ["*"]
        else:
            chosen["event_types"] = [*chosen.get("event_types", []), *chosen.get("patterns", "").split()]
            if not chosen["event_types"] and "event_types" not in self.errors:
                self.add_error("event_types", _("Choose at least one event type, or receive all events."))
        chosen["rate_limit"] = chosen.get("rate_limit") or 0
        chosen["headers"] = self._headers()
        chosen["retry_schedule"] = self._schedule(chosen)
        return chosen

    def values(self) -> dict[str, Any]:
        """Return the endpoint's fields."""
        return {name: self.cleaned_data[name] for name in _CHANGED}

    def secret(self) -> str:
        """Return a signing secret of the scheme that was chosen."""
        return signing.generate_secret(self.cleaned_data["scheme"] or SigningSecret.Scheme.V1)

    @property
    def schedules(self) -> list[schedules.Choice]:
        """What the retry schedule can be."""
        return schedules.choices()

    @property
    def goes_further(self) -> bool:
        """Whether more was chosen, or went wrong, than stands in sight at first."""
        names = {
            "headers",
            "header_name",
            "filters",
            "rate_limit",
            "format",
            "timeout_seconds",
            "retry_schedule",
            "waits",
        }
        usual = (("rate_limit", 0), ("format", "standard"), ("timeout_seconds", None), ("retry_schedule", None))
        own = self.endpoint
        return bool(names & set(self.errors)) or (
            own is not None
            and (bool(own.headers or own.filters) or any(getattr(own, name) != value for name, value in usual))
        )

    def groups(self) -> list[subscriptions.Group]:
        """Return the tree of the picker."""
        patterns = str(self["patterns"].value() or "").split()[: event_names.MAX_PATTERNS]
        return subscriptions.tree(self.types, self["event_types"].value() or [], patterns)

    def header_rows(self) -> list[tuple[str, bool]]:
        """Return the header fields to draw: each with its name, and whether a value is stored, which is never shown."""
        if self.is_bound:
            names = self.data.getlist("header_name")  # type: ignore[attr-defined]
            stored = self.endpoint.headers if self.endpoint else {}
            return [(name, name in stored) for name in names if name] + [("", False)]
        stored = self.endpoint.headers if self.endpoint else {}
        return [(name, True) for name in stored] + [("", False)] * _BLANK_HEADERS

    def _schedule(self, chosen: dict[str, Any]) -> list[float] | None:
        """Return the retry schedule that was chosen; ``None`` is the project's."""
        key = chosen.get("retry_schedule") or "usual"
        if key == schedules.CUSTOM:
            if not chosen.get("waits") and "waits" not in self.errors:
                self.add_error("waits", _("Write the waits, such as 5 s, 5 min, 2 h; or choose to be sent once."))
            return chosen.get("waits")
        waits = schedules.PRESETS[key][1]
        return None if waits is None else list(waits)

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
@sensitive_variables()
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
                "public": secrets.public_key_of(endpoint.secrets[0]),
                "snippets": secrets.verifying(signing.scheme_of(endpoint.secrets[0])),
                "example_type": next(
                    (row.name for row in types if subscriptions.reaches(endpoint.event_types, row.name)), ""
                ),
            }
            return frame.show(request, visit, "endpoints/created.html", context, status=201)
        status = 422
    context = {"section": "endpoints", "form": form, **endpoints.limits()}
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
        "timeout_seconds": endpoint.timeout_seconds,
        "retry_schedule": schedules.key_of(endpoint.retry_schedule),
        "waits": schedules.write(endpoint.retry_schedule or ()),
    }


def _register(form: EndpointForm, visit: Visit) -> Endpoint | None:
    assert visit.application is not None and visit.caller is not None  # noqa: S101, PT018 - frame.page lets nobody else in
    try:
        endpoint = Endpoint.objects.using(visit.using).register(
            tenant_id=str(visit.owner.tenant_id),
            application=visit.application.slug,
            caller=visit.caller,
            secret=form.secret(),
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
        with endpoints.still_there():
            endpoint.change(caller=visit.caller, **form.values())
    except ValidationError as error:
        problems.add(form, error, otherwise="url")
        return False
    return True
