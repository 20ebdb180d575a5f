"""Trying an endpoint: a test event, and what came back."""

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.models import Endpoint, Event, EventType, audit
from django_relay.pipeline import endpoint_tests
from django_relay.portal import endpoints, frame, highlighting, problems, subscriptions
from django_relay.portal.visits import Visit


class SendForm(forms.Form):
    """What is sent."""

    event_type = forms.CharField(max_length=128)
    data = forms.CharField(required=False, max_length=600_000)  # type: ignore[assignment]  # a field; Form.data is put back

    def clean_data(self) -> Any:
        """Return the data as a JSON value; ``None`` takes the type's example."""
        text = self.cleaned_data["data"].strip()
        try:
            return json.loads(text) if text else None
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 1)
            raise ValidationError(_("This is not JSON; look at line %(line)s."), params={"line": line}) from error


@frame.page("test", methods=("GET", "POST"))
def send(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Choose an event type, see its example, and send it."""
    endpoint = endpoints.find(visit, endpoint_id)
    types = [row for row in subscriptions.types(visit) if not row.deprecated]
    form = SendForm(request.POST) if request.method == "POST" else None
    if form is not None and form.is_valid():
        event = _send(form, endpoint, visit)
        if event is not None:
            return HttpResponseRedirect(reverse("relay_portal:test_result", args=[endpoint.pk, event.pk]), status=303)
    name = request.GET.get("event_type", "") if form is None else str(form["event_type"].value())
    names = [row.name for row in types]
    if name not in names:
        name = next((each for each in names if subscriptions.reaches(endpoint.event_types, each)), (names or [""])[0])
    context = {
        **endpoints.about(visit, endpoint, "testing"),
        "form": form,
        "types": types,
        "chosen": name,
        "example": _example(visit, name) if form is None or not form["data"].value() else form["data"].value(),
    }
    return frame.show(request, visit, "endpoints/testing.html", context, status=200 if form is None else 422)


@frame.page()
def result(request: HttpRequest, visit: Visit, endpoint_id: str, event_id: str) -> HttpResponseBase:
    """Show what came back, or that nothing has yet."""
    endpoint = endpoints.find(visit, endpoint_id)
    try:
        event = Event.objects.using(visit.using).filter(pk=event_id, only_endpoint_id=endpoint.pk).first()
    except ValidationError:
        event = None
    if event is None:
        raise Http404
    found = endpoint_tests.result(event)
    context = {
        **endpoints.about(visit, endpoint, "testing"),
        "event": event,
        "delivery": found.delivery if found else None,
        "attempt": found.attempt if found else None,
        "waiting": (found is None and event.status != Event.Status.NO_MATCH) or bool(found and not found.attempt),
    }
    return frame.show(request, visit, "endpoints/test_result.html", context)


def _send(form: SendForm, endpoint: Endpoint, visit: Visit) -> Event | None:
    assert visit.caller is not None  # noqa: S101 - frame.page lets nobody else in
    name = form.cleaned_data["event_type"]
    try:
        with endpoints.still_there(), transaction.atomic(visit.using):
            event = endpoint_tests.send(endpoint, name, data=form.cleaned_data["data"], actor=visit.caller.actor)
            audit.record(
                "endpoint.tested", endpoint, caller=visit.caller, after={"event_type": name}, using=visit.using
            )
    except exceptions.RelayError as error:
        form.add_error("data", problems.sentence(error))
        return None
    return event


def _example(visit: Visit, name: str) -> str:
    row = (
        EventType.objects.using(visit.using)
        .filter(application_id=visit.owner.application_id, name=name)
        .only("example")
        .first()
    )
    return "" if row is None or row.example is None else highlighting.dumps(row.example)
