"""Bulk replays: how far they have come, and ending them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_relay.admin import cells
from django_relay.admin.lists import KeysetAdmin, ReadOnly, TimeFilter, choice_filter
from django_relay.admin.operations import Done, Operated, Operation
from django_relay.models import Endpoint, Replay, audit
from django_relay.pipeline import replays as pipeline
from django_relay.rules.access import Caller


def _cancel(caller: Caller, replay: Replay, chosen: dict[str, Any]) -> Done:
    pipeline.cancel(replay, actor=caller.actor)
    audit.record("replay.cancelled", replay, caller=caller)
    return Done(_("The replay is cancelled; what it made already is sent."))


@admin.register(Replay)
class ReplayAdmin(KeysetAdmin, Operated, ReadOnly):
    """A durable bulk replay."""

    list_display = ("short_id", "state_badge", "kind", "tenant", "progress", "requested_by", "age")
    list_filter = (
        TimeFilter,
        choice_filter("state", _("state"), Replay.State.choices),
        choice_filter("kind", _("kind"), Replay.Kind.choices),
    )
    list_select_related = ("application",)
    search_help_text = _("A replay id or a tenant; whole, not in part.")
    fieldsets = (
        (None, {"fields": ("id", "kind", "application", "tenant", "receiver", "wanted", "requested_by")}),
        (_("Times"), {"fields": ("created_at", "started_at", "completed_at")}),
    )
    operations = (
        Operation(
            name="cancel",
            label=_("Cancel"),
            label_of_many=_("Cancel the selected replays"),
            question=_("Nothing more is matched. Deliveries that the replay made already are sent."),
            permission="django_relay.replay_delivery",
            perform=_cancel,
            applies=lambda row: row.is_in_progress,
            is_destructive=True,
        ),
    )

    class Media:
        js = ["django_relay/admin.js"]

    def about(self, request: HttpRequest, row: Replay) -> dict[str, Any]:
        """Show how far it has come."""
        return {"relay_before": "admin/django_relay/replay/progress.html"}

    @admin.display(description=_("state"))
    def state_badge(self, row: Replay) -> Any:
        """Show the state."""
        return cells.badge(row.state, row.get_state_display())

    @admin.display(description=_("tenant"))
    def tenant(self, row: Replay) -> str:
        """Name the tenant."""
        return cells.tenant(row.tenant_id)

    @admin.display(description=_("done of total"))
    def progress(self, row: Replay) -> str:
        """Show how far it has come."""
        return f"{row.done_count:,} / {row.total_count:,}"

    @admin.display(description=_("endpoint"))
    def receiver(self, row: Replay) -> Any:
        """Link to its one endpoint, if it has but one."""
        return cells.link(Endpoint, row.endpoint_id)

    @admin.display(description=_("filter"))
    def wanted(self, row: Replay) -> Any:
        """Show what was asked for."""
        return cells.document(row.filter)

    @admin.display(description=_("asked for"))
    def age(self, row: Replay) -> Any:
        """Show when it was asked for."""
        return cells.moment(row.created_at)
