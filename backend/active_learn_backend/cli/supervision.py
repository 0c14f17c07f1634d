"""Keeps child processes running: restarts one that ends or hangs, and leaves none behind."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..heartbeat import HEARTBEAT_FILE

__all__ = ["Child", "stop_all"]

log = logging.getLogger(__name__)

START_SECONDS = 300.0  # until the first heartbeat: a busy machine takes long to import everything
HANG_SECONDS = 30.0  # without a heartbeat; as long as a lease, which another worker then takes
STOP_SECONDS = 5.0  # that a child has to end by itself
BEATS_EVERY = 3.0
YOUNG = 30.0  # seconds; a child that ends younger is started again later each time
LONGEST_PAUSE = 10.0
PR_SET_PDEATHSIG = 1


class Child:
    """A child process with a process group of its own, which is kept running.

    Parameters
    ----------
    name : str
        As the log calls it.
    command : sequence of str
    environment : mapping
        Added to our own environment.
    heartbeat : Path
        A file that the child touches while it works (`active_learn_backend.heartbeat`).
    hang_seconds : float
        How long the heartbeat may fail before the child is killed.
    finish_seconds : float
        How much longer than `STOP_SECONDS` a child may take to end while its heart beats: it then
        finishes what must not be broken off.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        heartbeat: Path,
        *,
        hang_seconds: float = HANG_SECONDS,
        finish_seconds: float = 0.0,
    ) -> None:
        self.name = name
        self._command, self._heartbeat = list(command), heartbeat
        self._hang_seconds, self._finish_seconds = hang_seconds, finish_seconds
        self._environment = {**os.environ, **environment, HEARTBEAT_FILE: str(heartbeat)}
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._start_at = 0.0
        self._deaths = 0
        self._last_beat: int | None = None
        self._beat_seen = 0.0

    def start(self) -> None:
        """Start the process."""
        self._heartbeat.unlink(missing_ok=True)
        self._started = time.monotonic()
        self._last_beat = None
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            process_group=0,  # so that its own children can be ended with it
            preexec_fn=_die_with_parent(),
        )

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status of the last process; None while it runs, or before the first."""
        return self._process.poll() if self._process is not None else None

    def keep_running(self) -> None:
        """Look after the process once: kill it if it hangs, start it again if that is due."""
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self.start()
        elif not self.running:
            self._schedule_restart(f"ended with status {self.status}")
        elif silent := self._silent_for():
            self._schedule_restart(f"has given no sign of life for {silent:.0f} s")

    def _silent_for(self) -> float:
        """Return for how many seconds the process has been silent; 0 while that is allowed."""
        silent = time.monotonic() - self._last_sign()
        allowed = START_SECONDS if self._last_beat is None else self._hang_seconds
        return silent if silent > allowed else 0.0

    def _last_sign(self) -> float:
        """Return when the process last touched its file, or was started, by our own clock.

        The time that the file bears jumps with the machine's clock.
        """
        try:
            beat = self._heartbeat.stat().st_mtime_ns
        except FileNotFoundError:
            return self._started
        if beat != self._last_beat:
            self._last_beat, self._beat_seen = beat, time.monotonic()
        return self._beat_seen

    def _schedule_restart(self, why: str) -> None:
        young = time.monotonic() - self._started < YOUNG
        self._deaths = self._deaths + 1 if young else 1
        pause = min(0.2 * 2 ** (self._deaths - 1), LONGEST_PAUSE)
        log.error("the %s %s; starting it again in %.1f s", self.name, why, pause)
        self.kill()
        self._start_at = time.monotonic() + pause

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process is not None and self.running:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        """Wait until the process has ended, then kill what is left of its group.

        Parameters
        ----------
        deadline : float
            Time of `time.monotonic` from which it may be killed.
        """
        while self.running:
            now = time.monotonic()
            finishes = now - self._last_sign() < BEATS_EVERY
            if now > deadline + (self._finish_seconds if finishes else 0.0):
                log.warning("the %s did not end by itself; killing it", self.name)
                break
            time.sleep(0.02)
        self.kill()

    def kill(self) -> None:
        """Kill the process and all that it started."""
        if self._process is None:
            return
        # Nobody is left (macOS says "not permitted" for a group of zombies).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


def stop_all(children: Sequence[Child]) -> None:
    """End all children side by side."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        child.wait(deadline)


def _die_with_parent() -> Callable[[], None] | None:
    """Return a hook that has the kernel end a child whose parent was killed (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
