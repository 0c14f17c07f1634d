"""How the web process reads requests: slow ones take no thread, too slow and too large ones go."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from active_learn_backend.web import limits
from active_learn_backend.web import server as server_module
from active_learn_backend.web.server import BufferedWorker

HEAD = b"POST /webhook HTTP/1.1\r\nHost: x\r\n"


class Served:
    """One web process of two threads in a thread of the test."""

    def __init__(self) -> None:
        self.release = threading.Event()
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        # What gunicorn gives its workers.
        self.worker = BufferedWorker.__new__(BufferedWorker)
        values = {
            "alive": True, "ppid": os.getppid(), "wsgi": self._answer,
            "cfg": SimpleNamespace(threads=2, graceful_timeout=10), "notify": lambda: None,
            "sockets": [SimpleNamespace(sock=listener)],
        }  # fmt: skip
        vars(self.worker).update(values)
        self._thread = threading.Thread(target=self.worker.run)
        self._thread.start()
        self._listener = listener

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            self.release.wait(30)
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
        return [b"%d bytes, from %s" % (len(body), forwarded.encode())]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)

    def stop(self) -> None:
        self.worker.alive = False
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._listener.close()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(server_module, "READ_SECONDS", 0.5)
    monkeypatch.setattr(server_module, "CHECK_EVERY", 0)
    monkeypatch.setattr(server_module, "TICK", 0.05)
    running = Served()
    yield running
    running.release.set()
    running.stop()


def receive(client: socket.socket, end: bytes) -> None:
    """Read an answer up to its end; header and body may come one after the other."""
    answer = b""
    while not answer.endswith(end):
        more = client.recv(1000)
        assert more, answer
        answer += more


def test_eight_half_sent_headers_and_bodies_take_no_thread(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "READ_SECONDS", 60)
    with ExitStack() as connections:
        for half in (HEAD + b"X-Half: ", HEAD + b"Content-Length: 9\r\n\r\n{"):
            for _ in range(8):
                slow = connections.enter_context(served.connect())
                slow.sendall(half)
        assert httpx.post(served.url, content=b"123").text == "3 bytes, from "
        slow.sendall(b"12345678")  # the last one goes on after all
        receive(slow, b"9 bytes, from ")


@pytest.mark.parametrize("start", [HEAD, HEAD + b"Content-Length: 9000\r\n\r\n"])
def test_a_request_that_does_not_arrive_in_time_is_dropped(served: Served, start: bytes) -> None:
    """Also one that goes on byte by byte."""
    with served.connect() as slow:
        slow.sendall(start + b"X-A: ")
        slow.settimeout(0.05)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                slow.sendall(b"x")
                if not slow.recv(1):
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    pytest.fail("the connection is still open")


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(served: Served) -> None:
    for path, allowed in (("webhook", limits.LARGEST_OTHER), ("predict", limits.LARGEST_BODY)):
        head = f"POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {allowed + 1}\r\n\r\n"
        with served.connect() as client:
            client.sendall(head.encode())
            assert client.recv(100).startswith(b"HTTP/1.1 413 ")
    assert httpx.post(f"{served.url}/webhook", content=b"x" * 2**21).text == "2097152 bytes, from "


def test_a_header_that_never_ends_is_refused(served: Served) -> None:
    with served.connect() as client:
        client.sendall(HEAD + b"X: " + b"x" * (server_module.HEADER_BYTES + 1000))
        assert client.recv(100).startswith(b"HTTP/1.0 431 ")


def test_the_headers_of_a_proxy_are_passed_on(served: Served) -> None:
    """The guards refuse changes through a proxy by them."""
    answer = httpx.get(served.url, headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.text == "0 bytes, from 203.0.113.9"


def test_a_request_under_way_is_answered_when_the_process_ends(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert httpx.get(served.url).is_success  # by then the other one has its thread
        stopping = threading.Thread(target=served.stop)
        stopping.start()
        served.release.set()
        receive(client, b"0 bytes, from ")
        stopping.join(30)
