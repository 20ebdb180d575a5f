"""What staff do to endpoints: stop and start them, try them out, have them catch up; see and rotate their secrets."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from django import forms
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from django_relay import exceptions
from django_relay.admin import cells
from django_relay.admin.operations import Done, Operation, Shown
from django_relay.models import Endpoint, Event, EventType, Replay, audit
from django_relay.pipeline import endpoint_tests, replays
from django_relay.rules.access import Caller

_OVERLAPS = ((0, _("not at all: the old secret stops now")), (3_600, _("1 hour")), (86_400, _("1 day")),
             (259_200, _("3 days")), (604_800, _("7 days")))  # fmt: skip
_BACK = ((1, _("the last hour")), (24, _("the last day")), (168, _("the last 7 days")), (720, _("the last 30 days")))
_TYPES = 500
"""How many event types a test can be chosen from."""


class RotationForm(forms.Form):
    """How a secret is rotated."""

    overlap_seconds = forms.TypedChoiceField(
        label=_("How long the old secret signs on"), coerce=int, choices=_OVERLAPS, initial=86_400
    )


class WindowForm(forms.Form):
    """From when on something is sent again."""

    hours = forms.TypedChoiceField(label=_("From when on"), coerce=int, choices=_BACK, initial=24)


def _test_form(request: HttpRequest, rows: Sequence[Endpoint]) -> type[forms.Form]:
    """Return the form that asks for one of the catalog's types."""
    types = EventType.objects.filter(application_id=rows[0].application_id, deprecated=False).order_by("name")
    names = list(types.values_list("name", flat=True)[:_TYPES])
    field = forms.ChoiceField(label=_("Event type"), choices=[(name, name) for name in names])
    return cast("type[forms.Form]", type("TestForm", (forms.Form,), {"event_type": field}))


def _enable(caller: Caller, endpoint: Endpoint, chosen: dict[str, Any]) -> Done:
    if endpoint.enable():
        audit.record("endpoint.enabled", endpoint, caller=caller)
    _make_sure_it_is_there(endpoint)
    return Done(_("The endpoint is enabled; what was held for it is due."))


def _disable(caller: Caller, endpoint: Endpoint, chosen: dict[str, Any]) -> Done:
    if endpoint.disable(Endpoint.Reason.STAFF):
        audit.record("endpoint.disabled", endpoint, caller=caller, after={"why": chosen["why"]})
    _make_sure_it_is_there(endpoint)
    return Done(_("The endpoint is disabled; what comes for it is held."))


def _delete(caller: Caller, endpoint: Endpoint, chosen: dict[str, Any]) -> Done:
    if endpoint.delete()[0]:
        audit.record("endpoint.deleted", endpoint, caller=caller)
    return Done(_("The endpoint is deleted, its secrets are destroyed."))


def _make_sure_it_is_there(endpoint: Endpoint) -> None:
    """Refuse what a transition did not do because others deleted the endpoint meanwhile."""
    if endpoint.deleted_at is not None:
        raise exceptions.WrongState("The endpoint was deleted.", code="endpoint_deleted")


def _test(caller: Caller, endpoint: Endpoint, chosen: dict[str, Any]) -> Done:
    event = endpoint_tests.send(endpoint, chosen["event_type"], actor=caller.actor)
    audit.record("endpoint.tested", endpoint, caller=caller, after={"event_type": chosen["event_type"]})
    return Done(_("The test is on its way; its delivery shows what came back."), goto=cells.url_of(Event, event.pk))


def _recover(caller: Caller, endpoint: Endpoint, chosen: dict[str, Any]) -> Done:
    return _start(caller, Replay.Kind.FAILED, endpoint, chosen)


def _replay_missing(caller: Caller, endpoint: Endpoint, chosen: dict[str, Any]) -> Done:
    return _start(caller, Replay.Kind.MISSING, endpoint, chosen)


def _replay_all(caller: Caller, endpoint: Endpoint, chosen: dict[str, Any]) -> Done:
    return _start(caller, Replay.Kind.ALL, endpoint, chosen)


def _start(caller: Caller, kind: str, endpoint: Endpoint, chosen: dict[str, Any]) -> Done:
    replay = replays.start(
        kind,
        tenant_id=endpoint.tenant_id,
        application=endpoint.application.slug,
        actor=caller.actor,
        using=endpoint._state.db,
        since=timezone.now() - timedelta(hours=chosen["hours"]),
        endpoint_ids=[endpoint.pk],
    )
    after = {"kind": kind, "total_count": replay.total_count}
    audit.record("replay.created", replay, caller=caller, after=after)
    return Done(_("The workers are at it."), goto=cells.url_of(Replay, replay.pk))


@sensitive_variables()
def _reveal(caller: Caller, endpoint: Endpoint, chosen: dict[str, Any]) -> Done:
    audit.record("endpoint.secret_revealed", endpoint, caller=caller)
    secrets = endpoint.secrets
    shown = [Shown(_("Current signing secret") if not number else _("Older one, still signing"), key)
             for number, key in enumerate(secrets)]  # fmt: skip
    return Done(_("That you have seen it is on record."), shown=shown) if shown else Done(_("It has no secrets."))


@sensitive_variables()
def _rotate(caller: Caller, endpoint: Endpoint, chosen: dict[str, Any]) -> Done:
    overlap = chosen["overlap_seconds"]
    key = endpoint.rotate_secret(timedelta(seconds=overlap))
    audit.record("endpoint.secret_rotated", endpoint, caller=caller, after={"overlap_seconds": overlap})
    return Done(_("Hand it to the tenant; it is shown this once."), shown=[Shown(_("New signing secret"), key)])


class _WhyForm(forms.Form):
    why = forms.CharField(label=_("Why (for the audit)"), max_length=200, required=False)


def _is_there(row: Endpoint) -> bool:
    return row.deleted_at is None


OPERATIONS = (
    Operation(
        name="test",
        label=_("Send a test"),
        question=_("An event of the type's example goes to this endpoint alone, with one attempt and no consequences."),
        permission="django_relay.test_endpoint",
        perform=_test,
        applies=lambda row: row.enabled,
        form=_test_form,
    ),
    Operation(
        name="enable",
        label=_("Enable"),
        label_of_many=_("Enable the selected endpoints"),
        question=_("What was held becomes due, and its health starts anew."),
        permission="django_relay.change_endpoint",
        perform=_enable,
        applies=lambda row: not row.enabled and row.deleted_at is None,
    ),
    Operation(
        name="disable",
        label=_("Disable"),
        label_of_many=_("Disable the selected endpoints"),
        question=_(
            "Nothing is sent to it; what comes is held until it is enabled. The tenant cannot enable it itself."
        ),
        permission="django_relay.change_endpoint",
        perform=_disable,
        applies=lambda row: row.enabled,
        form=lambda request, rows: _WhyForm,
        is_destructive=True,
    ),
    Operation(
        name="recover",
        label=_("Recover what failed"),
        question=_("What stands open in the DLQ for this endpoint is sent again, by a replay that the workers do."),
        permission="django_relay.replay_delivery",
        perform=_recover,
        applies=_is_there,
        form=lambda request, rows: WindowForm,
    ),
    Operation(
        name="missing",
        label=_("Replay what is missing"),
        question=_("Events that this endpoint wants as it is now, and never got, are sent to it."),
        permission="django_relay.replay_delivery",
        perform=_replay_missing,
        applies=_is_there,
        form=lambda request, rows: WindowForm,
    ),
    Operation(
        name="all",
        label=_("Replay everything"),
        question=_(
            "Every event that this endpoint wants as it is now is sent to it, also what it got already: for a receiver "
            "that lost its data. Repeated events carry the webhook-id they had."
        ),
        permission="django_relay.replay_delivery",
        perform=_replay_all,
        applies=_is_there,
        form=lambda request, rows: WindowForm,
    ),
    Operation(
        name="reveal",
        label=_("Show the secret"),
        question=_("The signing secret is shown on the next page. That you have seen it goes on record."),
        permission="django_relay.reveal_secret",
        perform=_reveal,
        applies=_is_there,
    ),
    Operation(
        name="rotate",
        label=_("Rotate the secret"),
        question=_("A new signing secret is made and shown once. Both sign until the old one ends."),
        permission="django_relay.reveal_secret",
        perform=_rotate,
        applies=_is_there,
        form=lambda request, rows: RotationForm,
    ),
    Operation(
        name="delete",
        label=_("Delete"),
        label_of_many=_("Delete the selected endpoints"),
        question=_("Deliveries that are pending are cancelled, secrets and headers destroyed. This cannot be undone."),
        permission="django_relay.delete_endpoint",
        perform=_delete,
        applies=_is_there,
        is_destructive=True,
    ),
)
