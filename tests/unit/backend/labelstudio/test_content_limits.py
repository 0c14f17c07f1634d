"""Limits of what is loaded for a task: its size, its time, and what it becomes when decoded."""

from __future__ import annotations

import os
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from active_learn_backend.errors import ContentError
from active_learn_backend.labelstudio import content_loader
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.learning.encoders import ImageEncoder
from active_learn_backend.settings import load_settings
from fake_server import KEY, Script


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    server = Script()
    yield server
    server.close()


def loader(studio: Script, **settings: Any) -> ContentLoader:
    given = load_settings(label_studio_url=studio.url, label_studio_api_key=KEY, **settings)
    return ContentLoader(given, studio.client(**settings))


def client_of(settings: Any) -> Any:
    return LabelStudioClient(settings)


# -- too much -----------------------------------------------------------------------------------


class Endless:
    """A server on a socket of its own that sends without end, fast or drop by drop."""

    def __init__(self, head: bytes, body: bytes, pause: float = 0.0) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0
        pid = os.fork()
        if pid == 0:  # pragma: no cover  another process, so that it can block
            connection, _ = self._listener.accept()
            try:
                connection.recv(65536)
                connection.sendall(head)
                while True:
                    connection.sendall(body)
                    time.sleep(pause)
            except OSError:
                os._exit(0)
        self._pid = pid

    def close(self) -> None:
        self._listener.close()
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)


@pytest.fixture
def endless(request: pytest.FixtureRequest) -> Iterator[Endless]:
    server = Endless(*request.param)
    yield server
    server.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
TWO_GIGABYTES = b"Content-Length: 2147483648\r\n\r\n"


@pytest.mark.parametrize(
    "endless",
    [(OK + TWO_GIGABYTES, b"x" * 65536), (OK + b"\r\n", b"x" * 65536)],
    indirect=True,
    ids=["two gigabytes", "no length"],
)
def test_a_huge_download_is_broken_off_at_the_limit(endless: Endless) -> None:
    settings = load_settings(label_studio_url=endless.url, max_content_mb=1)
    with pytest.raises(ContentError, match="larger than 1 MiB"):
        ContentLoader(settings, client_of(settings)).load("/data/upload/1/x.png")


def test_a_video_may_be_larger_than_other_files() -> None:
    settings = load_settings(max_content_mb=1, max_video_mb=3)
    load = ContentLoader(settings, client_of(settings)).load
    two, four = (f"data:video/mp4,{'x' * (size << 20)}" for size in (2, 4))
    with pytest.raises(ContentError, match="larger than 1 MiB; raise MAX_CONTENT_MB to take it"):
        load(two)
    assert len(load(two, video=True)) == 2 << 20
    with pytest.raises(ContentError, match="larger than 3 MiB; raise MAX_VIDEO_MB to take it"):
        load(four + four, video=True)


@pytest.mark.parametrize("endless", [(OK + TWO_GIGABYTES, b"x", 0.02)], indirect=True)
def test_a_download_drop_by_drop_has_a_time_limit(
    endless: Endless, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_loader, "CONTENT_TIMEOUT", 0.5)
    settings = load_settings(label_studio_url=endless.url)
    with pytest.raises(ContentError, match=r"took longer than 0\.5 s; make it smaller"):
        ContentLoader(settings, client_of(settings)).load("/data/upload/1/x.png")


def test_a_compressed_answer_is_refused(studio: Script) -> None:
    bomb = zlib.compress(b"\0" * 10_000_000)
    studio.answer = lambda *_: (200, {"Content-Encoding": "deflate"}, bomb)
    with pytest.raises(ContentError, match="compressed"):
        loader(studio, max_content_mb=1).load("/data/upload/1/x.png")


def test_a_decompression_bomb_in_an_image_is_refused_before_it_is_decoded() -> None:
    """A PNG of 60,000 x 60,000 black pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    image += chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000)) + chunk(b"IEND", b"")
    assert len(image) < 5000
    with pytest.raises(ContentError):
        ImageEncoder().encode([image])
