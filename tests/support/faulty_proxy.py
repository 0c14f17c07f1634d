"""A proxy in front of a real Label Studio that spoils the answers it is told to."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

__all__ = ["Fault", "FaultyProxy"]

# Takes the handler and what Label Studio would answer: (status, headers, body); sends its own.
Fault = Callable[
    [BaseHTTPRequestHandler, Callable[[], tuple[int, list[tuple[str, str]], bytes]]], None
]


def status(number: int, **headers: str) -> Fault:
    """Answer with an error, without asking Label Studio."""

    def spoil(handler: BaseHTTPRequestHandler, ask: Any) -> None:
        send(handler, number, [(k.replace("_", "-"), v) for k, v in headers.items()], b"busy")

    return spoil


def html(handler: BaseHTTPRequestHandler, ask: Any) -> None:
    """Answer 200 with a page, as a proxy's log-in does."""
    send(handler, 200, [("Content-Type", "text/html")], b"<html><body>Sign in</body></html>")


def half(handler: BaseHTTPRequestHandler, ask: Any) -> None:
    """Do what was asked, and break off in the middle of the answer."""
    number, headers, body = ask()
    handler.send_response(number)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def slow(seconds: float) -> Fault:
    """Answer rightly, but late."""

    def spoil(handler: BaseHTTPRequestHandler, ask: Any) -> None:
        answer = ask()
        time.sleep(seconds)
        send(handler, *answer)

    return spoil


def send(
    handler: BaseHTTPRequestHandler, number: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    handler.send_response(number)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class FaultyProxy:
    """Passes everything on, but for requests that ``fault(method, path)`` gives a `Fault` for.

    Parameters
    ----------
    target : str
        Address of Label Studio.
    tls : ssl.SSLContext, optional
        With a certificate for 127.0.0.1; the proxy speaks HTTPS then.

    Attributes
    ----------
    url : str
    spoiled : int
        Answers spoiled so far.
    fault : callable
    """

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        self.spoiled = 0
        self.fault: Callable[[str, str], Fault | None] = lambda method, path: None
        address = urlsplit(target)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                if tls is not None:  # here, in the thread of the request
                    self.request = tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def log_message(self, *_: Any) -> None: ...

            def handle_any(self) -> None:
                given = self.rfile.read(int(self.headers.get("Content-Length") or 0))

                def ask() -> tuple[int, list[tuple[str, str]], bytes]:
                    connection = http.client.HTTPConnection(str(address.hostname), address.port)
                    headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
                    connection.request(self.command, self.path, given, headers)
                    answer = connection.getresponse()
                    body = answer.read()
                    connection.close()
                    dropped = {"connection", "transfer-encoding", "content-length", "server"}
                    kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in dropped]
                    return answer.status, kept, body

                fault = proxy.fault(self.command, self.path)
                if fault is None:
                    send(self, *ask())
                else:
                    proxy.spoiled += 1
                    fault(self, ask)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Whoever asked has gone: that is part of the game."""

        self._server = Server(("127.0.0.1", 0), Handler)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
