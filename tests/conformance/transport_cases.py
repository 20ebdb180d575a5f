"""What every transport promises, as tests; a transport's own test class subclasses
:class:`TransportCases`."""

import contextlib
import errno
import gc
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from django.test import override_settings

from django_relay.transport.base import ERROR_KINDS, Outcome, Request, Transport
from tests.rules import vectors
from tests.transport.scripted_server import OK_STEPS, Authority, RenegotiatingServer, ScriptedServer

REPLIES = vectors.load("http_response")
ANSWERS = vectors.load("dns_at_send")
BLOCKED_URLS = vectors.load("endpoint_url", "dns_name")
DEADLINE = 1.5
PUBLIC = "93.184.216.34"


def request(url: str, **changes: Any) -> Request:
    """Return a request with what most tests do not care about."""
    values: dict[str, Any] = {
        "id": "del_1",
        "tenant_id": "acme",
        "url": url,
        "headers": {"webhook-id": "evt_1", "Content-Type": "application/json"},
        "body": b'{"a":1}',
        "timeout_seconds": DEADLINE,
        "max_response_bytes": 16_384,
    }
    return Request(**(values | changes))


def collect(transport: Transport, count: int, seconds: float = 10) -> list[Outcome]:
    """Wait for so many outcomes."""
    outcomes: list[Outcome] = []
    end = time.monotonic() + seconds
    while len(outcomes) < count and time.monotonic() < end:
        outcomes += transport.completed(end - time.monotonic())
    assert len(outcomes) == count
    return outcomes


def send(transport: Transport, url: str, **changes: Any) -> Outcome:
    """Make one request and wait for its outcome."""
    transport.submit(request(url, **changes))
    return collect(transport, 1)[0]


def resolved(*addresses: str) -> list[Any]:
    """Return what ``getaddrinfo`` says for these addresses."""
    return [
        (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
        for address in addresses
    ]


@dataclass
class Replayed:
    """The outcome of a case, how long it took, and the memory that all of them took together."""

    outcomes: dict[str, tuple[Outcome, float]]
    grown_bytes: int


class TransportFixtures:
    """What tests of a transport need; subclass it and say how to make the transport."""

    def make_transport(self, **options: Any) -> Transport:
        """Return a new transport; ``max_in_flight`` is the one option there is."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _settings(self, authority: Authority) -> Iterator[None]:
        with override_settings(
            DJANGO_RELAY={
                "ALLOW_HTTP": True,
                "ALLOWED_NETWORKS": ["127.0.0.0/8", "::1/128"],
                "CA_BUNDLE": authority.bundle,
            }
        ):
            yield

    @pytest.fixture(scope="class")
    @classmethod
    def authority(cls, tmp_path_factory: pytest.TempPathFactory) -> Authority:
        return Authority(tmp_path_factory.mktemp("tls"))

    @pytest.fixture
    def transport(self) -> Iterator[Transport]:
        with contextlib.closing(self.make_transport()) as transport:
            yield transport

    @pytest.fixture
    def dns(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
        """Answers by name: one for each query, the last one for all that follow. An exception is
        raised."""
        answers: dict[str, list[Any]] = {}

        def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
            queue = answers[host]
            answer = queue.pop(0) if len(queue) > 1 else queue[0]
            if callable(answer):
                answer = answer()
            if isinstance(answer, Exception):
                raise answer
            return resolved(*answer)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return answers


class TransportCases(TransportFixtures):
    """Subclass it as ``Test…`` and say how to make the transport."""

    #: What a receiver that renegotiates TLS without end comes to: refused, or cut at the deadline.
    renegotiation = "tls"

    @pytest.fixture
    def connects(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Record the addresses that a connection was tried to, all of which refuse."""
        tried: list[str] = []

        def connect(_: socket.socket, address: Any) -> None:
            tried.append(address[0])
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

        monkeypatch.setattr(socket.socket, "connect", connect)
        return tried

    # Hostile receivers

    @pytest.fixture(scope="class")
    @classmethod
    def replayed(cls, authority: Authority) -> Replayed:
        """Play all hostile receivers at once to one transport."""
        cases = [parameters.values[0] for parameters in REPLIES]
        settings = {"ALLOW_HTTP": True, "ALLOWED_NETWORKS": ["127.0.0.0/8"], "CA_BUNDLE": authority.bundle}
        with contextlib.ExitStack() as stack:
            stack.enter_context(override_settings(DJANGO_RELAY=settings))
            urls = {case["id"]: cls._server(stack, case, authority).url("/a/secret?b=secret") for case in cases}
            transport = stack.enter_context(contextlib.closing(cls().make_transport(max_in_flight=len(cases))))
            with ScriptedServer(context=authority.context()) as warm_up:
                assert send(transport, warm_up.url()).status_code == 200
            gc.collect()
            process = psutil.Process()
            before = peak = process.memory_info().rss
            began = time.monotonic()
            for case in cases:
                url = urls[case["id"]]
                transport.submit(request(url, id=case["id"], body=b"x" * 262_144 if case["id"] == "RSP-015" else b"{}"))
            outcomes: dict[str, tuple[Outcome, float]] = {}
            while transport.in_flight and time.monotonic() < began + 15:
                for outcome in transport.completed(0.05):
                    outcomes[outcome.request.id] = outcome, time.monotonic() - began
                peak = max(peak, process.memory_info().rss)
        print(
            sorted((k, round(s, 2), o.status_code, o.error_kind, o.error) for k, (o, s) in outcomes.items()),
            (peak - before) >> 10,
        )
        return Replayed(outcomes, peak - before)

    @staticmethod
    def _server(stack: contextlib.ExitStack, case: dict[str, Any], authority: Authority) -> Any:
        kind = case["input"].get("tls", "")
        steps = case["input"].get("steps", OK_STEPS)
        if kind == "renegotiate":
            return stack.enter_context(RenegotiatingServer(authority.pem))
        if steps[0][0] == "tls_trickle":
            steps = [["tls_trickle", authority.pem]]
        context = authority.context(kind) if kind else None
        return stack.enter_context(ScriptedServer(steps, context=context))

    @pytest.mark.parametrize("case", REPLIES)
    def test_hostile_receiver(self, replayed: Replayed, case: dict[str, Any]) -> None:
        outcome, seconds = replayed.outcomes[case["id"]]
        assert seconds <= DEADLINE + 1
        assert len(outcome.body) <= 16_384
        assert (outcome.status_code is None) == bool(outcome.error_kind)
        reason = self.renegotiation if case["input"].get("tls") == "renegotiate" else case["reason"]
        assert verdict(case["expect"], reason, outcome), outcome

    def test_hostile_receivers_take_no_memory(self, replayed: Replayed) -> None:
        assert replayed.grown_bytes <= 32 * 1_048_576

    @pytest.mark.parametrize("case", REPLIES)
    def test_error_shows_no_path(self, replayed: Replayed, case: dict[str, Any]) -> None:
        outcome, _ = replayed.outcomes[case["id"]]
        assert outcome.error_kind in {"", *ERROR_KINDS}
        assert "localhost" not in outcome.error
        assert "secret" not in outcome.error

    # Names and addresses

    @pytest.mark.parametrize("case", ANSWERS)
    def test_dns_at_send(
        self, transport: Transport, dns: dict[str, list[Any]], connects: list[str], case: dict[str, Any]
    ) -> None:
        name, answers = case["input"]["name"], case["input"]["answers_by_query"]
        failures = {"NXDOMAIN": socket.EAI_NONAME, "SERVFAIL": socket.EAI_AGAIN}
        if isinstance(answers, list):
            dns[name] = [answer or socket.gaierror(socket.EAI_NODATA, "no address") for answer in answers]
        else:
            code = failures.get(answers, socket.EAI_FAIL) if isinstance(answers, str) else socket.EAI_FAIL
            dns[name] = [socket.gaierror(code, "failed")]
        with override_settings(DJANGO_RELAY={}):
            if case["id"] == "DNS-013":
                assert send(transport, f"https://{name}/").error_kind == "connection"
                assert connects == [PUBLIC]
                connects.clear()
            outcome = send(transport, f"https://{name}/")
        if case["expect"] == "accept":
            assert connects == [PUBLIC]
        else:
            assert connects == []
            assert outcome.error_kind == case["reason"]
            assert outcome.remote_address == ""

    @pytest.mark.parametrize("case", BLOCKED_URLS)
    def test_name_of_a_private_address(
        self, transport: Transport, dns: dict[str, list[Any]], connects: list[str], case: dict[str, Any]
    ) -> None:
        name = case["input"].split("/")[2]
        dns[name] = [["169.254.169.254"]]
        with override_settings(DJANGO_RELAY={}):
            assert send(transport, case["input"]).error_kind == "address_not_public"
        assert connects == []

    @pytest.mark.parametrize("answer", [[PUBLIC, "10.0.0.1"], ["fd00::1", PUBLIC], [PUBLIC, "::ffff:127.0.0.1"]])
    def test_one_private_address_refuses_all(
        self, transport: Transport, dns: dict[str, list[Any]], connects: list[str], answer: list[str]
    ) -> None:
        dns["mixed.example.test"] = [answer]
        with override_settings(DJANGO_RELAY={}):
            assert send(transport, "https://mixed.example.test/").error_kind == "address_not_public"
        assert connects == []

    def test_connects_to_the_address_that_was_checked(self, transport: Transport, dns: dict[str, list[Any]]) -> None:
        with ScriptedServer() as server:
            # A second look-up would be told of a forbidden address.
            dns["rebind.example.test"] = [["127.0.0.1"], ["169.254.169.254"]]
            outcome = send(transport, server.url(host="rebind.example.test"))
            assert (outcome.status_code, outcome.remote_address) == (200, "127.0.0.1")
            assert server.requests[0].split(b"\r\n")[1] == f"Host: rebind.example.test:{server.port}".encode()
            assert send(transport, server.url(host="rebind.example.test")).error_kind == "address_not_public"
            assert server.connections == 1

    @pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://100.100.100.200/", "http://[fd00:ec2::254]/"])
    def test_metadata_is_never_allowed(self, transport: Transport, connects: list[str], url: str) -> None:
        with override_settings(DJANGO_RELAY={"ALLOW_HTTP": True, "ALLOWED_NETWORKS": ["0.0.0.0/0", "::/0"]}):
            assert send(transport, url).error_kind == "address_not_public"
        assert connects == []

    def test_url_is_checked_again_at_send(self, transport: Transport, connects: list[str]) -> None:
        with override_settings(DJANGO_RELAY={}):
            assert send(transport, f"http://{PUBLIC}/").error_kind == "unsafe_url"
            assert send(transport, "https://example.com:22/").error_kind == "unsafe_url"
        assert connects == []

    def test_falls_back_to_the_next_address(self, transport: Transport, dns: dict[str, list[Any]]) -> None:
        with ScriptedServer() as server:
            dns["two.example.test"] = [["::1", "127.0.0.1"]]
            outcome = send(transport, server.url(host="two.example.test"))
        assert (outcome.status_code, outcome.remote_address) == (200, "127.0.0.1")

    def test_dead_names_do_not_delay_a_healthy_one(self, dns: dict[str, list[Any]]) -> None:
        released = threading.Event()

        def hang() -> Exception:
            released.wait(20)
            return socket.gaierror(socket.EAI_AGAIN, "no answer")

        with ScriptedServer() as server, contextlib.closing(self.make_transport(max_in_flight=64)) as transport:
            try:
                for number in range(40):
                    dns[f"dead{number}.example.test"] = [hang]
                    transport.submit(
                        request(
                            f"https://dead{number}.example.test/",
                            tenant_id=f"tenant{number % 5}",
                            timeout_seconds=3,
                        )
                    )
                dns["alive.example.test"] = [["127.0.0.1"]]
                began = time.monotonic()
                outcome = send(transport, server.url(host="alive.example.test"), tenant_id="tenant0")
                assert outcome.status_code == 200
                assert time.monotonic() - began < 0.5
                dead = collect(transport, 40)
                assert {outcome.error_kind for outcome in dead} == {"dns_error"}
                assert time.monotonic() - began < 4
            finally:
                released.set()

    # TLS

    def test_sni_is_the_name(self, transport: Transport, authority: Authority, dns: dict[str, list[Any]]) -> None:
        dns["hooks.example.test"] = [["127.0.0.1"]]
        with ScriptedServer(context=authority.context()) as server:
            assert send(transport, server.url(host="hooks.example.test")).status_code == 200
            assert server.names == ["hooks.example.test"]

    def test_certificate_of_another_name_is_refused(
        self, transport: Transport, authority: Authority, dns: dict[str, list[Any]]
    ) -> None:
        dns["other.example.test"] = [["127.0.0.1"]]
        with ScriptedServer(context=authority.context()) as server:
            outcome = send(transport, server.url(host="other.example.test"))
            assert (outcome.error_kind, server.requests) == ("tls", [])

    def test_unknown_authority_is_refused(self, transport: Transport, authority: Authority) -> None:
        with ScriptedServer(context=authority.context()) as server:
            with override_settings(DJANGO_RELAY={"ALLOWED_NETWORKS": ["127.0.0.0/8"]}):
                assert send(transport, server.url()).error_kind == "tls"
            assert server.requests == []

    def test_plain_receiver_behind_https(self, transport: Transport) -> None:
        steps = [["send", "HTTP/1.1 400 Bad Request\r\n\r\n"], ["close"], ["no_read"]]
        with ScriptedServer(steps) as server:
            assert send(transport, server.url().replace("http:", "https:")).error_kind == "tls"

    # The wire

    def test_exact_bytes(self, transport: Transport) -> None:
        headers = {
            "webhook-id": "evt_1",
            "X-Odd-CASE": "ä ~",
            "X-Empty": "",
            "X-Blank": " \t",
            "X-Colon": "a: b: ",
            "content-type": "application/json",
            "user-agent": "relay",
        }
        with ScriptedServer() as server:
            path = "/a/../b/./%2e%2e/%0d%0A%7e/%E4%zz'()?q=[1]&r=%2F+;".replace("%zz", "")
            body = b'{"\x00\xff":1}\r\n\r\n'
            assert send(transport, server.url(path), headers=headers, body=body).status_code == 200
            head, _, sent = server.requests[0].partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert sent == body
        assert lines[0] == f"POST {path} HTTP/1.1".encode()
        ours = [line for line in lines[1:] if line.split(b":")[0].decode() in headers]
        assert [line.rstrip() for line in ours] == [
            f"{name}: {value}".rstrip().encode("latin-1") for name, value in headers.items()
        ]
        rest = sorted(line.lower() for line in lines[1:] if line not in ours)
        assert rest == [
            b"accept-encoding: identity",
            f"content-length: {len(body)}".encode(),
            f"host: localhost:{server.port}".encode(),
        ]

    def test_no_header_is_made_up(self, transport: Transport) -> None:
        with ScriptedServer() as server:
            assert send(transport, server.url(), headers={}, body=b"x" * 2_000_000).status_code == 200
            head = server.requests[0].partition(b"\r\n\r\n")[0]
        names = sorted(line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:])
        assert names == [b"accept-encoding", b"content-length", b"host"]

    def test_empty_path_and_body(self, transport: Transport) -> None:
        with ScriptedServer() as server:
            assert send(transport, server.url("?a=b"), body=b"").status_code == 200
            assert server.requests[0].startswith(b"POST /?a=b HTTP/1.1\r\n")
            assert b"content-length: 0\r\n" in server.requests[0].lower()

    @pytest.mark.parametrize(
        "headers", [{"X": "a\r\nY: b"}, {"X\n": "a"}, {"X": "\x00"}, {"X": "☃"}, {"Host": "a"}, {"Content-Length": "1"}]
    )
    def test_unusable_header_is_our_own_fault(self, transport: Transport, headers: dict[str, str]) -> None:
        with ScriptedServer() as server:
            assert send(transport, server.url(), headers=headers).error_kind == "local_error"
            assert server.requests == []

    def test_environment_is_ignored(self, transport: Transport, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        (tmp_path / ".netrc").write_text("machine localhost login a password b\n")
        with ScriptedServer() as proxy, ScriptedServer() as server:
            monkeypatch.setenv("HOME", str(tmp_path))
            monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                monkeypatch.setenv(name, proxy.url())
                monkeypatch.setenv(name.upper(), proxy.url())
            assert send(transport, server.url()).status_code == 200
            assert proxy.connections == 0
            assert b"authorization" not in server.requests[0].lower()

    def test_redirect_is_an_answer(self, transport: Transport) -> None:
        with ScriptedServer() as elsewhere:
            steps = [["send", f"HTTP/1.1 307 X\r\nLocation: {elsewhere.url()}\r\nContent-Length: 0\r\n\r\n"]]
            with ScriptedServer(steps) as server:
                outcome = send(transport, server.url())
            assert outcome.status_code == 307
            assert ("Location", elsewhere.url()) in outcome.headers
            assert elsewhere.connections == 0

    def test_cookies_are_not_kept(self, transport: Transport) -> None:
        steps = [["send", "HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"]]
        with ScriptedServer(steps) as server:
            assert [send(transport, server.url()).status_code for _ in range(2)] == [200, 200]
            assert b"cookie" not in server.requests[1].lower()

    def test_body_is_cut_at_the_limit(self, transport: Transport) -> None:
        with ScriptedServer([["send", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"]]) as server:
            assert send(transport, server.url(), max_response_bytes=4).body == b"0123"

    def test_chunked_body(self, transport: Transport) -> None:
        steps = [
            [
                "send",
                "HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n\u0000\u00ff\r\n3\r\nabc\r\n0\r\n\r\n",
            ]
        ]
        with ScriptedServer(steps) as server:
            outcomes = [send(transport, server.url()) for _ in range(2)]
            assert [outcome.body for outcome in outcomes] == [b"\x00\xffabc"] * 2
            assert server.connections == 1

    @pytest.mark.parametrize(
        "line", ["HTTP/2 abc", "HTTP/2 200", "HTTP/2 ", "HTTP/3 200 OK", "HTTP/1.1 abc OK", "HTTP/"]
    )
    def test_a_status_line_that_is_none_is_the_receivers_fault(self, transport: Transport, line: str) -> None:
        with ScriptedServer([["send", f"{line}\r\nContent-Length: 0\r\n\r\n"]]) as server:
            outcome = send(transport, server.url())
        assert (outcome.status_code, outcome.error_kind) == (None, "bad_response")

    def test_answer_before_the_body_was_read(self, transport: Transport) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def refuse() -> None:
                sock, _ = listener.accept()
                with sock:
                    sock.recv(1_000)
                    sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
                    time.sleep(0.1)  # and then a reset, for what was not read

            thread = threading.Thread(target=refuse)
            thread.start()
            outcome = send(transport, f"http://127.0.0.1:{listener.getsockname()[1]}/", body=b"x" * 4_000_000)
            thread.join(5)
        assert outcome.status_code == 413

    # Connections

    def test_reuses_a_connection_for_the_same_tenant_only(self, transport: Transport) -> None:
        with ScriptedServer() as server:
            for _ in range(3):
                assert send(transport, server.url()).status_code == 200
            assert server.connections == 1
            assert send(transport, server.url(), tenant_id="globex").status_code == 200
            assert server.connections == 2

    @pytest.mark.parametrize("is_tls", [False, True])
    def test_tenants_never_share_a_connection(self, transport: Transport, authority: Authority, is_tls: bool) -> None:
        with ScriptedServer(context=authority.context() if is_tls else None) as server:
            for _ in range(4):
                for number in range(24):
                    tenant = f"t{number % 4}"
                    transport.submit(request(server.url(), tenant_id=tenant, body=tenant.encode()))
                assert {outcome.status_code for outcome in collect(transport, 24)} == {200}
        bodies = [{message[-2:] for message in conversation} for conversation in server.conversations]
        assert {len(tenants) for tenants in bodies} == {1}
        assert len(bodies) <= 24 < len(server.requests)
        assert server.resumed == 0

    def test_reuses_a_tls_connection(self, transport: Transport, authority: Authority) -> None:
        with ScriptedServer(context=authority.context()) as server:
            for _ in range(3):
                assert send(transport, server.url()).status_code == 200
            assert server.connections == 1

    @pytest.mark.parametrize(
        "answer",
        [
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\nokokoko",
            "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: trailer\r\n\r\n",
        ],
        ids=["two-answers", "both-framings", "two-lengths", "cut", "close", "http-1.0", "trailer"],
    )
    def test_does_not_reuse_a_doubtful_connection(self, transport: Transport, answer: str) -> None:
        with ScriptedServer([["send", answer]]) as server:
            for _ in range(2):
                outcome = send(transport, server.url(), max_response_bytes=10, timeout_seconds=0.5)
                assert outcome.status_code == 200
            assert server.connections == 2

    def test_a_connection_that_ended_while_idle_costs_no_attempt(self, transport: Transport) -> None:
        with ScriptedServer([*OK_STEPS, ["close"]]) as server:
            for _ in range(3):
                assert send(transport, server.url()).status_code == 200
                time.sleep(0.1)  # until the end has come
            assert server.connections == 3

    def test_bytes_that_nobody_asked_for_answer_nothing(self, transport: Transport) -> None:
        poison = ["send", "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"]
        with ScriptedServer([*OK_STEPS, ["sleep", 0.05], poison]) as server:
            for _ in range(3):
                assert send(transport, server.url()).status_code == 200
                time.sleep(0.15)  # until they have come
            assert server.connections == 3

    def test_a_connection_leads_where_the_name_leads_now(self, transport: Transport, dns: dict[str, list[Any]]) -> None:
        with ScriptedServer() as server, ScriptedServer(address="::1", port=server.port) as moved:
            addresses = ["127.0.0.1", "::1", "::1", "127.0.0.1"]
            dns["moving.example.test"] = [[address] for address in addresses]
            outcomes = [send(transport, server.url(host="moving.example.test")) for _ in range(4)]
        assert [outcome.remote_address for outcome in outcomes] == addresses
        assert (len(server.requests), len(moved.requests), moved.connections) == (2, 2, 1)

    def test_an_attempt_is_one_request_even_when_a_kept_connection_ends(self, transport: Transport) -> None:
        seen: list[bytes] = []

        def serve(listener: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _address = listener.accept()
                    with connection:
                        seen.append(connection.recv(65_536))
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        seen.append(connection.recv(65_536))

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, args=[listener])
            thread.start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            assert send(transport, url).status_code == 200
            assert send(transport, url).error_kind == "connection"
            assert len(seen) == 2
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

    # Being told what to do

    def test_in_flight(self, transport: Transport) -> None:
        assert transport.in_flight == 0
        with ScriptedServer([["sleep", 0.2], *OK_STEPS]) as server:
            for _ in range(3):
                transport.submit(request(server.url()))
            assert transport.in_flight == 3
            assert transport.completed(0) == []
            assert len(collect(transport, 3)) == 3
        assert transport.in_flight == 0

    def test_more_than_fit_at_once(self) -> None:
        with ScriptedServer() as server, contextlib.closing(self.make_transport(max_in_flight=2)) as transport:
            for number in range(10):
                transport.submit(request(server.url(), id=str(number)))
            assert {outcome.request.id for outcome in collect(transport, 10)} == set(map(str, range(10)))

    def test_wake(self, transport: Transport) -> None:
        transport.wake()
        began = time.monotonic()
        assert transport.completed(5) == []
        timer = threading.Timer(0.1, transport.wake)
        timer.start()
        assert transport.completed(5) == []
        assert time.monotonic() - began < 1
        timer.join()

    def test_wake_while_a_request_is_in_flight(self, transport: Transport) -> None:
        with ScriptedServer([["sleep", 1], *OK_STEPS]) as server:
            transport.submit(request(server.url()))
            timer = threading.Timer(0.1, transport.wake)
            timer.start()
            began = time.monotonic()
            assert transport.completed(5) == []
            assert 0.05 < time.monotonic() - began < 0.8
            timer.join()
            assert collect(transport, 1)[0].status_code == 200

    def test_capacity(self) -> None:
        with contextlib.closing(self.make_transport(max_in_flight=3)) as transport:
            assert transport.capacity == 3
        settings = override_settings(DJANGO_RELAY={"MAX_IN_FLIGHT": 5})
        with settings, contextlib.closing(self.make_transport()) as transport:
            assert transport.capacity == 5

    def test_wake_in_a_signal_handler(self, transport: Transport) -> None:
        previous = signal.signal(signal.SIGUSR1, lambda *_: transport.wake())
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        try:
            timer.start()
            began = time.monotonic()
            assert transport.completed(5) == []
            assert time.monotonic() - began < 1
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, previous)

    def test_stop_sends_nothing_new(self) -> None:
        with ScriptedServer([["sleep", 0.3], *OK_STEPS]) as server:
            with contextlib.closing(self.make_transport(max_in_flight=1)) as transport:
                for number in range(3):
                    transport.submit(request(server.url(), id=str(number)))
                while not server.requests:
                    assert transport.completed(0.01) == []
                transport.stop()
                transport.submit(request(server.url(), id="3"))
                outcomes = {outcome.request.id: outcome for outcome in collect(transport, 4)}
            assert outcomes["0"].status_code == 200
            assert {outcomes[name].error_kind for name in "123"} == {"not_sent"}
            assert len(server.requests) == 1

    def test_stop_gives_up_look_ups(self, dns: dict[str, list[Any]]) -> None:
        released = threading.Event()
        dns["slow.example.test"] = [lambda: released.wait(10) and ["127.0.0.1"]]
        with contextlib.closing(self.make_transport()) as transport:
            transport.submit(request("https://slow.example.test/", timeout_seconds=10))
            time.sleep(0.1)
            transport.stop()
            try:
                assert collect(transport, 1, seconds=1)[0].error_kind == "not_sent"
            finally:
                released.set()

    def test_an_answer_that_came_in_time_is_no_time_out_though_nobody_looked(self, transport: Transport) -> None:
        """The thread that collects may wait for its database meanwhile."""
        with ScriptedServer([["sleep", 0.1], *OK_STEPS]) as server:
            transport.submit(request(server.url(), timeout_seconds=0.4))
            while not server.requests:
                assert transport.completed(0.01) == []
            time.sleep(0.8)
            (outcome,) = collect(transport, 1)
        assert (outcome.status_code, outcome.error_kind) == (200, "")

    def test_duration_and_start(self, transport: Transport) -> None:
        with ScriptedServer([["sleep", 0.2], *OK_STEPS]) as server:
            outcome = send(transport, server.url())
        assert 200 <= outcome.duration_ms < 600
        assert outcome.started_at.utcoffset() is not None

    # Our own side

    def test_unreadable_bundle_is_our_own_fault(self, transport: Transport, connects: list[str]) -> None:
        settings = {"ALLOWED_NETWORKS": ["127.0.0.0/8"], "CA_BUNDLE": "/nonexistent/ca.pem"}
        with override_settings(DJANGO_RELAY=settings):
            assert send(transport, "https://localhost:8443/").error_kind == "local_error"
        assert connects == []

    def test_no_descriptors_left(self, transport: Transport) -> None:
        with ScriptedServer() as server:
            url = server.url()
            assert send(transport, url).status_code == 200
            with exhausted_descriptors():
                outcome = send(transport, url)
            assert outcome.error_kind == "local_error"
            assert send(transport, url).status_code == 200


@contextlib.contextmanager
def exhausted_descriptors() -> Iterator[None]:
    """Leave this process without a file descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + 8, hard))
    taken = [probe]
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def verdict(expected: str, reason: str, outcome: Outcome) -> bool:
    """Return whether an outcome is what the catalogue expects."""
    status = outcome.status_code or 0
    checks: dict[str, Callable[[], bool]] = {
        "redirect": lambda: 300 <= status < 400 and any(name == "Location" for name, _ in outcome.headers),
        "deadline": lambda: outcome.error_kind == "timeout",
    }
    if expected == "success":
        return 200 <= status < 300
    if reason.startswith("http_"):
        return status == int(reason[5:])
    if reason.startswith("retry_after"):
        return status == 429 and any(name == "Retry-After" for name, _ in outcome.headers)
    return checks[reason]() if reason in checks else outcome.error_kind == reason
