"""The DLQ: what was given up, sent again or let go of; chosen ones, all that a list shows, or all there is."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions
from django_relay.admin import cells, operations, staff
from django_relay.admin.deliveries import by_status, endpoint_of
from django_relay.admin.lists import Found, KeysetAdmin, ReadOnly, TimeFilter, choice_filter
from django_relay.admin.operations import Done, Operated, Operation
from django_relay.models import Delivery, DLQEntry, Endpoint, Event, Replay, audit, searching
from django_relay.pipeline import dlq as pipeline
from django_relay.pipeline import replays
from django_relay.rules.access import Caller

TENANTS = 100
"""Of how many tenants the entries are sent again at once; each has a replay of its own."""
_STATES = (("open", _("open")), ("replayed", _("sent again")), ("discarded", _("discarded")))


class Share(NamedTuple):
    """What of a list is one tenant's."""

    application: str
    tenant_id: str
    endpoint_ids: Sequence[str] | None


def _replay(caller: Caller, entry: DLQEntry, chosen: dict[str, Any]) -> Done:
    delivery = pipeline.replay(entry, actor=caller.actor)
    audit.record("dlq_entry.replayed", entry, caller=caller, application=entry.endpoint.application.slug)
    return Done(_("It is on its way again."), goto=cells.url_of(Delivery, delivery.pk))


def _discard(caller: Caller, entry: DLQEntry, chosen: dict[str, Any]) -> Done:
    if pipeline.discard(entry, actor=caller.actor):
        audit.record("dlq_entry.discarded", entry, caller=caller, application=entry.endpoint.application.slug)
    return Done(_("The entry is discarded."))


def _many(kind: str) -> Any:
    def start(caller: Caller, entries: Sequence[DLQEntry], chosen: dict[str, Any]) -> Done:
        by_owner: dict[tuple[str, str], list[str]] = defaultdict(list)
        slugs = dict(
            Endpoint.objects.using(entries[0]._state.db)
            .filter(pk__in={entry.endpoint_id for entry in entries})
            .values_list("pk", "application__slug")
        )
        for entry in entries:
            by_owner[slugs[entry.endpoint_id], entry.tenant_id].append(entry.pk)
        shares = [(Share(slug, tenant_id, None), {"entry_ids": ids}) for (slug, tenant_id), ids in by_owner.items()]
        return _start(caller, kind, shares, using=str(entries[0]._state.db))

    return start


def _start(caller: Caller, kind: str, shares: Sequence[tuple[Share, dict[str, Any]]], *, using: str) -> Done:
    """Start a durable replay for each tenant; all or none."""
    with transaction.atomic(using):
        made: list[Replay] = []
        for share, wanted in shares:
            replay = replays.start(
                kind, tenant_id=share.tenant_id, application=share.application, actor=caller.actor, using=using,
                endpoint_ids=share.endpoint_ids, **cast("Any", wanted),
            )  # fmt: skip
            after = {"kind": kind, "total_count": replay.total_count}
            audit.record("replay.created", replay, caller=caller, after=after, using=using)
            made.append(replay)
    if len(made) == 1:
        return Done(_("The workers are at it."), goto=cells.url_of(Replay, made[0].pk))
    said = gettext("%(count)d replays were started, one for each tenant.") % {"count": len(made)}
    return Done(said, goto=cells.url_of(Replay))


@admin.register(DLQEntry)
class DLQEntryAdmin(KeysetAdmin, Operated, ReadOnly):
    """Why a delivery was given up."""

    list_display = ("short_id", "state_badge", "owner", "receiver", "answer", "age", "event_type")
    list_filter = (
        TimeFilter,
        choice_filter("state", _("state"), _STATES, lambda rows, value: cast("Any", rows).in_state(value)),
        by_status("last_status_code"),
    )
    search_help_text = _("An entry, delivery, event or endpoint id, or a tenant; whole, not in part.")
    fieldsets = (
        (None, {"fields": ("id", "state_badge", "owner", "event_type", "event_link", "delivery_link", "receiver")}),
        (_("Why"), {"fields": ("error_kind", "error", "last_status_code", "attempt_count", "failed_at")}),
        (_("What was done about it"), {"fields": ("replayed_at", "replay_count", "discarded_at")}),
    )
    operations = (
        Operation(
            name="replay",
            label=_("Send again"),
            label_of_many=_("Send the selected entries again"),
            question=_("The event is sent to its endpoint again, with a fresh budget of attempts."),
            permission="django_relay.replay_delivery",
            perform=_replay,
            applies=lambda row: row.discarded_at is None,
            many=_many(Replay.Kind.FAILED),
        ),
        Operation(
            name="discard",
            label=_("Discard"),
            label_of_many=_("Discard the selected entries"),
            question=_("What is discarded stays readable, counts no more as open, and cannot be sent again."),
            permission="django_relay.replay_delivery",
            perform=_discard,
            applies=lambda row: row.discarded_at is None,
            many=_many(Replay.Kind.DISCARD),
            is_destructive=True,
        ),
    )

    def get_urls(self) -> list[URLPattern]:
        """Return the admin's addresses, and that of what is done to all that a list shows."""
        view = self.admin_site.admin_view(self.all_view)
        return [path("all/<slug:operation>/", view, name="django_relay_dlqentry_all"), *super().get_urls()]

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Find by what an entry is of."""
        state = str(params.get("state", ""))
        arms = searching.dlq_entries(term, state=state, using=using)
        return Found(arms, ("state",) if state == "open" and arms and "replayed_at" in arms[0] else ())

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read the endpoints along."""
        return super().get_queryset(request).prefetch_related(endpoint_of())

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Offer what can be done to all that the list shows."""
        tools = []
        if request.user.has_perm("django_relay.replay_delivery"):
            query = request.GET.urlencode()
            labels = {"replay": _("Send all of these again…"), "discard": _("Discard all of these…")}
            tools = [{"url": f"all/{name}/?{query}", "label": label} for name, label in labels.items()]
        return super().changelist_view(request, {**(extra_context or {}), "relay_tools": tools})

    def all_view(self, request: HttpRequest, operation: str) -> HttpResponseBase:
        """Say how many open entries a list has, and do something to all of them once that is confirmed."""
        kind = {"replay": Replay.Kind.FAILED, "discard": Replay.Kind.DISCARD}.get(operation)
        if kind is None:
            raise Http404
        if not self.has_view_permission(request) or not request.user.has_perm("django_relay.replay_delivery"):
            raise PermissionDenied
        asked = next(known for known in self.operations if known.name == operation)
        back = f"{cells.url_of(DLQEntry)}?{request.GET.urlencode()}"
        using = str(self.get_queryset(request).db)
        context: dict[str, Any] = {"operation": asked, "back": back, "title": asked.label}
        try:
            since = self._since(request)
            shares = [(share, {"since": since}) for share in self._shares(request, using)]
            if request.method == "POST":
                done = _start(staff.caller_of(request), kind, shares, using=using)
                return operations.finish(self, request, done, back=back, title=asked.label)
            context["count"] = sum(_count(kind, share, wanted, using=using) for share, wanted in shares)
            context["tenants"] = len(shares)
        except exceptions.RelayError as error:
            context["problem"] = str(error)
        context |= {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        status = 409 if "problem" in context else 200
        return TemplateResponse(request, "admin/django_relay/dlqentry/all.html", context, status=status)

    def _shares(self, request: HttpRequest, using: str) -> list[Share]:
        """Return whose open entries a list has; its other filters must be none."""
        term = request.GET.get("q", "").strip()
        if request.GET.get("state", "open") != "open" or request.GET.get("status"):
            raise exceptions.InvalidReplay(
                gettext(
                    "Only what is open can be sent again or discarded, whatever its status code: take off that filter."
                )
            )
        kind = searching.kind_of(term)
        if kind not in {"", "ep_"}:
            raise exceptions.InvalidReplay(
                gettext("Look for a tenant or an endpoint, or for nothing; one entry has a page.")
            )
        endpoints = Endpoint.objects.using(using).filter(deleted_at__isnull=True)
        if kind == "ep_":
            found = endpoints.filter(pk=term).values_list("application__slug", "tenant_id")
            return [Share(slug, tenant_id, [term]) for slug, tenant_id in found]
        if term:
            endpoints = endpoints.filter(tenant_id=term)
        stands = DLQEntry.objects.using(using).open().filter(endpoint_id=models.OuterRef("pk"))
        owners = endpoints.filter(models.Exists(stands)).values_list("application__slug", "tenant_id").distinct()
        shares = [Share(slug, tenant_id, None) for slug, tenant_id in owners.order_by()[: TENANTS + 1]]
        if len(shares) > TENANTS:
            raise exceptions.InvalidReplay(
                gettext("More than %(count)d tenants have open entries: do it by tenant.") % {"count": TENANTS}
            )
        return shares

    def _since(self, request: HttpRequest) -> datetime | None:
        return (
            TimeFilter(request, {"span": [request.GET["span"]]}, DLQEntry, self).since()
            if "span" in request.GET
            else None
        )

    @admin.display(description=_("state"))
    def state_badge(self, row: DLQEntry) -> Any:
        """Show what was done about it."""
        if row.discarded_at is not None:
            return cells.badge("discarded", str(_("discarded")))
        return (
            cells.badge("open", str(_("open")))
            if row.replayed_at is None
            else cells.badge("replayed", str(_("sent again")))
        )

    @admin.display(description=_("tenant"))
    def owner(self, row: DLQEntry) -> str:
        """Name the tenant."""
        return cells.tenant(row.tenant_id)

    @admin.display(description=_("event"))
    def event_link(self, row: DLQEntry) -> Any:
        """Link to the event."""
        return cells.link(Event, row.event_id)

    @admin.display(description=_("delivery"))
    def delivery_link(self, row: DLQEntry) -> Any:
        """Link to the delivery."""
        return cells.link(Delivery, row.delivery_id)

    @admin.display(description=_("endpoint"))
    def receiver(self, row: DLQEntry) -> Any:
        """Link to the endpoint, by the URL it had."""
        return cells.link(Endpoint, row.endpoint_id, cells.receiver(row.url))

    @admin.display(description=_("last answer"))
    def answer(self, row: DLQEntry) -> str:
        """Show what came back last."""
        return str(row.last_status_code or row.error_kind or cells.NOTHING)

    @admin.display(description=_("given up"))
    def age(self, row: DLQEntry) -> Any:
        """Show when it was given up."""
        return cells.moment(row.failed_at)


def _count(kind: str, share: Share, wanted: dict[str, Any], *, using: str) -> int:
    return replays.count(
        kind, tenant_id=share.tenant_id, application=share.application, endpoint_ids=share.endpoint_ids, using=using,
        **wanted,
    )  # fmt: skip
