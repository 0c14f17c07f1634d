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
from active_learn_backend.decoders import process
from active_learn_backend.decoders.process import AT_ONCE, Child, decode, require_decoder
from active_learn_backend.errors import ContentError
from media_files import RATE, audio_file, tone

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


def test_a_decoder_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SECONDS", 0.2)
    start_instead(HANGS, monkeypatch)
    with pytest.raises(ContentError, match=r"took longer than 0\.2 s to decode"):
        decode("audio", b"x", rate=RATE, seconds=1.0)
    assert not process._idle


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
