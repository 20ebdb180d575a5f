"""One strict URL parser and one address policy, for saving an endpoint and again for connecting to it.

What the parser does not understand completely it refuses: a URL that two parsers read differently is how a check is
passed with one host and a connection made to another. The address tables are our own and not ``ipaddress.is_global``,
whose answer changes with the patch release of Python.
"""

import functools
import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from django_relay.exceptions import UnsafeURL

MAX_LENGTH = 2_048

IPV4_DENY = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network; Linux connects 0.0.0.0 to loopback
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's platform: looks public
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
"""What is not public in IPv4: IANA's special-purpose registry (RFC 6890), multicast, and Azure's platform address."""

IPV6_ALLOW = IPv6Network("2000::/3")
"""All that IANA has handed out as global unicast."""

IPV6_DENY = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocols: Teredo, benchmarking, ORCHID
            "2001:db8::/32",
            "2002::/16",  # 6to4 carries any IPv4 address
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",
        ),
    )
)
"""What is special within :data:`IPV6_ALLOW`."""

METADATA = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.0.0/16",  # AWS, Azure, GCP and most others; ECS tasks
            "168.63.129.16/32",  # Azure
            "100.100.100.200/32",  # Alibaba
            "192.0.0.192/32",  # Oracle
            "fd00:ec2::/32",  # AWS: instances, and the identities of EKS pods
            "fd00:42::42/128",  # Scaleway
            "fd20:ce::254/128",  # GCP
        ),
    )
)
"""Where clouds hand out credentials. No setting lifts these."""

PRIVATE_SUFFIXES = frozenset(
    [
        "alt",
        "arpa",
        "corp",
        "home",
        "internal",
        "intranet",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "onion",
        "private",
        "svc",
    ]
)
"""Last labels that never name a public host (RFC 6761, 6762, 7686, 8375, 9476; ICANN's ``internal``; Kubernetes)."""

BAD_PORTS = frozenset(
    {
        # The ports browsers refuse: https://fetch.spec.whatwg.org/#port-blocking
        *(1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697),
        10080,
        # Databases, brokers, remote desktops and cluster controls.
        *(1433, 1521, 2181, 2375, 2376, 2377, 2379, 2380, 3306, 3389, 4369, 5432, 5671, 5672, 5900, 5984, 6379, 6380),
        *(6443, 7000, 7001, 7474, 7687, 9042, 9092, 9160, 9200, 9300, 10250, 10255, 11211, 27017, 27018, 27019),
    }
)
"""Ports of 1024 and above that no webhook receiver listens on."""

# IPv6 networks whose last 32 bits are an IPv4 address: compatible, mapped (RFC 4291), SIIT, NAT64 (RFC 6052, 8215).
_TRANSLATED = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")))

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL_OR_BACKSLASH = re.compile(r"[\x00-\x1f\x7f\\]")
# RFC 3986 path and query, plus the brackets that "a[]=1" queries have.
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-Fa-f]{2})*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart, once and for all."""

    scheme: str
    host: str
    """The name or address literal in lower case; IPv6 without brackets."""
    port: int
    path: str
    """Path and query exactly as given (as they go on the wire); ``/`` when there is none."""
    url: str
    """The canonical text, which is what is stored."""

    @property
    def authority(self) -> str:
        """Return the value of the ``Host`` header (RFC 9110 §7.2): the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Return scheme, host and port (RFC 6454), which may be shown where the path may not."""
        return f"{self.scheme}://{self.authority}"


def parse(url: object, *, allow_http: bool = False, allowed_networks: Sequence[str] = ()) -> Target:
    """Take a URL apart, or refuse it.

    ``allow_http`` admits ``http://``. ``allowed_networks`` (CIDR) admits address literals within them, and names that
    are private, whose addresses are still checked when connecting. Names are not looked up here: use
    :meth:`django_relay.transport.resolver.Resolver.resolve`.

    Raises:
        UnsafeURL: with the code ``wrong_type``, ``too_long``, ``malformed_url``, ``scheme``, ``userinfo``,
            ``non_ascii_host``, ``malformed_host``, ``bad_port``, ``port_not_allowed``, ``noncanonical_ip``,
            ``private_name`` or ``address_not_public``.
    """
    if not isinstance(url, str):
        raise UnsafeURL(f"A URL must be text, not {type(url).__name__}.", code="wrong_type")
    if len(url) > MAX_LENGTH:
        raise UnsafeURL(f"The URL is longer than {MAX_LENGTH:,} characters.", code="too_long")
    return _parse(url, allow_http, tuple(allowed_networks))


def is_forbidden(address: str | IPv4Address | IPv6Address, *, allowed_networks: Sequence[str] = ()) -> bool:
    """Return whether policy forbids connecting to an address.

    ``allowed_networks`` (CIDR) lifts everything but :data:`METADATA`. What is not an address is forbidden.
    """
    return _is_forbidden(str(address), tuple(allowed_networks))


def check(address: str, *, allowed_networks: Sequence[str] = ()) -> None:
    """Refuse an address that policy forbids.

    Raises:
        UnsafeURL: with the code ``address_not_public``.
    """
    if is_forbidden(address, allowed_networks=allowed_networks):
        raise UnsafeURL(f"{address} is not a public address.", code="address_not_public")


@functools.lru_cache(maxsize=4_096)
def _parse(url: str, allow_http: bool, allowed_networks: tuple[str, ...]) -> Target:
    if _CONTROL_OR_BACKSLASH.search(url):
        raise UnsafeURL("A URL has no control characters and no backslashes.")
    if "#" in url:
        raise UnsafeURL("An endpoint's URL has no fragment: remove “#” and what follows.")
    scheme, rest = _split_scheme(url, allow_http)
    end = next((i for i, character in enumerate(rest) if character in "/?"), len(rest))
    authority, path = rest[:end], rest[end:]
    host, port_text = _split_authority(authority)
    port = _port(port_text, scheme)
    host = _host(host, allowed_networks)
    if not _PATH.fullmatch(path):
        raise UnsafeURL("Path and query may hold only the characters of RFC 3986; escape others as %XX.")
    shown_host = f"[{host}]" if ":" in host else host
    return Target(
        scheme=scheme,
        host=host,
        port=port,
        path=path if path.startswith("/") else f"/{path}",
        url=f"{scheme}://{shown_host}{f':{port}' if port_text else ''}{path}",
    )


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _split_scheme(url: str, allow_http: bool) -> tuple[str, str]:
    match = _SCHEME.match(url)
    if match is None:
        raise UnsafeURL("A URL starts with “https://”.")
    scheme = match[1].lower()
    if scheme != "https" and not (scheme == "http" and allow_http):
        raise UnsafeURL("Only “https://” URLs can be endpoints.", code="scheme")
    rest = url[match.end() :]
    if not rest.startswith("//"):
        raise UnsafeURL("After the scheme come two slashes: “https://”.")
    return scheme, rest[2:]


def _split_authority(authority: str) -> tuple[str, str]:
    if "@" in authority:
        if "%" in authority or " " in authority:
            raise UnsafeURL("The host holds characters that no host has.")
        raise UnsafeURL("A URL has no user name or password: remove what stands before “@”.", code="userinfo")
    if not authority.isascii():
        raise UnsafeURL("Write an international host name in its “xn--” form.", code="non_ascii_host")
    if authority.startswith("["):
        if authority.endswith("]"):
            return authority, ""
        host, bracket, port = authority.rpartition("]:")
        if not bracket:
            raise UnsafeURL("After the address in brackets comes a port or the path.")
        return f"{host}]", port
    host, _, port = authority.partition(":")
    if not host or ":" in port or "%" in host or " " in host:
        raise UnsafeURL("The URL has no host, or one that cannot be read; IPv6 addresses stand in brackets.")
    return host, port


def _port(text: str, scheme: str) -> int:
    if not text:
        return _default_port(scheme)
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        raise UnsafeURL("A port is a number from 1 to 65535.", code="bad_port")
    port = int(text)
    if port != _default_port(scheme) and port != 443 and (port < 1_024 or port in BAD_PORTS):
        raise UnsafeURL(f"Port {port} is not for webhooks: use 443, or one from 1024.", code="port_not_allowed")
    return port


def _host(text: str, allowed_networks: tuple[str, ...]) -> str:
    host = text.lower()
    if host.startswith("["):
        return _ipv6(host[1:-1], allowed_networks)
    name = host.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise UnsafeURL(
            "The host is not a DNS name: letters, digits and hyphens between dots.",
            code="malformed_host",
        )
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(host, allowed_networks)
    if not all(_is_idna(label) for label in labels if label.startswith("xn--")):
        raise UnsafeURL("The host has an “xn--” label that says nothing.", code="malformed_host")
    if not allowed_networks and (len(labels) == 1 or labels[-1] in PRIVATE_SUFFIXES):
        raise UnsafeURL(f"“{name}” is not a public name: give one that works anywhere.", code="private_name")
    return name


def _ipv4(host: str, allowed_networks: tuple[str, ...]) -> str:
    try:
        IPv4Address(host)
    except ValueError:
        message = "Write an IPv4 address as four decimal numbers without leading zeros."
        raise UnsafeURL(message, code="noncanonical_ip") from None
    check(host, allowed_networks=allowed_networks)
    return host


def _ipv6(host: str, allowed_networks: tuple[str, ...]) -> str:
    try:
        address = IPv6Address(host)
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise UnsafeURL("In brackets stands an IPv6 address without a zone.", code="malformed_host")
    check(str(address), allowed_networks=allowed_networks)
    if str(address) != host:
        raise UnsafeURL(f"Write the IPv6 address as [{address}] (RFC 5952).", code="noncanonical_ip")
    return host


def _is_idna(label: str) -> bool:
    # Neither IDNA 2003 nor 2008 alone accepts every registered name, so only what both require is asked.
    encoded = label.removeprefix("xn--")
    try:
        decoded = encoded.encode().decode("punycode")
        same = decoded.encode("punycode").decode() == encoded
    except (UnicodeError, IndexError, OverflowError, ValueError):
        return False
    return same and not decoded.isascii() and decoded.isprintable()


@functools.lru_cache(maxsize=4_096)
def _is_forbidden(text: str, allowed_networks: tuple[str, ...]) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return True
    if any(embedded in network for embedded in _with_embedded(address) for network in METADATA):
        return True
    if any(address in ipaddress.ip_network(network) for network in allowed_networks):
        return False
    if isinstance(address, IPv4Address):
        return any(address in network for network in IPV4_DENY)
    return address.scope_id is not None or address not in IPV6_ALLOW or any(address in network for network in IPV6_DENY)


def _with_embedded(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """Yield an address and every IPv4 address that a translator might read out of it."""
    yield address
    if isinstance(address, IPv6Address):
        if any(address in network for network in _TRANSLATED):
            yield IPv4Address(int(address) & 0xFFFFFFFF)
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
