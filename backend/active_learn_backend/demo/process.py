"""A server as a child process: in a group of its own, polled until ready, never left behind."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

__all__ = [
    "Process",
    "ServerError",
    "ServerProcess",
    "clean_environment",
    "free_port",
    "wait_until",
]

# Both servers read settings from bare names such as HOST, PORT, DEBUG and USERNAME. A child gets
# these variables of the caller's and nothing else, so that no shell can change what a run does.
_PASSED_ON = (
    "CUDA_VISIBLE_DEVICES",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "TMPDIR",
    "TZ",
)


class ServerError(RuntimeError):
    """A server did not start, died, or gave an unexpected answer."""


class Process(Protocol):
    """What is used of `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """Return the process id."""

    def poll(self) -> int | None:
        """Return the exit status; None while the process runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the process has ended, or raise `TimeoutExpired`."""

    def kill(self) -> None:
        """End the process with SIGKILL."""


def clean_environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment of a child process: a few variables of the caller's, then ``settings``."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed_on, "PYTHONUNBUFFERED": "1", **(settings or {})}


def free_port(preferred: int | None = None) -> int:
    """Return ``preferred`` if it is free on the loopback interface, else a port that is."""
    if preferred:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", preferred)) != 0:
                return preferred
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(
    condition: Callable[[], object], *, timeout: float, what: str, interval: float = 0.1
) -> object:
    """Poll ``condition`` until it is true and return its value.

    Parameters
    ----------
    condition : callable
        Called without arguments; anything true ends the wait.
    timeout : float
        Seconds after which the wait fails.
    what : str
        Named in the error: "waited 30 s for {what}".
    interval : float
        Seconds between two calls.

    Raises
    ------
    TimeoutError
        If the condition has not become true in time.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(interval)
    return value


class ServerProcess:
    """One server and all its children, as a process group that is stopped as a whole.

    Parameters
    ----------
    name : str
        Named in error messages.
    command : sequence of str
        Program and arguments.
    env : mapping of str to str
        Its whole environment.
    log : Path
        Takes the server's output, appended.
    cwd : Path
        Its working directory.
    popen : callable, optional
        Starts it, in place of `subprocess.Popen`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path,
        popen: Callable[..., Process] = subprocess.Popen,
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._env = dict(env)
        self._cwd = cwd
        self._popen = popen
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """Process id, which is also the id of the process group."""
        if self._process is None:
            raise ServerError(f"{self.name} is not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Check whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the process (once); its output goes to the log file."""
        if self.running:
            raise ServerError(f"{self.name} is already running (pid {self.pid})")
        # The last resort: a second Ctrl-C can end stop() half-way, this still runs at exit.
        atexit.register(self.kill)
        with self.log.open("ab") as log:
            self._process = self._popen(
                self._command,
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def wait_ready(self, probe: Callable[[], object], timeout: float) -> None:
        """Poll ``probe`` until it is true; raise with the end of its log if the server dies."""

        def ready() -> object:
            if not self.running:
                raise ServerError(
                    f"{self.name} ended before it was ready; the end of {self.log}:\n{self.tail()}"
                )
            return probe()

        try:
            wait_until(ready, timeout=timeout, what=self.name)
        except TimeoutError:
            raise ServerError(
                f"{self.name} was not ready in {timeout:g} s; the end of {self.log}:\n{self.tail()}"
            ) from None

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self, grace: float = 10.0) -> None:
        """End the whole group: SIGTERM, then SIGKILL to what is left after ``grace`` seconds."""
        if self._process is None:
            return
        self._signal_group(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):  # kill() follows
            self._process.wait(grace)
        self.kill()

    def kill(self) -> None:
        """End the whole group with SIGKILL, at once."""
        if self._process is None:
            return
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        self._process = None
        atexit.unregister(self.kill)

    def _signal_group(self, number: signal.Signals) -> None:
        # The group outlives its leader while a child of it runs: the leader's state says nothing.
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except (ProcessLookupError, PermissionError):
                return  # nobody is left (macOS says "not permitted" for a group of zombies)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
