"""A loopback server that speaks HTTP/2 alone."""

import contextlib
import socket
import threading

import h2.config
import h2.connection
import h2.events


class HTTP2Server:
    """Answers each request with 200 and ``ok`` times a thousand; a path of ``/reset`` with the end of its stream.

    ``conversations`` are the bodies of the requests, by connection; ``heads`` their headers. Nothing is
    answered before ``hold`` requests have come over its connection.
    """

    def __init__(self, context):
        context.set_alpn_protocols(["h2"])
        self.conversations, self.heads = [], []
        self._context = context
        self.hold = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._socks = []
        self.port = self._listener.getsockname()[1]
        self.url = f"https://localhost:{self.port}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        for sock in [self._listener, *self._socks]:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            sock.close()

    def drop(self):
        """Close all connections."""
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[sock], daemon=True).start()

    def _serve(self, sock):
        with contextlib.suppress(OSError):
            sock = self._context.wrap_socket(sock, server_side=True)
            self._socks.append(sock)
            self._converse(sock)

    def _converse(self, sock):
        bodies, heads = {}, {}
        conversation = []
        self.conversations.append(conversation)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        connection.initiate_connection()
        sock.sendall(connection.data_to_send())
        while data := sock.recv(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    heads[event.stream_id] = event.headers
                    bodies[event.stream_id] = b""
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    conversation.append(bodies.pop(event.stream_id))
                    self.heads.append(heads[event.stream_id])
            if len(conversation) >= self.hold:
                for stream, head in heads.items():
                    self._answer(connection, stream, dict(head))
                heads = {}
            sock.sendall(connection.data_to_send())

    def _answer(self, connection, stream, head):
        if head[":path"] == "/reset":
            connection.reset_stream(stream)
        else:
            connection.send_headers(stream, [(":status", "200"), ("x-a", "b")])
            connection.send_data(stream, b"ok" * 1_000, end_stream=True)
