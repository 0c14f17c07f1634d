"""Asks child processes to decode files, at most two at once in a process of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.errors import MissingOptionalDependencyError

from ..errors import ContentError

__all__ = ["AT_ONCE", "decode", "require_decoder"]

AT_ONCE = 2  # files decoded at once, whatever the number of projects and threads
SECONDS = 60.0  # for one file
LIBRARIES = {"audio": "av", "video": "av", "pdf": "pypdfium2"}
NAMES = {"audio": "audio file", "video": "video", "pdf": "PDF"}
SHOWN = {"audio": "an audio file", "video": "a video", "pdf": "a PDF"}
# What the child needs to find Python and our code; nothing of the settings, some of them secret.
INHERITED = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "TZ")


def require_decoder(kind: str) -> None:
    """Check that the library that decodes a kind of content is installed, if it needs one.

    Raises
    ------
    MissingOptionalDependencyError
    """
    if kind in LIBRARIES and find_spec(LIBRARIES[kind]) is None:
        raise MissingOptionalDependencyError(
            f"the labeling config shows {SHOWN[kind]}, whose decoder is not installed: "
            "pip install 'label-studio-active-sampler[media]'"
        )


def decode(kind: str, data: bytes, **options: Any) -> str | npt.NDArray[Any]:
    """Decode a file in a child process; see `audio`, `video` and `pdf` for options and results.

    Raises
    ------
    ContentError
        When it cannot be decoded, or not within the limits of time and memory.
    """
    with _slots:
        child = _take()
        found = child.ask(kind, data, options)
        _idle.append(child)
    return found


class Child:
    """One child process; it answers one request after another."""

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-m", "active_learn_backend.decoders"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **environment,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "OPENBLAS_NUM_THREADS": "1",
            },
            start_new_session=True,  # Ctrl+C is for us
        )

    @property
    def runs(self) -> bool:
        """Whether the process can be asked."""
        return self._process.poll() is None

    def ask(self, kind: str, data: bytes, options: Mapping[str, Any]) -> str | npt.NDArray[Any]:
        """Have one file decoded; a process that fails is ended.

        Raises
        ------
        ContentError
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(SECONDS, stop)
        timer.start()
        request = {"kind": kind, "options": options, "size": len(data)}
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.write(data)
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            body = self._process.stdout.read(answer["size"])
            if len(body) < answer["size"]:
                raise EOFError
        except (OSError, ValueError, EOFError) as error:
            self.end()
            reason = (
                f"took longer than {SECONDS:g} s to decode"
                if late.is_set()
                else "made its decoder crash"
            )
            raise ContentError(f"the {NAMES[kind]} {reason}; shorten or convert it") from error
        finally:
            timer.cancel()
        if "error" in answer:
            raise ContentError(f"the {NAMES[kind]} cannot be decoded: {answer['error']}")
        if "text" in answer:
            return str(answer["text"])
        return np.frombuffer(body, answer["dtype"]).reshape(answer["shape"])

    def end(self) -> None:
        """End the process, and wait for that."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what was still to be written
                    continue
        self._process.wait()


_slots = threading.BoundedSemaphore(AT_ONCE)
_idle: list[Child] = []


def _take() -> Child:
    """Return a child that waits, or a new one."""
    while _idle:
        try:
            child = _idle.pop()
        except IndexError:  # another thread was faster
            break
        if child.runs:
            return child
        child.end()
    return Child()


def _forget() -> None:
    """Leave the children of the process that we were forked from to it."""
    global _slots
    _slots = threading.BoundedSemaphore(AT_ONCE)
    _idle.clear()


os.register_at_fork(after_in_child=_forget)
