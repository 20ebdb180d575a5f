"""Sending again in bulk: choose a stretch of time, see the count, start, and watch."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.models import Endpoint, Replay, audit, statistics
from django_relay.pipeline import replays
from django_relay.portal import endpoints, frame, problems, subscriptions
from django_relay.portal.attempts import WindowForm
from django_relay.portal.visits import Visit

PRESETS: Mapping[str, tuple[timedelta, Promise]] = {
    "1h": (timedelta(hours=1), _("Last hour")),
    "8h": (timedelta(hours=8), _("Last 8 hours")),
    "1d": (timedelta(days=1), _("Last 24 hours")),
    "3d": (timedelta(days=3), _("Last 3 days")),
    "7d": (timedelta(days=7), _("Last week")),
    "14d": (timedelta(days=14), _("Last 2 weeks")),
}
KINDS = (Replay.Kind.FAILED, Replay.Kind.MISSING, Replay.Kind.ALL)


class ReplayForm(WindowForm):
    """What is to be sent again."""

    kind = forms.ChoiceField(choices=[(kind.value, kind.label) for kind in KINDS], initial=Replay.Kind.FAILED)
    preset = forms.ChoiceField(
        choices=[*((key, label) for key, (_back, label) in PRESETS.items()), ("custom", _("From a time of your own"))],
        initial="1d",
    )
    event_type = forms.CharField(required=False, max_length=128)

    def clean(self) -> dict[str, Any]:
        """Turn a preset into a beginning."""
        found = super().clean()
        preset = str(found.get("preset", ""))
        if preset in PRESETS:
            found["since"], found["until"] = timezone.now() - PRESETS[preset][0], None
        elif preset == "custom" and not found.get("since"):
            self.add_error("since", _("Say from when on."))
        return found


@frame.page("replay", methods=("GET", "POST"))
def start(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Choose, count, and start; what was counted is exactly what a start at that moment would send."""
    endpoint = endpoints.find(visit, endpoint_id)
    if request.method == "POST":
        return _start(request, visit, endpoint)
    usual = {"kind": str(Replay.Kind.FAILED), "preset": "1d"}
    return _show(request, visit, endpoint, ReplayForm({**usual, **request.GET.dict()}))


@frame.page("replay")
def show(request: HttpRequest, visit: Visit, replay_id: str) -> HttpResponseBase:
    """Show how far a replay has come."""
    replay = find(visit, replay_id)
    waiting = None
    if replay.kind != Replay.Kind.DISCARD:
        waiting = statistics.Capped(0) if replay.is_in_progress and not replay.done_count else _waiting(replay, visit)
    context = {
        "section": "endpoints" if replay.endpoint_id else "dlq",
        "replay": replay,
        "endpoint": _endpoint(replay, visit),
        "since": parse_datetime(replay.filter.get("since", "")),
        "until": parse_datetime(replay.filter.get("until", "")),
        "waiting": waiting,
        "handled": replay.done_count + replay.skipped_count,
        "going_on": replay.is_in_progress or bool(waiting and waiting.count),
    }
    return frame.show(request, visit, "replays/replay.html", context)


@frame.page("replay", methods=("POST",))
def cancel(request: HttpRequest, visit: Visit, replay_id: str) -> HttpResponseBase:
    """End a replay; what it has sent on stays on its way."""
    replay = find(visit, replay_id)
    assert visit.caller is not None  # noqa: S101 - frame.page lets nobody else in
    try:
        with transaction.atomic(visit.using):
            replays.cancel(replay, actor=visit.caller.actor)
            audit.record("replay.cancelled", replay, caller=visit.caller, using=visit.using)
    except exceptions.WrongState:
        pass  # it has ended by itself: the page says so
    return HttpResponseRedirect(reverse("relay_portal:replay", args=[replay.pk]), status=303)


def find(visit: Visit, replay_id: str) -> Replay:
    """Return a replay of the visitor's tenant.

    Raises:
        Http404: there is none (any more).
    """
    rows = Replay.objects.using(visit.using).filter(
        application_id=visit.owner.application_id, tenant_id=visit.owner.tenant_id
    )
    try:
        found = rows.filter(pk=replay_id).first()
    except ValidationError:
        found = None
    if found is None:
        raise Http404
    return found


def begin(visit: Visit, kind: str, **chosen: Any) -> Replay:
    """Start a replay of the visitor's tenant, and put that on record.

    Raises:
        InvalidReplay, LimitReached: as :func:`django_relay.pipeline.replays.start` does.
    """
    assert visit.caller is not None  # noqa: S101 - frame.page lets nobody else in
    with transaction.atomic(visit.using):
        replay = replays.start(kind, **of(visit), **chosen, actor=visit.caller.actor, using=visit.using)
        audit.record("replay.created", replay, caller=visit.caller, after={"kind": kind}, using=visit.using)
    return replay


def of(visit: Visit) -> dict[str, Any]:
    """Return whose events are sent again, as the pipeline is told."""
    assert visit.application is not None  # noqa: S101 - frame.page lets nobody else in
    return {"tenant_id": str(visit.owner.tenant_id), "application": visit.application.slug}


def _show(
    request: HttpRequest, visit: Visit, endpoint: Endpoint, form: ReplayForm, *, problem: str = ""
) -> HttpResponseBase:
    preview = None
    if not problem and form.is_bound and form.is_valid():
        chosen = _chosen(form, endpoint)
        try:
            preview = {"count": replays.count(**chosen, **of(visit), using=visit.using), **chosen}
        except exceptions.RelayError as error:
            problem = problems.sentence(error)
    context = {
        **endpoints.about(visit, endpoint, "overview"),
        "form": form,
        "presets": PRESETS,
        "preview": preview,
        "problem": problem,
        "types": subscriptions.types(visit),
    }
    return frame.show(request, visit, "replays/start.html", context, status=409 if problem else 200)


def _start(request: HttpRequest, visit: Visit, endpoint: Endpoint) -> HttpResponseBase:
    kind, event_type = request.POST.get("kind", ""), request.POST.get("event_type", "")[:200]
    try:
        replay = begin(
            visit,
            kind if kind in KINDS else "",
            since=_moment(request.POST.get("since", "")),
            until=_moment(request.POST.get("until", "")),
            event_types=[event_type] if event_type else None,
            endpoint_ids=[endpoint.pk],
        )
    except exceptions.RelayError as error:
        return _show(request, visit, endpoint, ReplayForm(initial={"kind": kind}), problem=problems.sentence(error))
    return HttpResponseRedirect(reverse("relay_portal:replay", args=[replay.pk]), status=303)


def _chosen(form: ReplayForm, endpoint: Endpoint) -> dict[str, Any]:
    chosen = form.cleaned_data
    return {
        "kind": chosen["kind"],
        "since": chosen["since"],
        "until": chosen["until"] or timezone.now(),
        "event_types": [chosen["event_type"]] if chosen["event_type"] else None,
        "endpoint_ids": [endpoint.pk],
    }


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text[:40])
    except ValueError:
        return None
    return found if found is not None and timezone.is_aware(found) else None


def _waiting(replay: Replay, visit: Visit) -> statistics.Capped:
    rows = replay.deliveries.using(visit.using).filter(state="pending").order_by()
    found = rows[: statistics.COUNTED + 1].count()
    return statistics.Capped(min(found, statistics.COUNTED), found > statistics.COUNTED)


def _endpoint(replay: Replay, visit: Visit) -> Endpoint | None:
    if replay.endpoint_id is None:
        return None
    return Endpoint.objects.using(visit.using).defer("headers").filter(pk=replay.endpoint_id).first()
