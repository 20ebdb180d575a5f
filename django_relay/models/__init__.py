"""One file a table; ``writing`` is how the pipeline writes to them, ``clock`` whose time counts.

State is read through querysets and changed through guarded transitions; constraints stand in the database, so that the
promises hold even against our own mistakes.
"""

from django_relay.models.api_key import ApiKey
from django_relay.models.application import Application
from django_relay.models.attempt import Attempt
from django_relay.models.audit_entry import AuditEntry
from django_relay.models.delivery import Delivery
from django_relay.models.dlq_entry import DLQEntry
from django_relay.models.endpoint import Endpoint
from django_relay.models.endpoint_hour import EndpointHour
from django_relay.models.endpoint_pace import EndpointPace
from django_relay.models.erasure import Erasure
from django_relay.models.event import Event
from django_relay.models.event_type import EventType
from django_relay.models.portal_session import PortalSession
from django_relay.models.publish_failure import PublishFailure
from django_relay.models.replay import Replay
from django_relay.models.signing_secret import SigningSecret
from django_relay.models.tenant_lock import TenantLock
from django_relay.models.worker_presence import WorkerPresence

__all__ = [
    "ApiKey",
    "Application",
    "Attempt",
    "AuditEntry",
    "DLQEntry",
    "Delivery",
    "Endpoint",
    "EndpointHour",
    "EndpointPace",
    "Erasure",
    "Event",
    "EventType",
    "PortalSession",
    "PublishFailure",
    "Replay",
    "SigningSecret",
    "TenantLock",
    "WorkerPresence",
]
