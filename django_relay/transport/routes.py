"""Where a request over libcurl goes, and how libcurl is kept from confusing one tenant's way with another's."""

import functools
import hashlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import requests.utils

from django_relay import conf
from django_relay.transport import addresses, connections, resolver
from django_relay.transport.addresses import Target
from django_relay.transport.resolver import MAX_ADDRESSES


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Where a request goes: everything that requests to the same URL have in common."""

    target: Target
    addresses: Sequence[str]
    """All of them checked, spelt as the system spells them."""
    allowed_networks: tuple[str, ...]
    ca_bundle: str
    """Path of a PEM file."""
    origin: bytes
    name: str
    """What libcurl believes it connects to. It keeps connections by this name, so there is one for each tenant, origin
    and set of addresses: a connection is used again by its tenant alone, and only while it leads where was checked."""

    @property
    def connect_to(self) -> list[str]:
        """The value of ``CURLOPT_CONNECT_TO``; SNI, certificate and ``Host`` stay the URL's."""
        return [f"::{self.name}:"]

    @property
    def resolve(self) -> str:
        """The addresses of :attr:`name`, as an entry of ``CURLOPT_RESOLVE``."""
        shown = [f"[{address}]" if ":" in address else address for address in self.addresses[:MAX_ADDRESSES]]
        return f"{self.name}:{self.target.port}:{','.join(shown)}"


class Policy(NamedTuple):
    """The settings that say where requests may go."""

    allow_http: bool
    allowed_networks: tuple[str, ...]
    ca_bundle: str


def policy() -> Policy:
    """Read the settings."""
    settings = conf.settings
    return Policy(settings.ALLOW_HTTP, tuple(settings.ALLOWED_NETWORKS), settings.CA_BUNDLE)


@functools.lru_cache(maxsize=4_096)
def to_literal(tenant_id: str, url: str, policy: Policy) -> Route | None:
    """Return the route to a URL whose host is an address, or ``None`` where it is a name.

    Raises:
        UnsafeURL: if the policy forbids it.
        OSError: if the bundle of authorities is unusable.
    """
    target = addresses.parse(url, allow_http=policy.allow_http, allowed_networks=policy.allowed_networks)
    return checked(tenant_id, target, [target.host], policy) if resolver.is_literal(target.host) else None


def checked(tenant_id: str, target: Target, found: Sequence[str], policy: Policy) -> Route:
    """Return the route to a URL over addresses, once each of them is found allowed.

    Raises:
        UnsafeURL: if the policy forbids an address.
        OSError: if the bundle of authorities is unusable.
    """
    for address in found:
        addresses.check(address, allowed_networks=policy.allowed_networks)
    if target.scheme == "https":
        connections.tls_context(policy.ca_bundle)  # tells of an unusable one before anything is connected to
    return route(
        tenant_id,
        target,
        tuple(found),
        allowed_networks=policy.allowed_networks,
        ca_bundle=policy.ca_bundle or requests.utils.DEFAULT_CA_BUNDLE_PATH,
    )


@functools.lru_cache(maxsize=4_096)
def route(
    tenant_id: str, target: Target, found: tuple[str, ...], *, allowed_networks: tuple[str, ...], ca_bundle: str
) -> Route:
    """Return the route to a URL over addresses that were checked."""
    key = "\0".join([tenant_id, target.origin, *sorted(found)])
    # .invalid: if libcurl ever asked for it, there would be no answer (RFC 6761).
    name = f"{hashlib.blake2b(key.encode(errors='surrogatepass'), digest_size=24).hexdigest()}.invalid"
    spelt = tuple(map(_spelling, found))
    return Route(target, spelt, allowed_networks, ca_bundle, f"{target.origin}/".encode(), name)


def _spelling(address: str) -> str:
    if ":" not in address or "%" in address:
        return address
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))
