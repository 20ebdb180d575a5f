"""Names are looked up beside the caller, in time, fairly, and every answer is checked."""

import contextlib
import errno
import socket
import threading
import time

import pytest

from django_relay.exceptions import UnsafeURL
from django_relay.transport.resolver import LookUpFailed, Resolver

LOOPBACK = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))]
PUBLIC = [
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700:4700::1111", 443, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 443)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 443)),
]


@pytest.fixture
def resolver():
    with contextlib.closing(Resolver()) as resolver:
        yield resolver


@pytest.fixture
def answer(monkeypatch):
    """Say what ``getaddrinfo`` answers: a list, an exception or a callable. Returns the names that
    were asked for."""
    asked = []

    def set_answer(answer):
        def getaddrinfo(host, *_, **__):
            asked.append(host)
            found = answer(host) if callable(answer) else answer
            if isinstance(found, BaseException):
                raise found
            return found

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return set_answer


def test_addresses_in_order_and_once(resolver, answer):
    answer(PUBLIC)
    assert resolver.resolve("a.test", 443, tenant_id="t", timeout=1) == ["2606:4700:4700::1111", "1.1.1.1"]


def test_literals_are_not_looked_up_but_checked(resolver, answer):
    asked = answer([])
    assert resolver.resolve("1.1.1.1", 443, tenant_id="t", timeout=1) == ["1.1.1.1"]
    assert resolver.resolve("2606:4700::1", 443, tenant_id="t", timeout=1) == ["2606:4700::1"]
    for host in ("10.0.0.1", "::1"):
        with pytest.raises(UnsafeURL):
            resolver.resolve(host, 443, tenant_id="t", timeout=1)
    assert asked == []


def test_allowed_networks(resolver, answer):
    answer(LOOPBACK)
    allowed = ["127.0.0.0/8"]
    assert resolver.resolve("a.test", 1, tenant_id="t", timeout=1, allowed_networks=allowed) == ["127.0.0.1"]
    with pytest.raises(UnsafeURL) as caught:
        resolver.resolve("a.test", 1, tenant_id="t", timeout=1)
    assert caught.value.code == "address_not_public"
    assert not isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "dns_error"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "dns_error"),
        (socket.gaierror(socket.EAI_FAIL, "x"), "dns_error"),
        (socket.gaierror(socket.EAI_MEMORY, "x"), "local_error"),
        (socket.gaierror(socket.EAI_SYSTEM, "x"), "local_error"),
        (OSError(errno.EMFILE, "x"), "local_error"),
        (OSError(errno.ENOMEM, "x"), "local_error"),
        (MemoryError(), "local_error"),
        (UnicodeError("x"), "dns_error"),
        ([], "dns_error"),
    ],
)
def test_failures(resolver, answer, failure, kind):
    answer(failure)
    with pytest.raises(LookUpFailed) as caught:
        resolver.resolve("a.test", 443, tenant_id="t", timeout=1)
    assert caught.value.kind == kind


def test_the_same_name_is_joined_within_a_tenant(resolver, answer):
    released = threading.Event()
    asked = answer(lambda _: released.wait(5) and PUBLIC)
    futures = [resolver.look_up("a.test", 443, tenant_id="t") for _ in range(5)]
    other = resolver.look_up("a.test", 443, tenant_id="other")
    released.set()
    assert {tuple(future.result(5)) for future in [*futures, other]} == {("2606:4700:4700::1111", "1.1.1.1")}
    assert asked == ["a.test", "a.test"]


def test_it_is_looked_up_again_each_time(resolver, answer):
    answers = [PUBLIC, LOOPBACK]
    answer(lambda _: answers.pop(0))
    resolver.resolve("a.test", 443, tenant_id="t", timeout=1)
    with pytest.raises(UnsafeURL):
        resolver.resolve("a.test", 443, tenant_id="t", timeout=1)


def test_deadline(resolver, answer):
    released = threading.Event()
    answer(lambda _: released.wait(5) and PUBLIC)
    began = time.monotonic()
    with pytest.raises(LookUpFailed) as caught:
        resolver.resolve("a.test", 443, tenant_id="t", timeout=0.1)
    released.set()
    assert caught.value.kind == "dns_error"
    assert time.monotonic() - began < 0.5


def test_a_tenant_holds_only_its_share(answer):
    released = threading.Event()
    answer(lambda host: PUBLIC if host == "alive.test" else released.wait(5) and PUBLIC)
    with contextlib.closing(Resolver(max_threads=8, max_per_tenant=4)) as resolver:
        for number in range(40):
            resolver.look_up(f"dead{number}.test", 443, tenant_id="one")
        assert resolver.resolve("alive.test", 443, tenant_id="two", timeout=0.5)
        with pytest.raises(LookUpFailed) as caught:
            resolver.resolve("alive.test", 443, tenant_id="one", timeout=0.1)
        # It never began: that says nothing about the host.
        assert caught.value.kind == "local_error"
        released.set()
        assert resolver.resolve("alive.test", 443, tenant_id="one", timeout=2)


def test_threads_are_bounded_and_reused(answer):
    answer(PUBLIC)
    with contextlib.closing(Resolver(max_threads=3)) as resolver:
        before = threading.active_count()
        futures = [resolver.look_up(f"{number}.test", 443, tenant_id="t") for number in range(200)]
        assert all(future.result(5) for future in futures)
        assert threading.active_count() - before <= 3


def test_close_gives_up_what_waits(answer):
    released = threading.Event()
    answer(lambda _: released.wait(5) and PUBLIC)
    resolver = Resolver(max_threads=1)
    futures = [resolver.look_up(f"{number}.test", 443, tenant_id="t") for number in range(2)]
    resolver.close()
    futures.append(resolver.look_up("late.test", 443, tenant_id="t"))
    for future in futures:
        with pytest.raises(LookUpFailed) as caught:
            future.result(1)
        assert caught.value.kind == "not_sent"
    released.set()


def test_no_thread_to_be_had(resolver, answer, monkeypatch):
    answer(PUBLIC)

    def start(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(LookUpFailed) as caught:
            resolver.resolve("a.test", 443, tenant_id="t", timeout=0.1)
    assert caught.value.kind == "local_error"
    assert resolver.resolve("b.test", 443, tenant_id="t", timeout=1)
