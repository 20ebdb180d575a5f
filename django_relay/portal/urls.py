"""The portal's addresses: ``path("webhooks/", include("django_relay.portal.urls"))``."""

from django.urls import path

from django_relay.portal import (
    activity,
    attempts,
    catalog,
    deliveries,
    dlq,
    endpoint_settings,
    endpoint_tests,
    endpoints,
    entrance,
    events,
    exports,
    replays,
    secrets,
)

app_name = "relay_portal"

urlpatterns = [
    path("", endpoints.list_endpoints, name="endpoints"),
    path("enter/", entrance.enter, name="enter"),
    path("leave/", entrance.leave, name="leave"),
    path("theme.css", entrance.stylesheet, name="stylesheet"),
    path("endpoints/add/", endpoint_settings.add, name="add_endpoint"),
    path("endpoints/check-url/", endpoint_settings.check_url, name="check_url"),
    path("endpoints/<str:endpoint_id>/", endpoints.overview, name="endpoint"),
    path("endpoints/<str:endpoint_id>/attempts/", attempts.list_attempts, name="attempts"),
    path("endpoints/<str:endpoint_id>/edit/", endpoint_settings.edit, name="edit_endpoint"),
    path("endpoints/<str:endpoint_id>/enable/", endpoints.enable, name="enable_endpoint"),
    path("endpoints/<str:endpoint_id>/disable/", endpoints.disable, name="disable_endpoint"),
    path("endpoints/<str:endpoint_id>/delete/", endpoints.delete, name="delete_endpoint"),
    path("endpoints/<str:endpoint_id>/secret/", secrets.show, name="secret"),
    path("endpoints/<str:endpoint_id>/secret/reveal/", secrets.reveal, name="reveal_secret"),
    path("endpoints/<str:endpoint_id>/secret/rotate/", secrets.rotate, name="rotate_secret"),
    path("endpoints/<str:endpoint_id>/testing/", endpoint_tests.send, name="testing"),
    path("endpoints/<str:endpoint_id>/testing/<str:event_id>/", endpoint_tests.result, name="test_result"),
    path("endpoints/<str:endpoint_id>/replay/", replays.start, name="start_replay"),
    path("replays/<str:replay_id>/", replays.show, name="replay"),
    path("replays/<str:replay_id>/cancel/", replays.cancel, name="cancel_replay"),
    path("catalog/", catalog.show, name="catalog"),
    path("catalog/<str:name>/", catalog.show, name="event_type"),
    path("logs/", events.logs, name="logs"),
    path("logs/export.<str:form>", exports.logs, name="export"),
    path("events/<str:event_id>/", events.show, name="event"),
    path("events/<str:event_id>/again/", events.send_again, name="send_again"),
    path("deliveries/<str:delivery_id>/retry/", deliveries.retry, name="retry_delivery"),
    path("deliveries/<str:delivery_id>/cancel/", deliveries.cancel, name="cancel_delivery"),
    path("dlq/", dlq.show, name="dlq"),
    path("dlq/act/", dlq.act, name="dlq_act"),
    path("activity/", activity.show, name="activity"),
]
