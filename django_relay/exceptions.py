"""Everything django_relay raises on purpose.

Exceptions are for the programmer and the request; what happens out in the world (a 500, a time-out, a refused address)
is an :class:`~django_relay.transport.base.Outcome`, a value, and is never raised.

::

    RelayError                          code
    ├── InvalidInput (ValueError)       what was given cannot be used; nothing was written
    │   ├── InvalidEventName            bad_event_type, reserved_event_type, wrong_type
    │   ├── InvalidPattern              bad_pattern
    │   ├── InvalidFilter               bad_filter
    │   ├── InvalidSchema               bad_schema
    │   ├── InvalidDefinition           bad_definition
    │   ├── InvalidHeader               bad_header_name, bad_header_value, forbidden_header, wrong_type
    │   ├── InvalidSecret               bad_secret
    │   ├── InvalidPayload              not_serialisable, too_large, too_deep, schema_mismatch
    │   ├── InvalidEvent                bad_tenant_id, bad_key, bad_attributes, bad_event_id, …
    │   ├── InvalidCursor               bad_cursor, bad_limit
    │   ├── InvalidBody                 bad_json, too_deep, too_large
    │   ├── InvalidReplay               bad_kind, bad_window, since_required, bad_ids, unknown_endpoint
    │   ├── LimitReached                too_many_endpoints, too_many_replays
    │   └── UnsafeURL                   scheme, malformed_url, malformed_host, address_not_public, …
    ├── NotAllowed                      scope_missing, operator_only
    ├── UnusableLink                    link_unknown, link_used, link_expired, link_revoked
    ├── WrittenOnce                     written_once
    ├── UnknownEventType                unknown_event_type
    ├── DeprecatedEventType             deprecated_event_type
    ├── UnknownApplication              unknown_application
    ├── IdempotencyConflict             idempotency_conflict
    ├── AlreadyExists                   already_exists
    ├── NotReplayable                   already_replaying, discarded, endpoint_deleted, …
    ├── WrongState                      not_pending, in_flight, not_in_progress, endpoint_disabled
    ├── SendingDisabled                 sending_disabled
    ├── DecryptionError                 decryption_failed
    └── VerificationError               missing_header, bad_timestamp, stale_timestamp, bad_signature, bad_body
    RelayConfigurationError (ImproperlyConfigured), outside the tree on purpose:
                                        ``except RelayError`` must never hide a bad setting
"""

from django.core.exceptions import ImproperlyConfigured


class RelayError(Exception):
    """Base of everything django_relay raises about a call or a request.

    ``code`` is stable and meant for programs; the message is meant for the person who reads it. Without a message the
    first line of the class's docstring is used.
    """

    code = "relay_error"

    def __init__(self, message: str = "", *, code: str = "") -> None:
        self.code = code or self.code
        super().__init__(message or (self.__doc__ or "").splitlines()[0])


class InvalidInput(RelayError, ValueError):
    """What was given cannot be used."""

    code = "invalid_input"


class InvalidEventName(InvalidInput):
    """An event type's name must be dot-separated lower-case words, such as "invoice.paid"."""

    code = "bad_event_type"


class InvalidPattern(InvalidInput):
    """A pattern must be an event type's name, or use "*" or "**" for whole segments."""

    code = "bad_pattern"


class InvalidFilter(InvalidInput):
    """Filters must map attribute names to a value or to a list of values."""

    code = "bad_filter"


class InvalidSchema(InvalidInput):
    """A schema must be JSON Schema 2020-12 without remote references."""

    code = "bad_schema"


class InvalidDefinition(InvalidInput):
    """An event type's definition contradicts itself."""

    code = "bad_definition"


class InvalidHeader(InvalidInput):
    """A custom header must be an HTTP field that the receiver, and not we, may decide."""

    code = "bad_header_name"


class InvalidSecret(InvalidInput):
    """A signing secret must be "whsec_" or "whsk_" and base64, of 24 to 64 bytes."""

    code = "bad_secret"


class InvalidPayload(InvalidInput):
    """An event's data must be JSON."""

    code = "not_serialisable"


class InvalidEvent(InvalidInput):
    """An argument of emit() cannot be used."""

    code = "bad_event"


class InvalidCursor(InvalidInput):
    """The cursor does not belong to this list; begin again without one."""

    code = "bad_cursor"


class InvalidBody(InvalidInput):
    """The body must be JSON in UTF-8."""

    code = "bad_json"


class InvalidReplay(InvalidInput):
    """An argument of replays.start() cannot be used."""

    code = "bad_replay"


class LimitReached(InvalidInput):
    """A tenant has as many of these as it may have."""

    code = "limit_reached"


class UnsafeURL(InvalidInput):
    """The URL cannot be used as an endpoint."""

    code = "malformed_url"


class NotAllowed(RelayError):
    """The caller may not do this.

    ``scope`` is the one it lacks, where a single one is wanted.
    """

    code = "scope_missing"

    def __init__(self, message: str = "", *, code: str = "", scope: str = "") -> None:
        super().__init__(message, code=code)
        self.scope = scope


class UnusableLink(RelayError):
    """The portal link opens nothing.

    ``return_url`` is where its operator wants people to go from there; empty where there is none, and for a link that
    is unknown.
    """

    code = "link_unknown"

    def __init__(self, message: str = "", *, code: str = "", return_url: str = "") -> None:
        super().__init__(message, code=code)
        self.return_url = return_url


class WrittenOnce(RelayError):
    """The row is history: it is never changed, and deleted by retention alone."""

    code = "written_once"


class UnknownEventType(RelayError):
    """No event type of that name is declared in the application's catalog."""

    code = "unknown_event_type"


class DeprecatedEventType(RelayError):
    """The event type is deprecated and takes no new events."""

    code = "deprecated_event_type"


class UnknownApplication(RelayError):
    """There is no application of that name."""

    code = "unknown_application"


class IdempotencyConflict(RelayError):
    """The idempotency key or event id was already used for something else."""

    code = "idempotency_conflict"


class AlreadyExists(RelayError):
    """There is one of that name already."""

    code = "already_exists"


class NotReplayable(RelayError):
    """It cannot be sent again now."""

    code = "not_replayable"


class WrongState(RelayError):
    """That cannot be done in the state it is in."""

    code = "wrong_state"


class SendingDisabled(RelayError):
    """Sending is switched off (the setting ENABLED)."""

    code = "sending_disabled"


class DecryptionError(RelayError):
    """An encrypted value cannot be read with the configured keys."""

    code = "decryption_failed"


class VerificationError(RelayError):
    """The webhook is not what its signature says."""

    code = "bad_signature"


class RelayConfigurationError(ImproperlyConfigured):
    """A setting of DJANGO_RELAY is missing or wrong."""
