"""The DLQ: what was given up, sent again or let go of."""

from datetime import UTC, timedelta
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.models import DLQEntry, Endpoint, Replay, lists, paging, statistics
from django_relay.pipeline import replays as pipeline
from django_relay.portal import endpoints, frame, problems, replays, subscriptions
from django_relay.portal.attempts import WindowForm
from django_relay.portal.visits import Visit

_ENDPOINTS = 200  # of how many endpoints the DLQ can be narrowed down to one
_DO = {"replay": Replay.Kind.FAILED, "discard": Replay.Kind.DISCARD}
_ALL = "_all"  # at the end of what is to be done with everything that the filters let through


class DLQForm(WindowForm):
    """What the list is narrowed down to."""

    state = forms.ChoiceField(
        required=False,
        choices=[("open", _("Open")), ("replayed", _("Sent again")), ("discarded", _("Discarded"))],
    )
    endpoint = forms.CharField(required=False, max_length=64)
    event_type = forms.CharField(required=False, max_length=128)

    def filters(self) -> lists.Filters:
        """Return the list's filters of a valid form."""
        chosen = self.cleaned_data
        return lists.Filters(
            endpoint_id=chosen["endpoint"],
            event_type=chosen["event_type"],
            state=chosen["state"] or "open",
            since=chosen["since"],
            until=chosen["until"],
        )

    def of_replay(self) -> dict[str, Any]:
        """Return the same of a valid form as a replay is told it.

        Without an end of the reader's it ends now, in whole seconds, which a page of confirmation passes on: what it
        counted is what is sent, whatever is given up meanwhile.
        """
        chosen = self.cleaned_data
        return {
            "since": chosen["since"],
            "until": chosen["until"] or timezone.now().replace(microsecond=0) + timedelta(seconds=1),
            "event_types": [chosen["event_type"]] if chosen["event_type"] else None,
            "endpoint_ids": [chosen["endpoint"]] if chosen["endpoint"] else None,
        }


@frame.page()
def show(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """Show what was given up, newest first."""
    return _show(request, visit, DLQForm(request.GET))


@frame.page("replay", methods=("POST",))
def act(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """Send again, or discard: the entries that were chosen, or all that the filters let through, once confirmed."""
    asked = request.POST.get("do", "")
    what, everything = asked.removesuffix(_ALL), asked.endswith(_ALL)
    form = DLQForm(request.POST)
    entry_ids = request.POST.getlist("entry")[: paging.MAX_LIMIT]
    if what not in _DO or not form.is_valid():
        return _show(request, visit, form)
    if not everything and not entry_ids:
        return _show(request, visit, form, problem=str(_("Choose at least one delivery.")))
    try:
        if everything and "confirmed" not in request.POST:
            return _ask(request, visit, what, form)
        chosen = form.of_replay() if everything else {"entry_ids": _own(visit, entry_ids)}
        replay = replays.begin(visit, _DO[what], **chosen)
    except exceptions.RelayError as error:
        return _show(request, visit, form, problem=problems.sentence(error))
    return HttpResponseRedirect(reverse("relay_portal:replay", args=[replay.pk]), status=303)


def _ask(request: HttpRequest, visit: Visit, what: str, form: DLQForm) -> HttpResponseBase:
    """Show how many there are of what is to be done with all, and which, and ask."""
    wanted = form.of_replay()
    context = {
        "section": "dlq",
        "what": what,
        "count": pipeline.count(_DO[what], **replays.of(visit), **wanted, using=visit.using),
        "wanted": wanted,
        "until": wanted["until"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "since": wanted["since"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") if wanted["since"] else "",
        "endpoint": endpoints.find(visit, form.cleaned_data["endpoint"]) if form.cleaned_data["endpoint"] else None,
        "chosen": form.cleaned_data,
    }
    return frame.show(request, visit, "dlq/confirm.html", context)


def _show(request: HttpRequest, visit: Visit, form: DLQForm, *, problem: str = "") -> HttpResponseBase:
    found: paging.Page[DLQEntry] = paging.Page([])
    owned = Endpoint.objects.using(visit.using).filter(
        application_id=visit.owner.application_id, tenant_id=visit.owner.tenant_id
    )
    own = list(owned.defer("headers").order_by("-pk")[:_ENDPOINTS])
    if form.is_valid() and form.cleaned_data["endpoint"] in {"", *(row.pk for row in own)}:
        found = lists.dlq_entries(visit.owner, form.filters(), wanted=form.wanted, using=visit.using)
    context: dict[str, Any] = {
        "section": "dlq",
        "form": form,
        "page": found,
        "endpoints": [row for row in own if row.deleted_at is None],
        "types": subscriptions.types(visit),
        "open": statistics.in_dlq([row.pk for row in own if row.deleted_at is None], using=visit.using),
        "state": form.cleaned_data.get("state") or "open",
        "filtered": any(form.cleaned_data.get(name) for name in ("endpoint", "event_type", "since", "until")),
        "problem": problem,
    }
    return frame.show(request, visit, "dlq/list.html", context, status=409 if problem else 200)


def _own(visit: Visit, entry_ids: list[str]) -> list[str]:
    """Return the ids if all are the tenant's.

    Raises:
        NotReplayable: ``entry_gone``, one is not (any more).
    """
    rows = DLQEntry.objects.using(visit.using).filter(
        endpoint__application_id=visit.owner.application_id, endpoint__tenant_id=visit.owner.tenant_id
    )
    try:
        count = rows.filter(pk__in=entry_ids).count()
    except forms.ValidationError:
        count = -1
    if count != len(set(entry_ids)):
        raise exceptions.NotReplayable(code="entry_gone")
    return entry_ids
