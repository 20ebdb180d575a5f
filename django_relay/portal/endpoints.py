"""Endpoints: the list, and how one of them fares; pausing, enabling and deleting it."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay import conf, exceptions
from django_relay.models import Endpoint, audit, endpoint_choices, lists, paging, statistics
from django_relay.portal import charts, frame, subscriptions
from django_relay.portal.visits import Visit
from django_relay.rules import access

PAGE = 25
_LOOKED_AT = 500  # endpoints of one tenant that a search by event type goes through


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


@contextlib.contextmanager
def still_there() -> Iterator[None]:
    """Do something to an endpoint that others may delete at this moment.

    Raises:
        Http404: they did; it is answered as any that is not there.
    """
    try:
        yield
    except exceptions.RelayError as error:
        if error.code != "endpoint_deleted":
            raise
        raise Http404 from error


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


@frame.page("write", methods=("POST",))
def enable(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Deliver to an endpoint again; what was held becomes due."""
    endpoint = find(visit, endpoint_id)
    # What staff stopped only staff starts again; the page says so.
    with contextlib.suppress(exceptions.WrongState), transaction.atomic(visit.using):
        if endpoint.enable(as_tenant=True):
            record("endpoint.enabled", endpoint, visit)
    return back_to("endpoint", endpoint)


@frame.page("write", methods=("POST",))
def disable(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Hold back what is for an endpoint."""
    endpoint = find(visit, endpoint_id)
    with transaction.atomic(visit.using):
        if endpoint.disable(Endpoint.Reason.TENANT):
            record("endpoint.disabled", endpoint, visit)
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
        if endpoint.delete()[0]:
            record("endpoint.deleted", endpoint, visit)
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
        **limits(endpoint),
    }


def limits(endpoint: Endpoint | None = None) -> dict[str, Any]:
    """Return what a receiver is held to: an endpoint's, or what a new one's will be."""
    return {
        "disable_after": conf.settings.DISABLE_AFTER,
        "usual_timeout": conf.settings.TIMEOUT_SECONDS,
        "timeout_seconds": (endpoint and endpoint.timeout_seconds) or conf.settings.TIMEOUT_SECONDS,
        "max_payload_bytes": conf.settings.MAX_PAYLOAD_BYTES,
        "schedule": endpoint.schedule if endpoint else endpoint_choices.schedule_of(None),
        "source_addresses": conf.settings.PORTAL["SOURCE_ADDRESSES"],
    }


def record(action: str, endpoint: Endpoint, visit: Visit, **values: Any) -> None:
    """Put on record what a visitor did to an endpoint; in the transaction that does it."""
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
