"""The table of routes: ``path("webhooks/api/v1/", include("django_relay.api.urls"))``."""

from typing import Any

from django.urls import path, re_path
from django.urls.resolvers import URLPattern

from django_relay.api.api_keys import ApiKeys
from django_relay.api.applications import Applications
from django_relay.api.attempts import Attempts
from django_relay.api.deliveries import Deliveries
from django_relay.api.dlq import DLQ
from django_relay.api.endpoint_tests import EndpointTests
from django_relay.api.endpoints import Endpoints, Secrets
from django_relay.api.event_types import EventTypes
from django_relay.api.events import Events
from django_relay.api.nowhere import Nowhere
from django_relay.api.portal_sessions import PortalSessions
from django_relay.api.replays import EndpointReplays, Replays
from django_relay.api.resources import Resource
from django_relay.api.statistics import EndpointStatistics, Statistics
from django_relay.api.tenants import Tenants

app_name = "relay_api"


def _route(place: str, view: type[Resource], **methods: Any) -> URLPattern:
    name = f"{view.__name__.lower()}_{'_'.join(dict.fromkeys(methods.values()))}"
    return path(place, view.as_view(methods), name=name)


_SHOW = {"get": "retrieve"}
_LIST = {"get": "list", "post": "create"}

ROUTES = [
    _route("applications", Applications, **_LIST),
    _route("applications/<str:slug>", Applications, **_SHOW, patch="partial_update"),
    _route("event-types", EventTypes, **_LIST),
    _route("event-types/<str:name>", EventTypes, **_SHOW, put="update", delete="destroy"),
    _route("endpoints", Endpoints, **_LIST),
    _route("endpoints/<str:endpoint_id>", Endpoints, **_SHOW, put="update", patch="partial_update", delete="destroy"),
    _route("endpoints/<str:endpoint_id>/enable", Endpoints, post="enable", patch="enable"),
    _route("endpoints/<str:endpoint_id>/disable", Endpoints, post="disable", patch="disable"),
    _route("endpoints/<str:endpoint_id>/secret", Secrets, **_SHOW),
    _route("endpoints/<str:endpoint_id>/rotate-secret", Secrets, post="rotate"),
    _route("endpoints/<str:endpoint_id>/test", EndpointTests, post="create"),
    _route("endpoints/<str:endpoint_id>/deliveries", Deliveries, get="of_endpoint"),
    _route("endpoints/<str:endpoint_id>/attempts", Attempts, get="of_endpoint"),
    _route("endpoints/<str:endpoint_id>/stats", EndpointStatistics, **_SHOW),
    _route("endpoints/<str:endpoint_id>/recover", EndpointReplays, post="recover"),
    _route("endpoints/<str:endpoint_id>/replay-missing", EndpointReplays, post="missing"),
    _route("tenants", Tenants, get="list"),
    _route("tenants/<path:tenant_id>", Tenants, **_SHOW, delete="destroy"),
    _route("events", Events, **_LIST),
    _route("events/batch", Events, post="batch"),
    _route("events/<str:event_id>", Events, **_SHOW),
    _route("events/<str:event_id>/deliveries", Deliveries, get="of_event"),
    _route("events/<str:event_id>/attempts", Attempts, get="of_event"),
    _route("events/<str:event_id>/replay", Events, post="replay"),
    _route("deliveries", Deliveries, get="list"),
    _route("deliveries/<str:delivery_id>", Deliveries, **_SHOW),
    _route("deliveries/<str:delivery_id>/attempts", Attempts, get="of_delivery"),
    _route("deliveries/<str:delivery_id>/retry", Deliveries, post="retry"),
    _route("deliveries/<str:delivery_id>/cancel", Deliveries, post="cancel"),
    _route("dlq", DLQ, get="list"),
    _route("dlq/replay", DLQ, post="replay_many"),
    _route("dlq/<str:entry_id>", DLQ, **_SHOW, delete="destroy"),
    _route("dlq/<str:entry_id>/replay", DLQ, post="replay"),
    _route("replays", Replays, get="list"),
    _route("replays/<str:replay_id>", Replays, **_SHOW),
    _route("replays/<str:replay_id>/cancel", Replays, post="cancel"),
    _route("portal-sessions", PortalSessions, **_LIST, delete="destroy_all"),
    _route("portal-sessions/<str:session_id>", PortalSessions, delete="destroy"),
    _route("api-keys", ApiKeys, **_LIST),
    _route("api-keys/<str:key_id>", ApiKeys, delete="destroy"),
    _route("stats", Statistics, **_SHOW),
    _route("health", Statistics, get="health"),
]
"""Every route of the API; what is none of them is answered by :class:`~django_relay.api.nowhere.Nowhere`."""

urlpatterns = [*ROUTES, re_path("", Nowhere.as_view(dict.fromkeys(Nowhere.http_method_names, "answer")))]
