"""Events: the log of everything that was sent, and one event with what became of it everywhere."""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.models import Delivery, Event, audit, explanation, lists, paging
from django_relay.pipeline import replays
from django_relay.portal import endpoints, frame, problems, subscriptions
from django_relay.portal.attempts import WindowForm
from django_relay.portal.visits import Visit

MAX_EXPORTED = 100_000
"""How many events a file of the log holds at most, the newest; its page says so."""
_ATTEMPTS = 100  # of one event, the newest; the log of an endpoint has all


class LogForm(WindowForm):
    """What the log is narrowed down to."""

    q = forms.CharField(required=False, max_length=255)
    event_type = forms.CharField(required=False, max_length=128)
    state = forms.ChoiceField(
        required=False,
        choices=[
            ("", _("Any state")),
            ("dispatched", _("Sent")),
            ("no_match", _("No endpoint")),
            ("pending", _("New")),
        ],
    )


@frame.page()
def logs(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """Show the tenant's events, newest first; an id leads to its event."""
    form = LogForm(request.GET)
    found: paging.Page[Event] = paging.Page([])
    sought, missed = "", False
    if form.is_valid():
        sought = form.cleaned_data["q"].strip()
        event_id = _seek(visit, sought) if sought else ""
        if event_id:
            return redirect("relay_portal:event", event_id)
        missed = bool(sought)
        if not missed:
            found = lists.events(visit.owner, filters_of(form), wanted=form.wanted, using=visit.using)
    rows = [{"event": event, "states": states} for event, states in _states(visit, found.data)]
    context = {
        "section": "logs",
        "form": form,
        "rows": rows,
        "page": found,
        "missed": missed,
        "types": subscriptions.types(visit),
        "most": MAX_EXPORTED,
    }
    return frame.show(request, visit, "events/logs.html", context)


@frame.page()
def show(request: HttpRequest, visit: Visit, event_id: str) -> HttpResponseBase:
    """Show an event: its payload, every endpoint that it went to or not, and why, and every attempt."""
    return _show(request, visit, find(visit, event_id))


@frame.page("replay", methods=("POST",))
def send_again(request: HttpRequest, visit: Visit, event_id: str) -> HttpResponseBase:
    """Send an event again: to the endpoints that were chosen, or to all that want it."""
    event = find(visit, event_id)
    assert visit.caller is not None  # noqa: S101 - frame.page lets nobody else in
    chosen = [endpoints.find(visit, key).pk for key in request.POST.getlist("endpoint")[:100]]
    try:
        with transaction.atomic(visit.using):
            replays.again(event, endpoint_ids=chosen or None, actor=visit.caller.actor)
            audit.record("event.replayed", event, caller=visit.caller, using=visit.using)
    except exceptions.RelayError as error:
        return _show(request, visit, event, problem=problems.sentence(error))
    return HttpResponseRedirect(reverse("relay_portal:event", args=[event.pk]), status=303)


def find(visit: Visit, event_id: str) -> Event:
    """Return an event of the visitor's tenant.

    Raises:
        Http404: there is none (any more).
    """
    rows = Event.objects.using(visit.using).filter(
        application_id=visit.owner.application_id, tenant_id=visit.owner.tenant_id
    )
    try:
        found = rows.filter(pk=event_id).first()
    except ValidationError:
        found = None
    if found is None:
        raise Http404
    return found


def filters_of(form: LogForm) -> lists.Filters:
    """Return the list's filters of a valid form."""
    chosen = form.cleaned_data
    return lists.Filters(
        event_type=chosen["event_type"], state=chosen["state"], since=chosen["since"], until=chosen["until"]
    )


def _show(request: HttpRequest, visit: Visit, event: Event, *, problem: str = "") -> HttpResponseBase:
    filters = lists.Filters(event_id=event.pk)
    deliveries = lists.deliveries(visit.owner, filters, wanted=paging.Wanted(paging.MAX_LIMIT), using=visit.using)
    attempts = lists.attempts(visit.owner, filters, wanted=paging.Wanted(_ATTEMPTS), using=visit.using)
    by_delivery: dict[str, list[Any]] = {}
    for attempt in attempts.data:
        by_delivery.setdefault(attempt.delivery_id, []).append(attempt)
    explained = explanation.explain(event, using=visit.using)
    rows = [
        {
            "explained": each,
            "deliveries": [
                {"delivery": delivery, "attempts": by_delivery.get(delivery.pk, [])}
                for delivery in deliveries.data
                if delivery.endpoint_id == each.endpoint.pk
            ],
        }
        for each in explained
    ]
    context = {
        "section": "logs",
        "event": event,
        "rows": rows,
        "waiting": event.status == Event.Status.PENDING
        or any(delivery.state == Delivery.State.PENDING for delivery in deliveries.data),
        "problem": problem,
    }
    return frame.show(request, visit, "events/event.html", context, status=409 if problem else 200)


def _seek(visit: Visit, text: str) -> str:
    """Return the id of the event that an id (its own, a delivery's, or an idempotency key) is of; ``""`` for none."""
    events = Event.objects.using(visit.using).filter(
        application_id=visit.owner.application_id, tenant_id=visit.owner.tenant_id
    )
    deliveries = Delivery.objects.using(visit.using).filter(
        endpoint__application_id=visit.owner.application_id, endpoint__tenant_id=visit.owner.tenant_id
    )
    found: str | None = None
    try:
        if text.startswith("evt_"):
            found = events.filter(pk=text).values_list("pk", flat=True).first()
        elif text.startswith("del_"):
            found = deliveries.filter(pk=text).values_list("event_id", flat=True).first()
    except ValidationError:
        pass
    if found is None and "\x00" not in text:
        found = events.filter(idempotency_key=text).values_list("pk", flat=True).first()
    return found or ""


def _states(visit: Visit, found: Sequence[Event]) -> Iterable[tuple[Event, dict[str, int]]]:
    """Return each event with how many endpoints it has reached, waits for and failed at; one query for all.

    Of several deliveries to one endpoint the newest counts: what was recovered has not failed.
    """
    rows = Delivery.objects.using(visit.using).of_events([event.pk for event in found])
    held = models.Case(
        models.When(state=Delivery.State.PENDING, endpoint__enabled=False, then=models.Value("held")), default="state"
    )
    newest: dict[tuple[str, str], tuple[str, str]] = {}
    for event_id, endpoint_id, key, state in rows.values_list("event_id", "endpoint_id", "pk", held):
        newest[event_id, endpoint_id] = max(newest.get((event_id, endpoint_id), ("", "")), (key, state))
    states: dict[str, dict[str, int]] = {}
    for (event_id, _endpoint_id), (_key, state) in newest.items():
        counts = states.setdefault(event_id, {})
        counts[state] = counts.get(state, 0) + 1
    return [(event, states.get(event.pk, {})) for event in found]
