"""Publish failures: what could not be stored as an event, looked at and emitted again."""

from typing import Any

from django.contrib import admin
from django.db import DatabaseError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.admin import cells
from django_relay.admin.lists import Found, KeysetAdmin, ReadOnly, TimeFilter, choice_filter
from django_relay.admin.operations import Done, Operated, Operation
from django_relay.models import Event, PublishFailure, audit, searching
from django_relay.pipeline import outbox
from django_relay.rules.access import Caller

_STATES = (("kept", _("not emitted")), ("emitted", _("emitted")))


def _emit(caller: Caller, failure: PublishFailure, chosen: dict[str, Any]) -> Done:
    try:
        event = outbox.emit_again(failure, using=str(failure._state.db))
    except (DatabaseError, TypeError) as error:
        raise exceptions.InvalidEvent(f"It cannot be stored: {error}") from error
    if event is None:
        raise exceptions.WrongState(gettext("It was emitted already, or sending is switched off."), code="emitted")
    application = failure.arguments.get("application", "default")
    audit.record("publish_failure.emitted", failure, caller=caller, application=application)
    return Done(_("The event is stored, as of when it was first tried."), goto=cells.url_of(Event, event.pk))


@admin.register(PublishFailure)
class PublishFailureAdmin(KeysetAdmin, Operated, ReadOnly):
    """One event that could not be stored."""

    list_display = ("short_id", "event_type", "tenant", "state_badge", "why", "caller", "age")
    list_filter = (
        TimeFilter,
        choice_filter(
            "state", _("state"), _STATES, lambda rows, value: rows.filter(emitted_at__isnull=value == "kept")
        ),
    )
    search_help_text = _("A failure's id.")
    fields = ("id", "event_type", "tenant", "state_badge", "error", "caller", "kept", "emitted_at", "created_at")
    operations = (
        Operation(
            name="emit",
            label=_("Emit again"),
            label_of_many=_("Emit the selected events again"),
            question=_("The event is stored as if it were when it was first tried; at most once, whoever else tries."),
            permission="django_relay.send_event",
            perform=_emit,
            applies=lambda row: row.emitted_at is None,
        ),
    )

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Find by id."""
        return Found([{"id": term}] if searching.kind_of(term) == "pub_" else [] if term else searching.EVERYBODY)

    @admin.display(description=_("tenant"))
    def tenant(self, row: PublishFailure) -> str:
        """Name the tenant."""
        return cells.tenant(row.tenant_id)

    @admin.display(description=_("state"))
    def state_badge(self, row: PublishFailure) -> Any:
        """Show whether it was emitted."""
        return (
            cells.badge("emitted", gettext("emitted"))
            if row.emitted_at
            else cells.badge("not emitted", gettext("not emitted"))
        )

    @admin.display(description=_("error"))
    def why(self, row: PublishFailure) -> Any:
        """Show what went wrong."""
        return cells.cut(row.error, 80)

    @admin.display(description=_("arguments"))
    def kept(self, row: PublishFailure) -> Any:
        """Show what was to be emitted."""
        return cells.document(row.arguments)

    @admin.display(description=_("when"))
    def age(self, row: PublishFailure) -> Any:
        """Show when it was."""
        return cells.moment(row.created_at)
