"""Where a request over libcurl goes, and how libcurl is kept from confusing one tenant's way with another's."""

import functools
import hashlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass

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
