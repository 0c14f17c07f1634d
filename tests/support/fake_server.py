"""A real HTTP or HTTPS server on this machine that answers as a test says."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.settings import load_settings

__all__ = ["KEY", "Answer", "Script"]

Answer = tuple[int, dict[str, str], bytes]
KEY = "0123456789abcdef0123456789abcdef01234567"


class Script:
    """A server that answers from a function, and remembers what it was asked.

    Parameters
    ----------
    tls : ssl.SSLContext, optional
        With the server's certificate; it speaks HTTPS then.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.hosts: list[str | None] = []
        self.bodies: list[bytes] = []
        self._request = threading.local()
        self.answer: Callable[[str, str, str | None], Answer] = lambda *_: (200, {}, b"{}")
        script = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                if tls is not None:  # here, in the thread of the request
                    self.request = tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def log_message(self, *_: Any) -> None: ...

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                script._request.body = self.rfile.read(length)
                script.bodies.append(script.body)
                request = (self.command, self.path, self.headers.get("Authorization"))
                script.asked.append(request)
                script.hosts.append(self.headers.get("Host"))
                status, headers, body = script.answer(*request)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None: ...  # a client that hangs up is none of ours

        self._server = Server(("127.0.0.1", 0), Handler)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        # Looks every 0.02 s whether it is to stop, not every 0.5 s: hundreds of tests wait for it.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def body(self) -> bytes:
        """Body of the request that is being answered."""
        return bytes(self._request.body)

    def client(self, key: str = KEY, **settings: Any) -> LabelStudioClient:
        return LabelStudioClient(
            load_settings(label_studio_url=self.url, label_studio_api_key=key, **settings)
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
