"""Who works now, and what the workers keep for themselves: looked at when something is wrong."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_relay import sources
from django_relay.admin import cells
from django_relay.admin.deliveries import endpoint_of
from django_relay.admin.lists import Found, KeysetAdmin, ReadOnly, TimeFilter
from django_relay.models import (
    Endpoint,
    EndpointHour,
    EndpointPace,
    JobRun,
    SigningSecret,
    TenantLock,
    WorkerPresence,
    searching,
)


class OfEndpoint(KeysetAdmin, ReadOnly):
    """Rows of endpoints."""

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read the endpoints along."""
        return super().get_queryset(request).prefetch_related(endpoint_of())

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Find by endpoint."""
        return Found(
            [{"endpoint_id": term}] if searching.kind_of(term) == "ep_" else searching.EVERYBODY if not term else []
        )

    @admin.display(description=_("endpoint"))
    def receiver(self, row: Any) -> Any:
        """Link to the endpoint."""
        return cells.link(Endpoint, row.endpoint_id, cells.receiver(row.endpoint.url))


@admin.register(WorkerPresence)
class WorkerPresenceAdmin(KeysetAdmin, ReadOnly):
    """One worker loop."""

    list_display = ("short_id", "runner", "state_badge", "hostname", "pid", "in_flight", "started", "seen")
    search_fields = ()
    search_help_text = None

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Show all there are: a handful."""
        return Found(searching.EVERYBODY)

    @admin.display(description=_("state"))
    def state_badge(self, row: WorkerPresence) -> Any:
        """Show what it does."""
        return cells.badge(row.state, row.get_state_display())

    @admin.display(description=_("started"))
    def started(self, row: WorkerPresence) -> Any:
        """Show since when it works."""
        return cells.moment(row.started_at)

    @admin.display(description=_("seen"))
    def seen(self, row: WorkerPresence) -> Any:
        """Show when it last said that it lives."""
        return cells.moment(row.seen_at)


@admin.register(JobRun)
class JobRunAdmin(KeysetAdmin, ReadOnly):
    """What is remembered of a background job that becomes events."""

    list_display = ("short_id", "source", "job_id", "attempt", "state_badge", "hostname", "pid", "heard")
    search_help_text = _("A job's own id; whole, not in part.")

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Find by the id that the job system gave it, in each of them."""
        return Found(
            [{"source": source, "job_id": term} for source in sources.SOURCES] if term else searching.EVERYBODY
        )

    @admin.display(description=_("state"))
    def state_badge(self, row: JobRun) -> Any:
        """Show where it stands."""
        return cells.badge(row.state, row.get_state_display())

    @admin.display(description=_("heard"))
    def heard(self, row: JobRun) -> Any:
        """Show when something was last heard of it."""
        return cells.moment(row.updated_at)


@admin.register(EndpointHour)
class EndpointHourAdmin(OfEndpoint):
    """What came back of an endpoint's attempts in an hour."""

    keyset = ("hour", "id")
    list_display = ("hour", "receiver", "delivered", "retried", "dead_lettered", "inconclusive", "timeouts")
    list_filter = (TimeFilter,)
    search_help_text = _("An endpoint id.")


@admin.register(EndpointPace)
class EndpointPaceAdmin(OfEndpoint):
    """When a rate-limited endpoint has its next free slot."""

    list_display = ("endpoint_id", "receiver", "next_free_at")
    search_help_text = _("An endpoint id.")


@admin.register(SigningSecret)
class SigningSecretAdmin(OfEndpoint):
    """That there is a secret; the secret itself is shown by an operation of its endpoint alone, on record."""

    list_display = ("short_id", "receiver", "scheme", "created_at", "expires_at")
    fields = ("id", "receiver", "scheme", "created_at", "expires_at")
    search_help_text = _("An endpoint id.")

    def get_queryset(self, request: HttpRequest) -> Any:
        """Leave the secret where it is."""
        return super().get_queryset(request).defer("key")


@admin.register(TenantLock)
class TenantLockAdmin(KeysetAdmin, ReadOnly):
    """A row to lock; it says nothing."""

    list_display = ("short_id", "application", "tenant_id")
    list_select_related = ("application",)
