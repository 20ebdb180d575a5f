"""Who may do what: the caller, its scopes, and the one table that says what each credential grants.

A :class:`Caller` is what every surface works with, whichever credential it came from. It either is an operator (the
host itself, all tenants) or belongs to one tenant of one application.

=============  =====================================================================================
scope          lets its caller
=============  =====================================================================================
read           see endpoints, events, deliveries, the DLQ, the catalog and statistics
write          make, change and delete what may be changed: endpoints; for operators also the catalog
test           send a test event to an endpoint
replay         send again: retry, recover, replay and discard
secrets        see and rotate signing secrets
portal         open the portal for a tenant (operators)
events:send    emit events (operators)
=============  =====================================================================================
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from django_relay import exceptions

SCOPES = ("read", "write", "test", "replay", "secrets", "portal", "events:send")
"""Everything a caller can be asked for."""

KEY_SCOPES = ("read", "write", "replay", "secrets", "portal", "events:send")
"""What an API key can be given."""

OPERATOR_SCOPES = frozenset({"portal", "events:send"})
"""What only an operator can be given."""

CAPABILITIES = ("view", "endpoints", "secrets", "replay", "test")
"""What a portal session can be given; ``view`` always is."""

GRANTED_BY_KEY_SCOPE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "read": frozenset({"read"}),
        "write": frozenset({"write", "test"}),
        "replay": frozenset({"replay"}),
        "secrets": frozenset({"secrets"}),
        "portal": frozenset({"portal"}),
        "events:send": frozenset({"events:send"}),
    }
)
"""What each scope of an API key lets it do."""

GRANTED_BY_CAPABILITY: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "view": frozenset({"read"}),
        "endpoints": frozenset({"write"}),
        "secrets": frozenset({"secrets"}),
        "replay": frozenset({"replay"}),
        "test": frozenset({"test"}),
    }
)
"""What each capability of a portal session, or of a host's own user, lets it do."""

NEEDED_PERMISSIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "read": tuple(
            f"django_relay.view_{model}"
            for model in ("application", "eventtype", "endpoint", "event", "delivery", "attempt", "dlqentry")
        ),
        "write": tuple(
            f"django_relay.{action}_{model}"
            for model in ("application", "eventtype", "endpoint")
            for action in ("add", "change", "delete")
        ),
        "test": ("django_relay.test_endpoint",),
        "replay": ("django_relay.replay_delivery",),
        "secrets": ("django_relay.reveal_secret",),
        "portal": ("django_relay.open_portal",),
        "events:send": ("django_relay.send_event",),
    }
)
"""Which of Django's permissions a staff user needs for each scope: all that are named."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what it may do. A value: it holds no credential, and outlives none."""

    actor: str
    """Its name in the audit: ``key:key_01…``, ``portal:psess_…``, ``user:42``, ``staff:7``, ``system`` or
    ``command:relay_api_keys``."""
    scopes: frozenset[str] = frozenset()
    application: str | None = None
    """The slug of its application; ``None`` for an operator, who names one in each call."""
    tenant_id: str | None = None
    """Its tenant; ``None`` for an operator. ``""`` is the global tenant, not an operator."""
    address: str = field(default="", repr=False)
    """The network address it calls from, if a surface knows; personal data, kept in audit entries alone."""

    def __post_init__(self) -> None:
        if (self.application is None) != (self.tenant_id is None):
            raise ValueError("A caller has both an application and a tenant, or neither: then it is an operator.")
        if unknown := self.scopes - set(SCOPES):
            raise ValueError(f"There is no scope {', '.join(sorted(unknown))}.")
        if not self.is_operator and self.scopes & OPERATOR_SCOPES:
            raise ValueError("portal and events:send are for operators.")

    @property
    def is_operator(self) -> bool:
        """Whether it acts for the host, in all applications and for all tenants."""
        return self.tenant_id is None

    @property
    def kind(self) -> str:
        """What its actor begins with: ``key``, ``portal``, ``user``, ``staff``, ``command`` or ``system``."""
        return self.actor.partition(":")[0]

    def may(self, scope: str) -> bool:
        """Return whether it holds a scope.

        Raises:
            ValueError: there is no such scope, so that a mistyped one is no silent refusal.
        """
        if scope not in SCOPES:
            raise ValueError(f"There is no scope {scope!r}.")
        return scope in self.scopes

    def require(self, *scopes: str) -> None:
        """Refuse a caller that lacks any of the scopes.

        Raises:
            NotAllowed: ``scope_missing``, with the scopes it lacks.
        """
        if missing := [scope for scope in scopes if not self.may(scope)]:
            raise exceptions.NotAllowed(f"This needs the scope {', '.join(missing)}.", code="scope_missing")


SYSTEM = Caller("system", frozenset(SCOPES))
"""The host's own code, where nobody asks through a surface."""


@dataclass(frozen=True, slots=True)
class Member:
    """What ``TENANT_RESOLVER`` may return of a host's user: its tenant, and what it may do there."""

    tenant_id: str
    application: str = "default"
    capabilities: Iterable[str] = CAPABILITIES
    """Of :data:`CAPABILITIES`; ``view`` is always among them."""

    def __post_init__(self) -> None:
        if not isinstance(self.tenant_id, str):
            raise exceptions.RelayConfigurationError("A Member's tenant_id is text; for nobody, return None instead.")
        try:
            object.__setattr__(self, "capabilities", tuple(validate_capabilities(self.capabilities)))
        except exceptions.InvalidInput as error:
            raise exceptions.RelayConfigurationError(f"A Member's capabilities are wrong: {error}") from error


def granted(names: Iterable[str], table: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return the scopes that key scopes or capabilities grant; names that a table does not know grant nothing."""
    return frozenset().union(*(table.get(name, frozenset()) for name in names))


def validate_key_scopes(scopes: object, *, operator: bool) -> list[str]:
    """Return an API key's scopes, each once, in the order of :data:`KEY_SCOPES`.

    Raises:
        InvalidInput: ``bad_scope`` (unknown, none or no list) or ``operator_scope`` (not for a tenant's key).
    """
    chosen = _choose(scopes, KEY_SCOPES, what="scope")
    if not operator and (forbidden := OPERATOR_SCOPES.intersection(chosen)):
        raise exceptions.InvalidInput(
            f"A tenant's key cannot have {', '.join(sorted(forbidden))}: only an operator's can.", code="operator_scope"
        )
    return chosen


def validate_capabilities(capabilities: object) -> list[str]:
    """Return a portal session's capabilities, each once, in the order of :data:`CAPABILITIES`, ``view`` among them.

    Raises:
        InvalidInput: ``bad_capability`` (unknown, none or no list).
    """
    chosen = _choose(capabilities, CAPABILITIES, what="capability")
    return chosen if "view" in chosen else ["view", *chosen]


def check_grant(caller: Caller, scopes: Iterable[str], *, operator: bool) -> None:
    """Refuse to let a caller make an API key that can do more than the caller itself.

    Raises:
        NotAllowed: ``operator_only`` (tenants make no keys) or ``scope_missing``.
    """
    if not caller.is_operator:
        which = "An operator's key" if operator else "An API key"
        raise exceptions.NotAllowed(f"{which} is made by an operator.", code="operator_only")
    caller.require(*sorted(granted(scopes, GRANTED_BY_KEY_SCOPE)))


def _choose(given: Any, known: tuple[str, ...], *, what: str) -> list[str]:
    code, allowed = f"bad_{what}", f"Give a list of {', '.join(known)}."
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise exceptions.InvalidInput(allowed, code=code)
    names = list(given)
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise exceptions.InvalidInput(f"There is no {what} {str(name)[:40]!r}. {allowed}", code=code)
    if not names:
        raise exceptions.InvalidInput(allowed, code=code)
    return [name for name in known if name in names]
