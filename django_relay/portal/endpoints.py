"""Endpoints: the list, a new one, one of them, and changing it."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay import conf, exceptions
from django_relay.models import Endpoint, EventType, audit, lists, paging, statistics
from django_relay.models import endpoint as endpoint_model
from django_relay.portal import charts, frame, problems, snippets, subscriptions
from django_relay.portal.visits import Visit
from django_relay.rules import access, headers

PAGE = 25
_LOOKED_AT = 500  # endpoints of one tenant that a search by event type goes through
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
        stored: Mapping[str, str] = self.endpoint.headers if self.endpoint else {}
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


class FilterForm(forms.Form):
    """What the list is narrowed down to."""

    q = forms.CharField(required=False, max_length=200)
    state = forms.ChoiceField(
        required=False,
        choices=[
            ("", _("Any state")),
            ("enabled", _("Enabled")),
            ("failing", _("Failing")),
            ("disabled", _("Disabled")),
        ],
    )
    event_type = forms.CharField(required=False, max_length=128)
    after = forms.CharField(required=False, max_length=32)


def find(visit: Visit, endpoint_id: str) -> Endpoint:
    """Return an endpoint of the visitor's tenant.

    Raises:
        Http404: there is none (any more).
    """
    rows = Endpoint.objects.using(visit.using).filter(
        application_id=visit.owner.application_id, tenant_id=visit.owner.tenant_id, deleted_at__isnull=True
    )
    try:
        found = rows.select_related("application").filter(pk=endpoint_id).first()
    except ValidationError:
        found = None
    if found is None:
        raise Http404
    return found


def back_to(name: str, endpoint: Endpoint) -> HttpResponseRedirect:
    """Go on to one of an endpoint's pages after a change."""
    return HttpResponseRedirect(reverse(f"relay_portal:{name}", args=[endpoint.pk]), status=303)


@frame.page()
def list_endpoints(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """Show the tenant's endpoints, newest first."""
    form = FilterForm(request.GET)
    wanted = form.cleaned_data if form.is_valid() else {}
    found, more = _page(visit, wanted)
    now = timezone.now()
    series = statistics.series_by_endpoint([row.pk for row in found], statistics.period(now=now), using=visit.using)
    rows = [
        {"endpoint": row, "total": series[row.pk].total, "chart": charts.of_outcomes(series[row.pk].buckets)}
        for row in found
    ]
    context = {
        "section": "endpoints",
        "rows": rows,
        "more": found[-1].pk if more else "",
        "form": form,
        "narrowed": any(wanted.values()),
        "types": subscriptions.types(visit),
        "source_addresses": conf.settings.PORTAL["SOURCE_ADDRESSES"],
    }
    return frame.show(request, visit, "endpoints/list.html", context)


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
            endpoint_model.parse_url(url)
        except exceptions.InvalidInput as error:
            problem = problems.sentence(error)
    context = {"problem": problem, "fine": bool(url) and url != "https://" and not problem}
    return frame.show(request, visit, "endpoints/verdict.html", context)


@frame.page()
def overview(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Show how an endpoint fares."""
    endpoint = find(visit, endpoint_id)
    span = request.GET.get("span") if request.GET.get("span") in charts.SPANS else "24h"
    now = timezone.now()
    period = charts.period(str(span), now=now)
    stats = statistics.of_endpoint(endpoint.pk, period, using=visit.using)
    filters = lists.Filters(endpoint_id=endpoint.pk)
    recent = lists.deliveries(visit.owner, filters, wanted=paging.Wanted(8), using=visit.using)
    context = {
        **about(visit, endpoint, "overview"),
        "span": span,
        "spans": charts.SPANS,
        "stats": stats,
        "chart": charts.of_outcomes(stats.buckets),
        "pending": statistics.pending([endpoint.pk], using=visit.using),
        "in_dlq": statistics.in_dlq([endpoint.pk], using=visit.using),
        "deliveries": recent.data,
    }
    return frame.show(request, visit, "endpoints/overview.html", context)


@frame.page("write", methods=("GET", "POST"))
def edit(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Change what an endpoint is."""
    endpoint = find(visit, endpoint_id)
    form = EndpointForm(
        request.POST if request.method == "POST" else None, types=subscriptions.types(visit), endpoint=endpoint
    )
    if request.method == "POST" and form.is_valid() and _update(form, endpoint, visit):
        return back_to("endpoint", endpoint)
    status = 422 if request.method == "POST" else 200
    return frame.show(
        request, visit, "endpoints/edit.html", {**about(visit, endpoint, "edit"), "form": form}, status=status
    )


@frame.page("write", methods=("POST",))
def enable(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Deliver to an endpoint again; what was held becomes due."""
    endpoint = find(visit, endpoint_id)
    # What the operator stopped, only the operator starts again.
    if endpoint.disabled_reason != Endpoint.Reason.STAFF:
        with transaction.atomic(visit.using):
            if endpoint.enable():
                _record("endpoint.enabled", endpoint, visit)
    return back_to("endpoint", endpoint)


@frame.page("write", methods=("POST",))
def disable(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Hold back what is for an endpoint."""
    endpoint = find(visit, endpoint_id)
    with transaction.atomic(visit.using):
        if endpoint.disable(Endpoint.Reason.TENANT):
            _record("endpoint.disabled", endpoint, visit)
    return back_to("endpoint", endpoint)


@frame.page("write", methods=("GET", "POST"))
def delete(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Delete an endpoint, once its deletion was confirmed on a page of its own."""
    endpoint = find(visit, endpoint_id)
    if request.method != "POST":
        pending = statistics.pending([endpoint.pk], using=visit.using)
        return frame.show(
            request, visit, "endpoints/delete.html", {**about(visit, endpoint, "edit"), "pending": pending}
        )
    with transaction.atomic(visit.using):
        _record("endpoint.deleted", endpoint, visit)
        endpoint.delete()
    return HttpResponseRedirect(reverse("relay_portal:endpoints"), status=303)


def about(visit: Visit, endpoint: Endpoint, tab: str) -> dict[str, Any]:
    """Return what every page of an endpoint shows of it."""
    disabled = not endpoint.enabled
    last = None
    if disabled or endpoint.failing_since is not None:
        filters = lists.Filters(endpoint_id=endpoint.pk)
        last = next(iter(lists.attempts(visit.owner, filters, wanted=paging.Wanted(1), using=visit.using).data), None)
    return {
        "section": "endpoints",
        "tab": tab,
        "endpoint": endpoint,
        "last_attempt": last,
        "disable_after": conf.settings.DISABLE_AFTER,
        "timeout_seconds": endpoint.timeout_seconds or conf.settings.TIMEOUT_SECONDS,
        "max_payload_bytes": conf.settings.MAX_PAYLOAD_BYTES,
        "schedule": endpoint.schedule,
        "source_addresses": conf.settings.PORTAL["SOURCE_ADDRESSES"],
    }


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
    owner = visit.owner
    assert visit.application is not None  # noqa: S101 - frame.page lets nobody else in
    try:
        with transaction.atomic(visit.using):
            endpoint = Endpoint.objects.using(visit.using).register(
                tenant_id=str(owner.tenant_id), application=visit.application.slug, **form.values()
            )
            _record("endpoint.created", endpoint, visit, after=_told(endpoint))
    except ValidationError as error:
        problems.add(form, error, otherwise="url")
    except exceptions.InvalidInput as error:
        form.add_error(None, problems.sentence(error))
    else:
        return endpoint
    return None


def _update(form: EndpointForm, endpoint: Endpoint, visit: Visit) -> bool:
    before = _told(endpoint)
    try:
        with transaction.atomic(visit.using):
            for name, value in form.values().items():
                setattr(endpoint, name, value)
            endpoint.save(update_fields=[*_CHANGED, "updated_at"])
            _record("endpoint.updated", endpoint, visit, before=before, after=_told(endpoint))
    except ValidationError as error:
        problems.add(form, error, otherwise="url")
        return False
    return True


def _told(endpoint: Endpoint) -> dict[str, Any]:
    """Return what the audit keeps of an endpoint: of headers their names alone."""
    told = {name: getattr(endpoint, name) for name in _CHANGED}
    return {**told, "headers": sorted(endpoint.headers)}


def _record(action: str, endpoint: Endpoint, visit: Visit, **values: Any) -> None:
    audit.record(action, endpoint, caller=visit.caller or access.Caller("portal"), using=visit.using, **values)


def _page(visit: Visit, wanted: Mapping[str, Any]) -> tuple[list[Endpoint], bool]:
    rows = Endpoint.objects.using(visit.using).filter(
        application_id=visit.owner.application_id, tenant_id=visit.owner.tenant_id, deleted_at__isnull=True
    )
    states = {
        "enabled": models.Q(enabled=True, failing_since=None),
        "failing": models.Q(enabled=True, failing_since__isnull=False),
        "disabled": models.Q(enabled=False),
    }
    rows = rows.filter(states.get(wanted.get("state", ""), models.Q()))
    if text := wanted.get("q", ""):
        rows = rows.filter(models.Q(url__icontains=text) | models.Q(description__icontains=text) | _is_id(text))
    if after := wanted.get("after", ""):
        try:
            rows = rows.filter(pk__lt=Endpoint._meta.pk.to_python(after))
        except ValidationError as error:
            raise Http404 from error
    rows = rows.defer("headers").order_by("-pk")
    if event_type := wanted.get("event_type", ""):
        found = [row for row in rows[:_LOOKED_AT] if subscriptions.reaches(row.event_types, event_type)]
    else:
        found = list(rows[: PAGE + 1])
    return found[:PAGE], len(found) > PAGE


def _is_id(text: str) -> models.Q:
    try:
        return models.Q(pk=Endpoint._meta.pk.to_python(text.strip()))
    except ValidationError:
        return models.Q()
