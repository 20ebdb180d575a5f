"""What staff look for among the rows of every tenant: an id, a tenant or an idempotency key, whole and never in part.

Each function returns the *arms* (see :mod:`django_relay.models.paging`) in which the rows of a term are found, each
served by an index; :data:`EVERYBODY` without a term. What is no id of ours is taken for a tenant's.
"""

from collections.abc import Mapping
from typing import Any

from django_relay import ids
from django_relay.models import lists, paging
from django_relay.models.application import Application
from django_relay.models.delivery import Delivery
from django_relay.models.endpoint import Endpoint
from django_relay.models.event import Event
from django_relay.models.lists import ENDPOINTS, WAYS

Arms = list[Mapping[str, Any]]

EVERYBODY: Arms = [{}]
"""The one arm of a list that nothing is looked for in."""
_KEYS = 100
"""How many tenants' events of one idempotency key are found."""
_PREFIXES = (
    "evt_",
    "ep_",
    "del_",
    "att_",
    "dlq_",
    "rpl_",
    "app_",
    "evtype_",
    "psess_",
    "key_",
    "aud_",
    "pub_",
    "era_",
    "lock_",
)


def kind_of(term: str) -> str:
    """Return the prefix of an id of ours; ``""`` for any other text."""
    for prefix in _PREFIXES:
        if term.startswith(prefix):
            try:
                ids.to_uuid(term, prefix=prefix)
            except ValueError:
                return ""
            return prefix
    return ""


def endpoints(term: str, *, state: str = "", using: str) -> Arms:
    """Find endpoints: by their own id or a tenant; ``state`` is ``failing``, ``disabled`` or any."""
    states: Mapping[str, Mapping[str, Any]] = {
        "failing": {"failing_since": paging.ANY, "deleted_at": None},
        "disabled": {"enabled": False, "deleted_at": None},
    }
    if not term:
        return [states.get(state, {})]
    return [{"id": term}] if kind_of(term) == "ep_" else [{"tenant_id": term}]


def events(term: str, *, using: str) -> Arms:
    """Find events: by their own id, a tenant or an idempotency key."""
    if not term:
        return EVERYBODY
    if kind_of(term) == "evt_":
        return [{"id": term}]
    applications = Application.objects.using(using).values_list("pk", flat=True)[:ENDPOINTS]
    own: Arms = [{"application_id": key, "tenant_id": term} for key in applications]
    # Told apart from keys that are empty, or no database would look into the index of those that are not.
    keyed = Event.objects.using(using).exclude(idempotency_key="").filter(idempotency_key=term)
    return own + [{"id": key} for key in keyed.values_list("pk", flat=True)[:_KEYS]]


def deliveries(term: str, *, state: str = "", using: str) -> Arms:
    """Find deliveries: by their own id, an event's, an endpoint's, a DLQ entry's, or a tenant."""
    kind = kind_of(term)
    if not term:
        return EVERYBODY
    if kind == "del_":
        return [{"id": term}]
    if kind == "evt_":
        return [{"event_id": term, **made} for made in WAYS]
    states = [state] if state in Delivery.State.values else list(Delivery.State.values)
    found = [term] if kind == "ep_" else _of_tenant(term, using)
    return [{"endpoint_id": key, "state": name} for key in found for name in states]


def attempts(term: str, *, using: str) -> Arms:
    """Find attempts: by their own id, a delivery's, an event's, an endpoint's, or a tenant."""
    kind = kind_of(term)
    if not term:
        return EVERYBODY
    if kind == "att_":
        return [{"id": term}]
    if kind == "del_":
        return [{"delivery_id": term}]
    if kind == "evt_":
        return [{"delivery_id": key} for key in lists.deliveries_of(term, using=using)]
    return [{"endpoint_id": key} for key in ([term] if kind == "ep_" else _of_tenant(term, using))]


def dlq_entries(term: str, *, state: str = "", using: str) -> Arms:
    """Find DLQ entries: by their own id, a delivery's, an event's, an endpoint's, or a tenant."""
    kind = kind_of(term)
    only: Mapping[str, Any] = {"replayed_at": None, "discarded_at": None} if state == "open" else {}
    if not term:
        return EVERYBODY
    names = {"dlq_": "id", "del_": "delivery_id", "evt_": "event_id"}
    if kind in names:
        return [{names[kind]: term}]
    return [{"endpoint_id": key, **only} for key in ([term] if kind == "ep_" else _of_tenant(term, using))]


def audit_entries(term: str, *, using: str) -> Arms:
    """Find audit entries: by the id of what something was done to, or by a tenant."""
    if not term:
        return EVERYBODY
    if kind_of(term) == "aud_":
        return [{"id": term}]
    if kind_of(term):
        return [{"object_id": term}]
    slugs = Application.objects.using(using).values_list("slug", flat=True)[:ENDPOINTS]
    return [{"application": slug, "tenant_id": term} for slug in slugs]


def of_tenant(term: str, *, prefix: str, using: str) -> Arms:
    """Find rows of a table that has application and tenant: by their own id, which begins with ``prefix``, or a tenant.

    Without an index of (application, tenant, id) this is for tables whose rows of one tenant are few.
    """
    if not term:
        return EVERYBODY
    if kind := kind_of(term):
        return [{"id": term}] if kind == prefix else []
    applications = Application.objects.using(using).values_list("pk", flat=True)[:ENDPOINTS]
    return [{"application_id": key, "tenant_id": term} for key in applications]


def _of_tenant(tenant_id: str, using: str) -> list[str]:
    """Return a tenant's endpoints, the newest, deleted ones among them."""
    rows = Endpoint.objects.using(using).filter(tenant_id=tenant_id).order_by("-id")
    return list(rows.values_list("pk", flat=True)[:ENDPOINTS])
