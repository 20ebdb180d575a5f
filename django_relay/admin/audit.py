"""The audit: who did what, when and from where."""

from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_relay.admin import cells
from django_relay.admin.lists import Found, KeysetAdmin, ReadOnly, TimeFilter, choice_filter
from django_relay.models import AuditEntry, searching
from django_relay.models.audit_entry import ACTIONS


@admin.register(AuditEntry)
class AuditEntryAdmin(KeysetAdmin, ReadOnly):
    """One thing that somebody did."""

    keyset = ("at", "id")
    list_display = ("when", "what", "actor", "object_id", "owner", "address")
    list_display_links = ("when", "what")
    list_filter = (TimeFilter, choice_filter("action", _("action"), list(ACTIONS.items())))
    search_help_text = _("The id of what something was done to, or a tenant; whole, not in part.")
    fields = ("id", "what", "action", "actor", "object_type", "object_id", "application", "owner", "at", "address",
              "changed")  # fmt: skip

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Find by what something was done to."""
        return Found(searching.audit_entries(term, using=using))

    @admin.display(description=_("when"))
    def when(self, row: AuditEntry) -> Any:
        """Show when it was."""
        return cells.moment(row.at)

    @admin.display(description=_("what"))
    def what(self, row: AuditEntry) -> str:
        """Name the action."""
        return row.description

    @admin.display(description=_("tenant"))
    def owner(self, row: AuditEntry) -> str:
        """Name the tenant, if it concerns one."""
        return cells.NOTHING if row.tenant_id is None else cells.tenant(row.tenant_id)

    @admin.display(description=_("changes"))
    def changed(self, row: AuditEntry) -> Any:
        """Show what changed; the audit keeps no secret."""
        return cells.document(row.changes)
