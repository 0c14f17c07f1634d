"""The server below the web process: a request takes a thread only once it is there in full.

gunicorn starts and watches the web processes; in each of them waitress reads the requests. With
gunicorn's own threads a few clients that send half a request would hold all of them.
"""

from __future__ import annotations

import copy
import logging
import os
import time
from typing import Any

from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from ..collector import spare_imports
from .limits import LARGEST_BODY, largest_body

__all__ = ["READ_SECONDS", "BufferedWorker"]

READ_SECONDS = 60  # within which a request has to be there, header and body
IDLE_SECONDS = 30  # after which a connection without a request is closed
CHECK_EVERY = 5
TICK = 0.5
CONNECTIONS = 500  # of a process; a limit for the memory of their headers
HEADER_BYTES = 32 * 2**10


class _Parser(HTTPRequestParser):
    """Applies the limit of the path, before the body is read."""

    adj: Any

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        self.adj = copy.copy(self.adj)
        # waitress refuses what reaches its limit.
        self.adj.max_request_body_size = largest_body(self.path) + 1


class _Channel(HTTPChannel):
    """A connection that knows since when its present request is being read."""

    parser_class = _Parser
    reading_since = 0.0

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self.reading_since = time.time()
        return bool(super().received(data))


class _Server(TcpWSGIServer):
    channel_class = _Channel

    def maintenance(self, now: float) -> None:
        """Close connections that are idle, and those whose request takes too long to arrive."""
        super().maintenance(now)
        for channel in self.active_channels.values():
            if channel.request is not None and channel.reading_since < now - READ_SECONDS:
                channel.will_close = True

    def is_busy(self) -> bool:
        """Check whether a request is being answered, or an answer is not sent yet."""
        return any(one.requests or one.total_outbufs_len for one in self.active_channels.values())


class BufferedWorker(Worker):
    """A web process of gunicorn whose requests waitress reads."""

    def load_wsgi(self) -> None:
        """Import the app."""
        spare_imports()
        super().load_wsgi()

    def run(self) -> None:
        """Serve until the process is told to end, or gunicorn has died."""
        # It warns whenever a request waits for a thread.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        connections: dict[int, Any] = {}
        threads = ThreadedTaskDispatcher()
        threads.set_thread_count(self.cfg.threads)
        servers = [self._serve(one.sock, connections, threads) for one in self.sockets]
        while self.alive and self.ppid == os.getppid():
            self.notify()
            wasyncore.loop(timeout=TICK, map=connections, use_poll=True, count=1)
        for server in servers:
            server.del_channel()  # takes no more connections
        deadline = time.monotonic() + self.cfg.graceful_timeout - 1
        while any(server.is_busy() for server in servers) and time.monotonic() < deadline:
            self.notify()
            wasyncore.loop(timeout=TICK, map=connections, use_poll=True, count=1)
        threads.shutdown(timeout=1)

    def _serve(self, sock: Any, connections: dict[int, Any], threads: Any) -> _Server:
        settings = Adjustments(
            sockets=[sock],
            ident=None,
            max_request_header_size=HEADER_BYTES,
            max_request_body_size=LARGEST_BODY + 1,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=CHECK_EVERY,
            connection_limit=CONNECTIONS,
            # The guards tell by these headers that a request came through a proxy.
            clear_untrusted_proxy_headers=False,
        )
        return _Server(
            self.wsgi,
            connections,
            True,
            sock,
            dispatcher=threads,
            adj=settings,
            bind_socket=False,
            sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
        )
