"""What may be an endpoint's URL, and which addresses may be connected to."""

import ipaddress
import time

import pytest

from django_relay.exceptions import UnsafeURL
from django_relay.transport import addresses
from tests.rules import vectors

URLS = vectors.load("endpoint_url")


@pytest.mark.parametrize("case", URLS)
def test_catalogue(case):
    url = vectors.given(case)
    if case["expect"] == "reject":
        with pytest.raises(UnsafeURL) as caught:
            addresses.parse(url)
        assert caught.value.code == case["reason"]
        assert str(caught.value)
    else:
        target = addresses.parse(url)
        assert target.url == case.get("canonical", url)
        assert target.path.startswith("/")
        assert target.path == case.get("wire_path", target.path)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://1.1.1.1./", "noncanonical_ip"),
        ("https://[2606:4700:4700:0:0:0:0:1111]/", "noncanonical_ip"),
        ("https://[2606:4700:4700::1111]x/", "malformed_url"),
        ("https://[2606:4700:4700::1111/", "malformed_url"),
        ("https://example.com:80/", "port_not_allowed"),
        ("https://example.com:1023/", "port_not_allowed"),
        ("https://example.com:6379/", "port_not_allowed"),
        ("https://example.com/<script>", "malformed_url"),
        ("https://example.com/%", "malformed_url"),
        ("https://example.com/\x7f", "malformed_url"),
        (" https://example.com/", "malformed_url"),
        ("https://example.com/\u2028", "malformed_url"),
        (f"https://{'a.' * 126}aa/", "malformed_host"),
        (f"https://{'a' * 64}.com/", "malformed_host"),
        ("http://example.com/", "scheme"),
        ("", "malformed_url"),
        (b"https://example.com/", "wrong_type"),
        (f"https://example.com/{'a' * 2_029}", "too_long"),
    ],
)
def test_refuses(url, code):
    with pytest.raises(UnsafeURL) as caught:
        addresses.parse(url)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("url", "canonical", "path", "authority"),
    [
        ("HTTPS://EXAMPLE.com", "https://example.com", "/", "example.com"),
        ("https://example.com.:443/a", "https://example.com:443/a", "/a", "example.com"),
        ("https://example.com?a=b", "https://example.com?a=b", "/?a=b", "example.com"),
        ("https://example.com:1024/?", "https://example.com:1024/?", "/?", "example.com:1024"),
        ("https://[2606:4700::A]:8443/", "https://[2606:4700::a]:8443/", "/", "[2606:4700::a]:8443"),
        ("https://xn--fa-hia.de/@:;", "https://xn--fa-hia.de/@:;", "/@:;", "xn--fa-hia.de"),
        ("https://xn--i-7iq.ws/", "https://xn--i-7iq.ws/", "/", "xn--i-7iq.ws"),
        (f"https://example.com/{'a' * 2_028}", None, f"/{'a' * 2_028}", "example.com"),
    ],
)
def test_takes_apart(url, canonical, path, authority):
    target = addresses.parse(url)
    assert (target.url, target.path, target.authority) == (canonical or url, path, authority)
    assert target.origin == f"https://{authority}"
    assert addresses.parse(target.url) == target


def test_http_is_a_setting():
    assert addresses.parse("http://example.com/", allow_http=True).port == 80
    assert addresses.parse("http://example.com:80/", allow_http=True).authority == "example.com"
    with pytest.raises(UnsafeURL, match="https"):
        addresses.parse("http://example.com/")


def test_allowed_networks_admit_literals_and_private_names():
    allowed = ["127.0.0.0/8", "fd00::/64"]
    for url in (
        "https://127.0.0.1:8000/",
        "https://[fd00::1]/",
        "https://localhost/",
        "https://web/",
        "https://x.local/",
    ):
        assert addresses.parse(url, allowed_networks=allowed).url == url
    for url in ("https://10.0.0.1/", "https://[fd00:1::1]/", "https://[::ffff:127.0.0.1]/"):
        with pytest.raises(UnsafeURL) as caught:
            addresses.parse(url, allowed_networks=allowed)
        assert caught.value.code == "address_not_public"
    for url in ("https://localhost:22/", "https://localhost:6379/"):
        with pytest.raises(UnsafeURL) as caught:
            addresses.parse(url, allowed_networks=allowed)
        assert caught.value.code == "port_not_allowed"


@pytest.mark.parametrize("network", addresses.IPV4_DENY, ids=str)
def test_edges_of_ipv4_networks(network):
    first, last = int(network.network_address), int(network.broadcast_address)
    assert addresses.is_forbidden(network.network_address)
    assert addresses.is_forbidden(str(network.broadcast_address))
    for outside in {max(first - 1, 0), min(last + 1, 2**32 - 1)}:
        neighbour = ipaddress.IPv4Address(outside)
        assert addresses.is_forbidden(neighbour) == any(neighbour in other for other in addresses.IPV4_DENY)


def test_some_edge_of_each_ipv4_network_is_public():
    # Both neighbours of 224.0.0.0/4 are denied by others; every other network borders on what is
    # public.
    for network in addresses.IPV4_DENY:
        if network in map(ipaddress.IPv4Network, ("224.0.0.0/4", "240.0.0.0/4", "0.0.0.0/8")):
            continue
        assert not addresses.is_forbidden(network.network_address - 1)
        assert not addresses.is_forbidden(network.broadcast_address + 1)
    assert not addresses.is_forbidden("1.0.0.0")
    assert not addresses.is_forbidden("223.255.255.255")


@pytest.mark.parametrize("network", [*addresses.IPV6_DENY, addresses.IPV6_ALLOW], ids=str)
def test_edges_of_ipv6_networks(network):
    inside = network is addresses.IPV6_ALLOW
    assert addresses.is_forbidden(network.network_address) != inside
    # The last block of 2000::/3 is not otherwise special.
    assert addresses.is_forbidden(network.broadcast_address) != inside
    below, above = network.network_address - 1, network.broadcast_address + 1
    if inside:
        assert addresses.is_forbidden(below)
        assert addresses.is_forbidden(above)
    else:
        assert not addresses.is_forbidden(below)
        assert not addresses.is_forbidden(above)


@pytest.mark.parametrize("network", addresses.METADATA, ids=str)
def test_edges_of_metadata_networks(network):
    everything = ["0.0.0.0/0", "::/0"]
    assert addresses.is_forbidden(network.network_address, allowed_networks=everything)
    assert addresses.is_forbidden(network.broadcast_address, allowed_networks=everything)
    assert not addresses.is_forbidden(network.network_address - 1, allowed_networks=everything)
    assert not addresses.is_forbidden(network.broadcast_address + 1, allowed_networks=everything)


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
        "2001:0:1:1::5601:5601",  # Teredo's client, inverted
    ],
)
def test_metadata_in_disguise(address):
    assert addresses.is_forbidden(address, allowed_networks=["::/0", "0.0.0.0/0"])


@pytest.mark.parametrize(
    "address",
    [
        "::1",
        "::",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
        "100::1",
        "100:0:0:1::1",
        "fec0::1",
        "fe80::1%lo",
        "4000::1",
        "x",
        "",
    ],
)
def test_is_forbidden(address):
    assert addresses.is_forbidden(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "2606:4700:4700::1111", "2a00::a9fe:a9fe", "2001:200::1", "168.63.129.17"]
)
def test_is_public(address):
    assert not addresses.is_forbidden(address)
    addresses.check(address)


def test_hostile_lengths_are_quick():
    began = time.perf_counter()
    for url in (
        "https://" + "a." * 1_000,
        "https://" + "a-" * 1_000,
        "https://x.com/" + "%41" * 600,
        "https://" + "[" * 2_000,
    ):
        with pytest.raises(UnsafeURL):
            addresses.parse(url + "!\x00")
        with pytest.raises(UnsafeURL):
            addresses.parse(url + "^")
    assert time.perf_counter() - began < 0.2
