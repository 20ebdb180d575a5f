"""The settings: one dict, ``DJANGO_RELAY = {…}``, read live.

:class:`Settings` holds the typed defaults, each with its docstring (``docs/reference/settings.md`` is made from them).
:data:`settings` reads them: ``conf.settings.TIMEOUT_SECONDS``. Nothing is read at import, so ``override_settings``
works.
"""

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict, cast

from django.conf import settings as django_settings

_NOTHING: Mapping[str, Any] = types.MappingProxyType({})


class Portal(TypedDict):
    """Keys of ``PORTAL``."""

    LINK_SECONDS: int
    """How long a portal link can be exchanged for a session; at most 600."""

    IDLE_SECONDS: int
    """A portal session ends when nothing was asked of it for this long."""

    SESSION_SECONDS: int
    """A portal session ends this long after its link was made, whatever happens in it."""

    RETURN_URLS: Sequence[str]
    """Where a session's ``return_url`` may lead: origins, or URLs under whose path everything is allowed, such as
    ``https://app.example.com/settings``."""

    LOGO_URLS: Sequence[str]
    """Where a theme's logo may come from, written as ``RETURN_URLS`` are."""

    FRAME_ANCESTORS: Sequence[str]
    """The exact https origins whose pages may embed the portal; without any it cannot be embedded."""

    ORIGIN: str
    """Scheme and host of the portal, such as ``https://app.example.com``: what links begin with that are made where no
    request tells. Empty: such links are paths."""

    SOURCE_ADDRESSES: Sequence[str]
    """The addresses or networks that your workers send from, shown to tenants for their firewalls."""


class Throttles(TypedDict):
    """Keys of ``API_THROTTLES``: rates such as ``600/minute`` (per second, minute, hour or day); ``None`` is none."""

    operator: str | None
    """How often an operator's credential may call."""

    tenant: str | None
    """How often a tenant's credential may call."""

    failed: str | None
    """How often authentication may fail, per address and per public part of the credential, until it is answered 429; a
    credential that is right is always let in."""


class Settings:
    """Typed defaults of ``DJANGO_RELAY``; reading an attribute gives the project's value if it has one."""

    ENABLED: bool | str | Callable[[], bool] = True
    """Kill switch for ``emit``: ``False``, or a callable (or its dotted path) that returns it. While off, ``emit``
    stores nothing and returns ``None``; events already stored are still delivered."""

    ENCRYPTION_KEYS: Mapping[str, str] = types.MappingProxyType({})
    """``{"2026-11": "<base64 of 32 bytes>", …}``: keys for signing secrets and custom headers at rest. The first
    encrypts, all decrypt. Without any, ``DEBUG`` derives one from ``SECRET_KEY`` and production refuses to send."""

    SCHEMA_VALIDATION: str = "block"
    """What ``emit`` does when the data does not fit the event type's schema: ``block`` raises, ``warn`` logs, ``off``
    does not look."""

    MAX_PAYLOAD_BYTES: int = 262_144
    """Largest encoded ``data`` of an event, in bytes."""

    MAX_PAYLOAD_DEPTH: int = 64
    """Deepest nesting of an event's ``data``, in levels."""

    CATALOG_REFRESH_SECONDS: float = 30.0
    """How long a process trusts the event types it has read from the database."""

    RETRY_SCHEDULE: Sequence[float] = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    """Seconds to wait after each failed attempt; attempts = 1 + its length. An endpoint may have its own."""

    RETRY_POLICY: str = "always"
    """``always`` retries every failure that is not final; ``temporary`` gives up at once on what cannot mend itself
    (3xx, 4xx but 408, 425 and 429, and 501)."""

    RETRY_JITTER: float = 0.1
    """Each wait is made longer by up to this fraction of itself, at random; never shorter."""

    RETRY_AFTER_MAX_SECONDS: float = 86_400.0
    """The longest wait that a receiver can ask for with ``Retry-After``."""

    TIMEOUT_SECONDS: float = 15.0
    """The total deadline of an attempt: resolve, connect, TLS, send and receive. An endpoint may have its own, up to
    30 seconds."""

    LEASE_SECONDS: float = 45.0
    """How long a worker may hold a delivery; a delivery whose worker died is taken up again after it. Must be at least
    ten seconds more than the longest deadline of an attempt, 30 seconds."""

    MAX_IN_FLIGHT: int | None = None
    """How many requests one worker has open at once; ``None`` is the transport's own: 64 of ``RequestsTransport``
    (threads), 512 of ``CurlTransport``."""

    MAX_IN_FLIGHT_PER_ENDPOINT: int = 32
    """How many of them one endpoint may have, so that a slow one leaves room for the others. A time-out, a 5xx or a
    429 halves it, each success allows one more."""

    FIRST_IN_FLIGHT_PER_ENDPOINT: int = 1
    """How many of them an endpoint may have of which a worker knows nothing yet."""

    FAN_OUT_BATCH: int = 500
    """How many events one fan-out transaction takes."""

    MAX_ENDPOINTS_PER_TENANT: int | None = 50
    """How many endpoints a tenant may have in one application; ``None`` is no limit."""

    MAX_REPLAYS_PER_TENANT: int = 3
    """How many bulk replays of a tenant may be in progress in one application."""

    MAX_REPLAY_DUE_PER_ENDPOINT: int = 250
    """How many deliveries of one bulk replay are due at once for one endpoint; the rest wait in the replay, so that a
    new event of that endpoint never stands behind more."""

    DISABLE_AFTER: timedelta | None = timedelta(days=5)
    """An endpoint that did nothing but fail for this long is disabled (reason ``failing``); ``None`` never does that.
    One that answers 410 is disabled at once."""

    DISABLE_MIN_FAILURES: int = 20
    """How many attempts must have failed in that time: by default, all of two deliveries."""

    OPERATIONAL_TENANT: str | None = None
    """The tenant whose endpoints may subscribe to ``relay.*``: what becomes of deliveries and endpoints, as events.
    Each attempt then makes one more event; ``None`` makes none."""

    MAX_RESPONSE_BYTES: int = 16_384
    """How much of a response's body is read and kept, in bytes; it is never decompressed."""

    ALLOW_HTTP: bool = False
    """Accept ``http://`` endpoints. For development and closed networks only."""

    ALLOWED_NETWORKS: Sequence[str] = ()
    """Networks (CIDR) that endpoints may live in although they are not public, such as ``127.0.0.0/8`` in development.
    Cloud metadata addresses stay forbidden whatever is listed."""

    CA_BUNDLE: str = ""
    """Path of a PEM file of certificate authorities to trust instead of certifi's."""

    TRANSPORT: str = "django_relay.transport.requests.RequestsTransport"
    """Dotted path of the transport: what sends HTTP. ``django_relay.transport.curl.CurlTransport`` (extra ``curl``)
    keeps hundreds of requests open in one thread; ``auto`` takes it where it is installed."""

    RUNNER: str = "django_relay.runners.django_q.DjangoQRunner"
    """Dotted path of the runner: what makes the worker run. ``django_relay.runners.process.ProcessRunner`` relies on
    ``manage.py relay_worker`` alone; ``django_relay.runners.inline.InlineRunner`` delivers after commit in the same
    process."""

    Q_CLUSTER_NAME: str | None = None
    """The django-q2 cluster that runs passes (one of ``ALT_CLUSTERS``); ``None`` is the default cluster."""

    JOBS: Mapping[str, Any] | None = None
    """Make events of the life of background jobs, see ``docs/how-to/jobs.md``; ``{}`` makes all 13 types,
    ``None`` none. ``EVENTS``: only these, as ``["dispatch.job.failed"]``. ``PREFIX``: instead of ``dispatch``.
    ``APPLICATION``: theirs, instead of ``default``. ``TENANT_RESOLVER``: dotted path of ``(fact) -> tenant_id``, asked
    when no ``with tenant(…)`` said whose the job is. ``PAYLOADS``: ``{event type: dotted path}`` of ``(fact) -> data``.
    ``ARGUMENTS``: ``True`` shows what jobs are called with."""

    JOB_RETENTION_DAYS: int = 7
    """How long jobs are remembered after their last sign of life, so that nothing is told of one twice; longer than
    the job system may take to run one again."""

    PASS_SECONDS: float = 10.0
    """How long one django-q2 pass claims work before it hands over to its successor."""

    PASSES: int = 1
    """How many passes run at once, over all machines of a cluster."""

    POLL_SECONDS: float = 1.0
    """The longest pause of an idle worker between two looks at the database."""

    NOTIFY: bool = True
    """On PostgreSQL, tell the workers of new events at once: ``NOTIFY`` after the commit, at most one in 50 ms a
    process, and ``LISTEN`` on a connection of the worker's own. Without it they find them when they look next."""

    SECRET_OVERLAP_SECONDS: float = 86_400.0
    """How long the old signing secret still signs after a rotation."""

    CLOUDEVENTS_SOURCE: str = ""
    """``source`` of events in the ``cloudevents`` format; empty means ``/django_relay/<application>``."""

    TENANT_RESOLVER: str | Callable[[Any], Any] | None = None
    """A callable (or its dotted path) that says whose tenant the host's logged-in user belongs to: it takes the request
    and returns the tenant id, a ``django_relay.rules.access.Member`` with application and capabilities, or ``None`` for
    nobody. Without it only API keys, portal links and staff get in."""

    PORTAL: Portal = cast(
        "Portal",
        types.MappingProxyType(
            {
                "LINK_SECONDS": 600,
                "IDLE_SECONDS": 1_800,
                "SESSION_SECONDS": 28_800,
                "RETURN_URLS": (),
                "LOGO_URLS": (),
                "FRAME_ANCESTORS": (),
                "ORIGIN": "",
                "SOURCE_ADDRESSES": (),
            }
        ),
    )
    """The portal; keys that are left out keep their defaults."""

    API_THROTTLES: Throttles = cast(
        "Throttles",
        types.MappingProxyType({"operator": "6000/minute", "tenant": "600/minute", "failed": "20/minute"}),
    )
    """How often the API may be called; keys that are left out keep their defaults."""

    API_AUTHENTICATION_CLASSES: Sequence[str] = ("rest_framework.authentication.SessionAuthentication",)
    """Dotted paths of Django REST framework's authentication classes that know the host's own users, tried after API
    keys and portal sessions. Staff are operators, by their permissions; ``TENANT_RESOLVER`` says whose tenant others
    are."""

    AUDIT_ADDRESSES: bool = True
    """Keep in audit entries the network address that a change came from. It is personal data."""

    AUDIT_RETENTION_DAYS: int = 365
    """How long audit entries are kept."""

    API_KEY_RETENTION_DAYS: int = 90
    """How long API keys are kept (and listed) after they were revoked or expired."""

    PORTAL_SESSION_RETENTION_DAYS: int = 30
    """How long portal sessions are kept after they ended."""

    MODELS: Mapping[str, Any] = types.MappingProxyType({})
    """``{"billing.Invoice": {"prefix": "invoice", "tenant": "customer_id", "created": True}, …}``: models whose changes
    become events, with the arguments of ``model_signals.register``; or ``HOOK_EVENTS`` of drf-hooks, pasted. Read once,
    when Django starts."""

    EVENT_RETENTION_DAYS: int = 30
    """How long events are kept once they are fanned out. Events in the DLQ outlive it."""

    ATTEMPT_RETENTION_DAYS: int = 30
    """How long attempts of settled deliveries are kept."""

    DELIVERY_RETENTION_DAYS: int = 90
    """How long settled deliveries are kept."""

    DLQ_RETENTION_DAYS: int = 90
    """How long DLQ entries are kept; at least 30."""

    PUBLISH_FAILURE_RETENTION_DAYS: int = 90
    """How long failures of ``emit_best_effort`` are kept."""

    HOUR_RETENTION_DAYS: int = 90
    """How long the hourly counts of endpoints are kept; longer than ``DISABLE_AFTER``."""

    RETENTION_BATCH: int = 1_000
    """How many rows one retention transaction deletes."""

    def __getattribute__(self, name: str) -> Any:
        default = super().__getattribute__(name)
        if not name.isupper():
            return default
        found = configured()
        if type(found) is not dict and not isinstance(found, Mapping):  # E001 says so
            return default
        value = found.get(name, default)
        nests = isinstance(default, types.MappingProxyType) and isinstance(value, Mapping)
        return types.MappingProxyType({**default, **value}) if nests else value


settings = Settings()


def configured() -> Any:
    """Return the project's own dict; another object once the settings were changed."""
    return getattr(django_settings, "DJANGO_RELAY", _NOTHING)


def annotations() -> dict[str, Any]:
    """Return the name and type of every setting there is."""
    return typing.get_type_hints(Settings)
