"""Files of unknown origin are decoded by a child process, within limits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from active_learn.errors import MissingOptionalDependencyError
from active_learn_backend.decoders import process, video
from active_learn_backend.decoders.process import AT_ONCE, Child, decode, require_decoder
from active_learn_backend.errors import ContentError
from media_files import RATE, audio_file, pdf_file, tone, video_file

# Programs in place of the decoders.
HANGS = "import time; time.sleep(600)"
CRASHES = "import os, sys; sys.stdin.buffer.readline(); os.abort()"


@pytest.fixture(autouse=True)
def no_children_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    children: list[Child] = []
    monkeypatch.setattr(process, "_idle", children)
    yield
    for child in children:
        child.end()


def start_instead(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen
    monkeypatch.setattr(
        process.subprocess,
        "Popen",
        lambda command, **options: start([sys.executable, "-c", program], **options),
    )


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "ogg", "mp4"])
def test_audio_of_every_format_becomes_one_channel_of_one_rate(kind: str) -> None:
    file = audio_file(tone(440, 1.0, 44_100), kind, 44_100)
    samples = decode("audio", file, rate=RATE, seconds=60.0)
    assert isinstance(samples, np.ndarray)
    assert len(samples) == pytest.approx(RATE, rel=0.06)
    strongest = np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples)
    assert strongest == pytest.approx(440, abs=2)


def test_both_channels_of_stereo_are_heard_and_a_long_file_is_cut() -> None:
    both = np.stack([tone(300, 3.0), tone(2000, 3.0)])
    samples = decode("audio", audio_file(both), rate=RATE, seconds=2.0)
    assert isinstance(samples, np.ndarray)
    assert samples.shape == (2 * RATE,)
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum[600] > 1000
    assert spectrum[4000] > 1000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",  # a playlist: names a file of this machine
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        audio_file(tone(440), "mp4")[:500],
    ],
)
def test_what_is_no_audio_is_said_in_words(data: bytes) -> None:
    with pytest.raises(ContentError, match=r"the audio file cannot be decoded: it .* no "):
        decode("audio", data, rate=RATE, seconds=60.0)


def test_of_a_damaged_file_the_beginning_is_read() -> None:
    file = audio_file(tone(440, 2.0), "mp3")
    samples = decode("audio", file[: len(file) // 2], rate=RATE, seconds=60.0)
    assert len(samples) == pytest.approx(RATE, rel=0.1)


@pytest.mark.parametrize("kind", ["mp4", "webm", "avi"])
@pytest.mark.parametrize("n", [3, 80, 1500])
def test_frames_are_taken_evenly_over_the_time_of_a_video(kind: str, n: int) -> None:
    """In a long one they are sought, so only what is between two whole frames is decoded."""
    levels = (np.arange(n) * 250 // n)[:, None, None, None]
    frames = decode(
        "video",
        video_file(np.broadcast_to(levels, (n, 48, 64, 3)).astype(np.uint8), kind),
        frames=8,
    )
    assert isinstance(frames, np.ndarray)
    assert frames.shape == (min(n, 8), 48, 64, 3)
    shown = frames.mean(axis=(1, 2, 3))
    expected = (np.arange(len(frames)) + 0.5) / len(frames) * 250
    np.testing.assert_allclose(shown, expected, atol=45)
    assert (np.diff(shown) > 0).all()


def test_a_large_frame_is_shrunk_and_one_too_large_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = video_file(np.zeros((2, 100, 800, 3), np.uint8))
    assert np.asarray(decode("video", wide, frames=8)).shape == (2, 48, 384, 3)
    monkeypatch.setattr(video, "MAX_MEGAPIXELS", 0.05)
    with pytest.raises(ValueError, match=r"800 x 100 pixels, more than the 0\.05 megapixels"):
        video.decode_frames(wide, 8)


def test_of_a_damaged_video_the_beginning_is_read() -> None:
    file = video_file(np.zeros((200, 48, 64, 3), np.uint8), "webm")
    assert len(decode("video", file[: len(file) // 2], frames=8)) >= 4


@pytest.mark.parametrize("data", [b"", b"#EXTM3U\nfile:///etc/passwd\n", audio_file(tone(440))])
def test_what_is_no_video_is_said_in_words(data: bytes) -> None:
    with pytest.raises(ContentError, match="the video cannot be decoded: it is no video that can"):
        decode("video", data, frames=8)


def test_the_text_of_a_pdf_is_read_and_of_one_without_the_first_page_is_drawn() -> None:
    assert decode("pdf", pdf_file("The first page", "and another")) == "The first page\nand another"
    picture = np.asarray(decode("pdf", pdf_file("7", size=(300, 600))))
    assert picture.shape == (768, 384, 3)
    assert picture.min() == 0
    assert picture.mean() > 250


HELLO = pdf_file("Hello invoice number 4711")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "encrypted, damaged or no PDF"),
        (b"hello world", "encrypted, damaged or no PDF"),
        (HELLO[:300], "encrypted, damaged or no PDF"),
        (HELLO.replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]"), "its first page is damaged"),
        (pdf_file(), "damaged or no PDF|it has no page"),
    ],
)
def test_what_is_no_pdf_is_said_in_words(data: bytes, reason: str) -> None:
    with pytest.raises(ContentError, match=f"the PDF cannot be decoded: .*{reason}"):
        decode("pdf", data)


def test_a_pdf_that_claims_much_costs_little() -> None:
    assert decode("pdf", HELLO.replace(b"/Count 1", b"/Count 9")) == "Hello invoice number 4711"
    assert np.asarray(decode("pdf", pdf_file("1", size=(1e9, 1e-3)))).size < 3e6
    text = str(decode("pdf", pdf_file(*["word " * 2000] * 60)))
    assert len(text) <= 200_000 + 50


def test_a_decoder_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SECONDS", 0.2)
    start_instead(HANGS, monkeypatch)
    with pytest.raises(ContentError, match=r"took longer than 0\.2 s to decode"):
        decode("audio", b"x", rate=RATE, seconds=1.0)
    assert not process._idle


def test_a_decoder_ends_by_itself_where_nobody_is_left_to_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_instead(
        "import itertools\nfrom active_learn_backend.decoders import __main__ as child\n"
        "child.LONGEST, child.decode = 1, lambda *_: max(itertools.count())\n"
        "child.serve(child.sys.stdin.buffer, child.sys.stdout.buffer)",
        monkeypatch,
    )
    with pytest.raises(ContentError, match="made its decoder crash"):
        decode("audio", b"x", rate=RATE, seconds=1.0)


def test_a_decoder_that_crashes_costs_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        start_instead(CRASHES, patched)
        with pytest.raises(ContentError, match="made its decoder crash; shorten or convert it"):
            decode("audio", b"x", rate=RATE, seconds=1.0)
    assert len(decode("audio", audio_file(tone(440)), rate=RATE, seconds=1.0)) == RATE / 2


def test_a_file_that_needs_too_much_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    start_instead(
        "import numpy\nfrom active_learn_backend.decoders import __main__ as child\n"
        "child.decode = lambda *_: numpy.ones(1 << 30)\n"
        "child.limit()\nchild.serve(child.sys.stdin.buffer, child.sys.stdout.buffer)",
        monkeypatch,
    )
    with pytest.raises(ContentError, match="it needs more than 4 GiB when decoded"):
        decode("audio", b"x", rate=RATE, seconds=1.0)


def test_the_child_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a token")
    start_instead(
        "import json, os, sys\nsys.stdin.buffer.readline()\n"
        'print(json.dumps({"text": " ".join(os.environ), "size": 0}), flush=True)\n',
        monkeypatch,
    )
    names = str(decode("audio", b"", rate=RATE, seconds=1.0)).split()
    assert "PYTHONPATH" in names
    assert "LABEL_STUDIO_API_KEY" not in names


def test_few_children_serve_many_threads_and_one_that_ended_is_replaced() -> None:
    files = [audio_file(tone(frequency)) for frequency in range(300, 700, 50)]
    found: list[int] = []

    def read(file: bytes) -> None:
        found.append(len(decode("audio", file, rate=RATE, seconds=1.0)))

    threads = [threading.Thread(target=read, args=[file]) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [RATE // 2] * len(files)
    assert 1 <= len(process._idle) <= AT_ONCE
    for child in process._idle:
        child._process.kill()
        child._process.wait()
    read(files[0])
    assert len(process._idle) == 1


def test_a_forked_process_takes_children_of_its_own() -> None:
    decode("audio", audio_file(tone(440)), rate=RATE, seconds=1.0)
    assert process._idle
    pid = os.fork()
    if pid == 0:
        os._exit(len(process._idle))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_missing_decoder_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_decoder("audio")
    monkeypatch.setattr(process, "find_spec", lambda _: None)
    with pytest.raises(
        MissingOptionalDependencyError,
        match=r"an audio file, .*pip install 'label-studio-active-sampler\[media\]'",
    ):
        require_decoder("audio")
