"""The host's site, as a server of its own: ``python -m tests.browser.site PORT [CERTIFICATE]``; prints its port.

As production serves it: static files and pages compressed, and over HTTPS if a certificate (PEM, with its key) is given.
"""

import gzip
import logging
import os
import ssl
import sys
from contextlib import closing
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class Handler(WSGIRequestHandler):
    def log_message(self, form, *args):
        sys.stderr.write(f"{form % args}\n")

    def get_environ(self):
        return {**super().get_environ(), "HTTPS": "on" if self.server.is_secure else "off"}


PARENT = b"""<!doctype html><html lang="en"><title>The customer's application</title><body>
<iframe title="Webhooks" width="1000" height="900" allow="clipboard-write"></iframe>
<script>addEventListener("message", (event) => { document.title = `height ${event.data.height} of ${event.origin}`; });
document.querySelector("iframe").src = decodeURIComponent(location.hash.slice(1));</script>"""


def compressed(application):
    """Compress what is text, and serve a page that embeds another one at ``/parent``."""

    def serve(environ, start_response):
        if environ["PATH_INFO"] == "/parent":
            start_response("200 OK", [("Content-Type", "text/html")])
            return [PARENT]
        told = []
        # Closed here, as WSGI asks: left to the garbage collector, a file's response ends "its request" in whatever
        # thread collects it, and closes the database connection of the one that this thread is at.
        with closing(application(environ, lambda *given: told.append(given))) as answer:
            body = b"".join(answer)
        status, headers, *_rest = told[0]
        kind = dict(headers).get("Content-Type", "")
        if (
            len(body) > 500
            and kind.startswith(("text/", "image/svg"))
            and "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "")
        ):
            body = gzip.compress(body)
            headers = [(name, value) for name, value in headers if name != "Content-Length"]
            headers += [("Content-Encoding", "gzip"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    return serve


def main(port, certificate=""):
    django.setup()
    logging.basicConfig(level=logging.ERROR)  # without DEBUG, Django only mails a view's exceptions
    settings.ALLOWED_HOSTS = ["*"]
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.wsgi import get_wsgi_application

    class Files(StaticFilesHandler):
        def serve(self, request):
            from django.contrib.staticfiles.views import serve

            return serve(request, self.file_path(request.path), insecure=True)

    application = compressed(Files(get_wsgi_application()))
    server = make_server("127.0.0.1", int(port), application, server_class=Server, handler_class=Handler)
    server.is_secure = bool(certificate)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    os.write(1, f"{server.server_port}\n".encode())
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
