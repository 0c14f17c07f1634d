"""Runs a training command: in a process group of its own, for a limited time, its output kept."""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import AliasChoices

from ...errors import TrainingError, WorkerStoppingError
from ...settings import SECRETS, Settings

__all__ = ["Output", "run_command", "training_environment"]

log = logging.getLogger(__name__)

GUARD = Path(__file__).with_name("guard.py")
TICK = 0.2  # seconds between two looks at the time and at the worker
WRITE_EVERY = 1.0  # seconds between two copies of the output to disk
ENDING = 15.0  # seconds that the guard has to end the command
MOST_LINES, LONGEST_LINE = 400, 500  # of the output that is kept
PROGRESS = re.compile(r"progress:\s*(\d*\.?\d+)\s*")
NOT_FOUND, NOT_RUN = 127, 126  # exit status of a shell
#: What a command must not read: it trains, and asks neither Label Studio nor the project state.
SECRET_VARIABLES = {"DATABASE_URL", "SECRETS_DIR"}


def training_environment(folders: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a training: ours without the secrets, and the names of folders."""
    hidden = set(SECRET_VARIABLES)
    for name in SECRETS:
        aliases = Settings.model_fields[name].validation_alias
        names = [name.upper(), *(aliases.choices if isinstance(aliases, AliasChoices) else ())]
        hidden |= {f"{one}{suffix}" for one in map(str, names) for suffix in ("", "_FILE")}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in hidden}
    return {**kept, "PYTHONUNBUFFERED": "1", **folders}


@dataclass
class Output:
    """The output of a command as it comes: its last lines, and how far the command says it is.

    Attributes
    ----------
    path : Path
        Where the last lines are kept.
    on_progress : callable
        Is called with each share that a line ``progress: 0.42`` tells.
    """

    path: Path
    on_progress: Callable[[float], None] = lambda share: None
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    _rest: bytes = b""
    _is_new: bool = True

    def add(self, data: bytes) -> None:
        """Read what was written."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-4 * LONGEST_LINE :]
        for line in lines:
            self._add_line(line)

    def close(self) -> None:
        """Read a last line without an end."""
        if self._rest:
            self._add_line(self._rest)
            self._rest = b""

    def _add_line(self, line: bytes) -> None:
        # Of a progress bar, which begins its line anew, the last state counts.
        text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
        told = PROGRESS.fullmatch(text)
        if told and 0 <= float(told[1]) <= 1:
            self.on_progress(float(told[1]))
            return
        self._lines.append(text[:LONGEST_LINE])
        self._is_new = True

    def save(self) -> None:
        """Write the last lines to disk, if there are new ones; a full disk is no reason to end."""
        if self._is_new:
            self._is_new = False
            with suppress(OSError):
                self.path.write_text("\n".join(self._lines) + "\n", encoding="utf-8")


def run_command(
    command: str | Sequence[str],
    environment: Mapping[str, str],
    output: Output,
    seconds: float,
    stopping: threading.Event,
    *,
    folder: Path | None = None,
) -> None:
    """Run a command to its end, and return when it succeeds.

    Parameters
    ----------
    command : str or sequence of str
        A line of the shell, or a program with its arguments.
    seconds : float
        How long it may run.
    stopping : threading.Event
        Set when the worker has to stop.
    folder : Path, optional
        In which it runs.

    Raises
    ------
    TrainingError
        When it cannot be started, fails, or takes too long; says which.
    WorkerStoppingError
        When it was ended because the worker stops.
    """
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    deadline = time.monotonic() + seconds
    process = subprocess.Popen(
        [sys.executable, "-I", str(GUARD), *argv],
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    try:
        late = not _follow(process, output, deadline, stopping)
    finally:
        _end(process)
        output.close()
        output.save()
    if stopping.is_set() and process.returncode:
        raise WorkerStoppingError
    if late:
        raise TrainingError(
            f"it took longer than TRAIN_TIMEOUT ({seconds:g} s) and was ended; make it faster, or "
            "raise TRAIN_TIMEOUT"
        )
    if process.returncode:
        raise TrainingError(_failure(process.returncode))


def _follow(
    process: subprocess.Popen[bytes], output: Output, deadline: float, stopping: threading.Event
) -> bool:
    """Read the output until the process ends; return False when its time is over."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    is_open, saved_at = True, 0.0
    while True:
        readable = is_open and bool(select.select([pipe], [], [], TICK)[0])
        data = os.read(pipe, 1 << 16) if readable else b""
        is_open = is_open and (bool(data) or not readable)
        output.add(data)
        now = time.monotonic()
        if now >= saved_at + WRITE_EVERY:
            output.save()
            saved_at = now
        if not data and process.poll() is not None:
            return True  # what still holds the pipe has left the process group
        if stopping.wait(0 if is_open else TICK):
            return True
        if now >= deadline:
            return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the guard end what still runs, and wait for that."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        log.error("a training did not end within %g s; its guard is killed", ENDING)
        process.kill()
        process.wait()
    process.stdout.close()


def _failure(status: int) -> str:
    if status in (NOT_FOUND, NOT_RUN):
        return f"it cannot be started (exit status {status}); correct the command"
    if status > 128:
        number = status - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        perhaps = "; perhaps the memory did not suffice" if number == signal.SIGKILL else ""
        return f"it was killed by {name}{perhaps}"
    return f"it failed with exit status {status}; its last lines say why"
