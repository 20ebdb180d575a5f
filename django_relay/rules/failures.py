"""What a tenant is told of a request that was not answered; operators and staff are told what happened.

A tenant chooses where requests go. If it were told why nothing could be reached, or how long that took, each endpoint
would be a scanner of ports and names, inside the host's network too. So whatever is of :data:`UNREACHED` looks alike to
it: one kind, one text, no duration. Nor are its time-outs counted (see ``models.endpoint_hour``).

=====================================================  ====================  ========
what happened                                          what a tenant sees    duration
=====================================================  ====================  ========
an answer                                              the same              the same
any of :data:`UNREACHED`                               ``unreachable``       withheld
``timeout``, ``local_error``, ``unknown``              the same kind         the same
=====================================================  ====================  ========

The words that are stored are for staff: a tenant gets those in :data:`WORDS`, by kind.
"""

from dataclasses import dataclass

from django_relay.rules.access import Caller

UNREACHABLE = "unreachable"
"""What a tenant sees for each of :data:`UNREACHED`; nothing is stored under this name."""

UNREACHED = frozenset(
    {"address_not_public", "bad_response", "connect_timeout", "connection", "dns_error", "tls", "unsafe_url"}
)
"""Error kinds of requests that reached nothing, or nothing that speaks HTTP."""

WORDS = {
    UNREACHABLE: "No connection could be made. Look at the host's name in the DNS, the port, the firewall and the TLS "
    "certificate: is it complete, not expired, and made out to that name?",
    "timeout": "There was no answer within the time limit.",
    "local_error": "A fault on our side.",
    "unknown": "It was sent, and what came back is not known.",
}
"""What a tenant is told, by the kind that it sees."""

KINDS = (*WORDS, *sorted(UNREACHED))
"""Every kind that can be asked for: first those that a tenant sees."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there was no answer, or that there was one: then ``kind`` is empty."""

    kind: str
    words: str
    duration_ms: int | None = None


def for_tenant(failure: Failure) -> Failure:
    """Return what a tenant may know of a failure."""
    if not failure.kind:
        return failure
    if failure.kind in UNREACHED:
        return Failure(UNREACHABLE, WORDS[UNREACHABLE])
    return Failure(failure.kind, WORDS.get(failure.kind, ""), failure.duration_ms)


def told(failure: Failure, caller: Caller) -> Failure:
    """Return what a caller may know of a failure: an operator all of it."""
    return failure if caller.is_operator else for_tenant(failure)


def kinds(named: str, caller: Caller) -> tuple[str, ...]:
    """Return the stored kinds that a caller means by one of :data:`KINDS`; none, if it may not tell it from others."""
    if named == UNREACHABLE:
        return tuple(sorted(UNREACHED))
    return () if named in UNREACHED and not caller.is_operator else (named,)
