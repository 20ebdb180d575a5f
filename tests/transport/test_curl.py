"""The transport over libcurl keeps what every transport promises."""

import contextlib
import dataclasses
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from django_relay.transport import multiplexer, routes, transfers
from django_relay.transport.base import Transport
from django_relay.transport.curl import CurlTransport
from django_relay.transport.kept_connections import Connection
from tests.conformance.transport_cases import TransportCases, TransportFixtures, collect, request, send
from tests.transport.http2_server import HTTP2Server
from tests.transport.scripted_server import OK_STEPS, Authority, ScriptedServer


class Curl(TransportFixtures):
    def make_transport(self, **options: Any) -> Transport:
        return CurlTransport(**options)


class TestCurlTransport(Curl, TransportCases):
    renegotiation = "timeout"  # libcurl has no option to refuse it, so the deadline ends it

    @pytest.fixture
    def connects(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """libcurl connects by itself: recorded is for which addresses it got a socket to do it with."""
        tried: list[str] = []
        make = transfers.Transfer._open

        def refuse(transfer: transfers.Transfer, purpose: int, address: Any) -> Any:
            made = make(transfer, purpose, address)
            if not isinstance(made, int):
                tried.append(address[3][0])
                made.close()
                transfer._socket = None
                transfer.error = ConnectionRefusedError(111, "Connection refused")
            return -1

        monkeypatch.setattr(transfers.Transfer, "_open", refuse)
        return tried


class TestWithoutEpoll(TestCurlTransport):
    @pytest.fixture(autouse=True)
    def _selectors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(multiplexer, "new_poll", multiplexer.SelectorPoll)


class TestWhatIsItsOwn(Curl):
    """What libcurl would do otherwise."""

    def test_the_address_is_checked_at_the_socket(self, transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
        make = routes.route
        monkeypatch.setattr(routes, "route", lambda *a, **k: make(*a, **(k | {"allowed_networks": ()})))
        with ScriptedServer() as server:
            outcome = send(transport, server.url())
            assert (outcome.error_kind, server.connections) == ("address_not_public", 0)

    def test_a_kept_connection_to_another_address_is_not_used(
        self, transport: Transport, dns: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Even if libcurl took the two for the same."""
        make = routes.route
        monkeypatch.setattr(routes, "route", lambda *a, **k: dataclasses.replace(make(*a, **k), name="same.invalid"))
        dns["moving.example.test"] = [["127.0.0.1"], ["::1"]]
        with ScriptedServer() as server:
            assert send(transport, server.url(host="moving.example.test")).status_code == 200
            assert send(transport, server.url(host="moving.example.test")).error_kind == "connection"
            assert len(server.requests) == 1

    def test_hundreds_in_flight_in_one_thread(self) -> None:
        count = 600
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))
        taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_024)]  # so that descriptors pass FD_SETSIZE
        try:
            with HoldingServer(count) as server, contextlib.closing(self.make_transport(max_in_flight=count)) as it:
                threads = threading.active_count()
                for number in range(count):
                    it.submit(request(server.url, id=str(number), timeout_seconds=20))
                outcomes = collect(it, count, seconds=20)
                assert threading.active_count() <= threads
            assert {(outcome.status_code, outcome.error) for outcome in outcomes} == {(200, "")}
            assert len({outcome.request.id for outcome in outcomes}) == count
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_hundreds_of_dead_names_do_not_delay_a_healthy_one(self, dns: dict[str, list[Any]]) -> None:
        released = threading.Event()

        def hang() -> Exception:
            released.wait(20)
            return socket.gaierror(socket.EAI_AGAIN, "no answer")

        with ScriptedServer() as server, contextlib.closing(self.make_transport()) as transport:
            try:
                for number in range(200):
                    dns[f"dead{number}.example.test"] = [hang]
                    url = f"https://dead{number}.example.test/"
                    transport.submit(request(url, tenant_id=f"t{number % 20}", timeout_seconds=2))
                dns["alive.example.test"] = [["127.0.0.1"]]
                began = time.monotonic()
                outcome = send(transport, server.url(host="alive.example.test"), tenant_id="t0")
                assert (outcome.status_code, time.monotonic() - began < 0.5) == (200, True)
                assert {outcome.error_kind for outcome in collect(transport, 200)} == {"dns_error"}
            finally:
                released.set()

    def test_many_tenants_have_connections_of_their_own_to_one_receiver(self, transport: Transport) -> None:
        with ScriptedServer() as server:
            for _ in range(2):
                for number in range(100):
                    transport.submit(request(server.url(), tenant_id=f"t{number}", body=str(number).encode()))
                assert {outcome.status_code for outcome in collect(transport, 100)} == {200}
            assert server.connections == 100
            assert {len(conversation) for conversation in server.conversations} == {2}

    def test_a_deadline_that_passed_in_the_look_up_leaves_no_time_for_more(
        self, transport: Transport, dns: dict[str, list[Any]]
    ) -> None:
        dns["slow.example.test"] = [lambda: time.sleep(0.4) or ["127.0.0.1"]]
        with ScriptedServer([["sleep", 5], *OK_STEPS]) as server:
            began = time.monotonic()
            outcome = send(transport, server.url(host="slow.example.test"), timeout_seconds=0.8)
        assert (outcome.error_kind, 0.7 < time.monotonic() - began < 1.2) == ("timeout", True)

    def test_a_connection_that_was_idle_for_long_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transfers, "MAX_IDLE_SECONDS", 1)
        with ScriptedServer() as server, contextlib.closing(self.make_transport()) as transport:
            for pause in (0, 0, 2.2):
                time.sleep(pause)
                assert send(transport, server.url()).status_code == 200
            assert server.connections == 2

    def test_few_wait_for_more_and_many_begin(self) -> None:
        with ScriptedServer() as server, contextlib.closing(self.make_transport()) as transport:
            for number in range(20):
                transport.submit(request(server.url(host="127.0.0.1"), id=str(number)))
            transport.stop()
            outcomes = collect(transport, 20)
        not_sent = {int(outcome.request.id) for outcome in outcomes if outcome.error_kind == "not_sent"}
        assert (not_sent, len(server.requests)) == ({16, 17, 18, 19}, 16)

    def test_settings_are_read_when_a_request_begins(self, transport: Transport) -> None:
        with ScriptedServer() as server:
            assert send(transport, server.url(host="127.0.0.1")).status_code == 200
            with override_settings(DJANGO_RELAY={"ALLOW_HTTP": True}):
                assert send(transport, server.url(host="127.0.0.1")).error_kind == "address_not_public"
            assert send(transport, server.url(host="127.0.0.1")).status_code == 200

    @pytest.mark.parametrize(("is_shared", "is_stale"), [(True, False), (False, True)])
    def test_a_connection_is_looked_at_though_the_end_of_an_answer_over_it_is_not_seen(
        self, is_shared: bool, is_stale: bool
    ) -> None:
        """Over HTTP/1 libcurl may use it again before its last user has been taken from it."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            connection = Connection(ours.fileno(), users=1, is_shared=is_shared)
            assert not connection.is_stale
            theirs.sendall(b"HTTP/1.1 410 Gone")
            assert connection.is_stale is is_stale

    def test_closing_ends_what_is_in_flight(self) -> None:
        with ScriptedServer([["sleep", 5], *OK_STEPS]) as server:
            transport = self.make_transport()
            transport.submit(request(server.url()))
            transport.completed(0.1)
            transport.close()
            transport.wake()
            transport.stop()


class TestHTTP2(Curl):
    @pytest.fixture
    def server(self, authority: Authority) -> Iterator[HTTP2Server]:
        with HTTP2Server(authority.context()) as server:
            yield server

    def test_is_spoken_where_it_is_offered(self, transport: Transport, server: HTTP2Server) -> None:
        for _ in range(3):
            outcome = send(transport, f"{server.url}/a?b=[1]", max_response_bytes=2_000)
            assert (outcome.status_code, outcome.body, outcome.headers) == (200, b"ok" * 1_000, (("x-a", "b"),))
        assert server.conversations == [[b'{"a":1}'] * 3]
        head = server.heads[0]
        assert (":path", "/a?b=[1]") in head
        assert (":authority", server.url.removeprefix("https://")) in head
        assert {name for name, _ in head if not name.startswith(":")} == {
            "accept-encoding",
            "content-length",
            "content-type",
            "webhook-id",
        }

    def test_a_body_that_is_cut_leaves_the_connection(self, transport: Transport, server: HTTP2Server) -> None:
        for _ in range(2):
            outcome = send(transport, server.url, max_response_bytes=10)
            assert (outcome.status_code, outcome.body) == (200, b"okokokokok")
        assert len(server.conversations) == 1

    def test_a_stream_that_is_reset_is_a_failed_attempt(self, transport: Transport, server: HTTP2Server) -> None:
        assert send(transport, f"{server.url}/reset").error_kind == "connection"
        assert [len(conversation) for conversation in server.conversations] == [1]

    def test_one_connection_carries_many_requests_of_one_tenant(
        self, transport: Transport, server: HTTP2Server
    ) -> None:
        for tenant in ("t0", "t1"):
            assert send(transport, server.url, tenant_id=tenant, body=tenant.encode()).status_code == 200
        server.hold = 21
        self.send_forty(transport, server)
        assert [len(conversation) for conversation in server.conversations] == [21, 21]
        server.drop()
        time.sleep(1.1)  # libcurl looks once in a second which of those it keeps are dead
        server.hold = 20
        self.send_forty(transport, server)  # and all but two wait for the two new connections
        assert [len(conversation) for conversation in server.conversations] == [21, 21, 20, 20]
        assert {len(set(conversation)) for conversation in server.conversations} == {1}

    @staticmethod
    def send_forty(transport: Transport, server: HTTP2Server) -> None:
        for number in range(40):
            tenant = f"t{number % 2}"
            transport.submit(request(server.url, tenant_id=tenant, body=tenant.encode(), timeout_seconds=5))
        assert {(outcome.status_code, outcome.error) for outcome in collect(transport, 40)} == {(200, "")}


class HoldingServer:
    """Answers when so many requests have come, and not before."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=count)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "HoldingServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)

    def _serve(self) -> None:
        with self._listener, contextlib.ExitStack() as stack, select.epoll() as poll:
            self._listener.settimeout(10)
            socks = {}
            for _ in range(self._count):
                sock = stack.enter_context(self._listener.accept()[0])
                socks[sock.fileno()] = sock
                poll.register(sock.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
            waiting = set(socks)
            while waiting and (ready := poll.poll(10, self._count)):
                waiting -= {descriptor for descriptor, _ in ready}
            for sock in socks.values():
                sock.recv(65_536)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
