"""A loopback server that says exactly what a script tells it, however wrong."""

import contextlib
import random
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme


class Authority:
    """A certificate authority of the tests' own, and server certificates by it."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.bundle = str(folder / "ca.pem")
        self.pem = str(folder / "server.pem")
        self._ca.cert_pem.write_to_path(self.bundle)
        self._ca.issue_cert(
            "localhost", "127.0.0.1", "hooks.example.test"
        ).private_key_and_cert_chain_pem.write_to_path(self.pem)

    def context(self, kind: str = "") -> ssl.SSLContext:
        """Return a server's TLS context; ``kind`` is a ``tls`` value of the catalogue."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem)
        if kind == "tls1_0":
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
        elif kind == "null_cipher":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers("eNULL:@SECLEVEL=0")
        elif kind == "client_cert_request":
            context.load_verify_locations(self.bundle)
            context.verify_mode = ssl.CERT_OPTIONAL
        elif kind == "sni_required":
            context.sni_callback = lambda _, name, __: (
                None if name == "localhost" else ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            )
        return context


OK_STEPS: list[list[Any]] = [["send", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]]


class ScriptedServer:
    """Plays ``steps`` (see ``meta.response_steps`` of the catalogue) to each request of each
    connection.

    ``requests`` are the raw requests, ``conversations`` the same by connection, ``connections``
    counts those accepted, ``names`` are the SNI names seen, ``resumed`` counts the TLS sessions
    that were taken up again.
    """

    def __init__(
        self,
        steps: list[list[Any]] | None = None,
        *,
        context: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.steps = steps or OK_STEPS
        self.requests: list[bytes] = []
        self.names: list[str | None] = []
        self.conversations: list[list[bytes]] = []
        self.connections = 0
        self.resumed = 0
        self._context = context
        self._stop = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(
            (address, port),
            family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            backlog=0 if self._is("no_accept") else 128,
        )
        self.port = self._listener.getsockname()[1]
        if context is not None and context.sni_callback is None:
            context.sni_callback = lambda _, name, __: self.names.append(name)

    def __enter__(self) -> "ScriptedServer":
        if self._is("no_accept"):
            self._fill_backlog()
        else:
            self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in list(self._open):
            sock.close()

    def url(self, path: str = "/", host: str = "localhost") -> str:
        """Return a URL of this server."""
        return f"{'http' if self._scheme_is_plain() else 'https'}://{host}:{self.port}{path}"

    def _scheme_is_plain(self) -> bool:
        return self._context is None and not self._is("tls_stall") and not self._is("tls_trickle")

    def _is(self, step: str) -> bool:
        return any(name == step for name, *_ in self.steps)

    def _start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _fill_backlog(self) -> None:
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self.port))
            self._open.add(sock)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                self._stop.wait(0.01)  # out of descriptors, or at an end
                continue
            self.connections += 1
            self._open.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, ValueError):
            if self._context is not None:
                self._open.discard(sock)
                try:
                    sock = self._context.wrap_socket(sock, server_side=True)
                finally:
                    self._open.add(sock)
                self.resumed += bool(sock.session_reused)
            if not self._scheme_is_plain() and self._context is None:
                self._play(sock)
                return
            conversation: list[bytes] = []
            self.conversations.append(conversation)
            while True:
                if not self._is("no_read") and not self._read_request(sock, conversation):
                    return
                if not self._play(sock):
                    return

    def _read_request(self, sock: socket.socket, conversation: list[bytes]) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65_536)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            more = sock.recv(65_536)
            if not more:
                return False
            body += more
        conversation.append(head + b"\r\n\r\n" + body)
        self.requests.append(conversation[-1])
        return True

    def _play(self, sock: socket.socket) -> bool:
        """Play the steps; return whether the connection is still open."""
        for name, *args in self.steps:
            if name == "close":
                sock.close()
                return False
            if name == "rst":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
                return False
            if name in {"no_read", "tls_stall"}:
                self._stop.wait(30)
                return False
            if name == "sleep":
                self._stop.wait(args[0])
            elif name == "tls_trickle":
                return self._trickle_handshake(sock)
            else:
                for data, pause in _data(name, args):
                    sock.sendall(data)
                    if self._stop.is_set() or (pause and self._stop.wait(pause)):
                        return False
        return True

    def _trickle_handshake(self, sock: socket.socket) -> bool:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = self._context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.steps[0][1])
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            incoming.write(sock.recv(65_536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            for byte in outgoing.read():
                sock.sendall(bytes([byte]))
                if self._stop.wait(0.5):
                    return False


def _data(name: str, args: list[Any]) -> Iterator[tuple[bytes, float]]:
    """Yield what a step sends, and the pause after each part."""
    if name == "send":
        # Text of the catalogue that is not Latin-1 is meant as its UTF-8 bytes.
        text = args[0]
        yield (text.encode("latin-1") if all(ord(c) < 256 for c in text) else text.encode()), 0
    elif name == "trickle":
        for character in args[0]:
            yield character.encode("latin-1"), args[1]
    elif name == "repeat":
        text, pause, count = args
        # Without a pause many go in one packet: the script is about the client's patience and not
        # about ours.
        data = text.encode("latin-1") * (1 if pause else 1_000)
        number = 0
        while count == "forever" or number < count:
            yield data, pause
            number += 1
    elif name == "flood":
        while True:
            yield args[0].encode("latin-1") * args[1], 0
    elif name == "gzip_bomb":
        packer = zlib.compressobj(wbits=31)
        for _ in range(args[0] // 1_048_576):
            yield packer.compress(bytes(1_048_576)), 0
        yield packer.flush(), 0
    elif name == "random":
        yield random.Random(7).randbytes(args[0]), 0
    else:
        raise NotImplementedError(name)


class RenegotiatingServer:
    """``openssl s_server`` told to renegotiate again and again; Python's ``ssl`` cannot be made to."""

    def __init__(self, pem: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        openssl = shutil.which("openssl")
        assert openssl, "the openssl command is needed to play a renegotiating receiver"
        self._process = subprocess.Popen(
            [openssl, "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert", pem, "-key", pem, "-tls1_2"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._thread = threading.Thread(target=self._flood, daemon=True)

    def __enter__(self) -> "RenegotiatingServer":
        for _ in range(100):
            time.sleep(0.02)
            # -accept is taken up when the port no longer can be bound.
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", self.port))
                continue
            break
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(5)
        self._thread.join(5)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _flood(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # Not before the request is here: the first handshake is to succeed.
        while b"POST /" not in (line := self._process.stdout.readline()):
            if not line:
                return
        with contextlib.suppress(OSError, ValueError):
            while self._process.poll() is None:
                self._process.stdin.write(b"R\n")
                self._process.stdin.flush()
                time.sleep(0.01)

    def url(self, path: str = "/") -> str:
        """Return the URL of this server."""
        return f"https://localhost:{self.port}{path}"
