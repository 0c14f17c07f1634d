"""Starts `active-learn` by a fork of a process that has imported everything.

To import what a command needs takes 4 s of CPU time, and what it does then a few tenths of one.
A forked one is a process of its own as any other, with its own environment, folder and output.
"""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self

__all__ = ["ForkedPrograms"]

MESSAGE = 2**17  # bytes, for a command with its environment
# Read by libraries when they are imported: where it differs, the program itself is started.
READ_AT_IMPORT = ("PYTHONPATH", "HF_", "OMP_", "MKL_", "CUDA_")


class _Forked:
    """A forked process, which is used as one of `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], pid: int, status: int) -> None:
        self.args, self.pid, self._status = list(command), pid, status
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return status

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(os.read(self._status, 16) or -signal.SIGKILL)
            os.close(self._status)
        return self.returncode


class ForkedPrograms:
    """The process that forks; `popen` stands in for `subprocess.Popen`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__)), str(theirs.fileno())],
                env=self._environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def popen(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdin: int,
        stdout: IO[Any],
        stderr: int,
        start_new_session: bool = False,
    ) -> Any:
        """Start a program of `active-learn`, as `subprocess.Popen` does."""
        assert (stdin, stderr) == (subprocess.DEVNULL, subprocess.STDOUT)
        if any(env.get(name) != self._environment.get(name) for name in env if _at_import(name)):
            return subprocess.Popen(
                command, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr,
                start_new_session=start_new_session,
            )  # fmt: skip
        request = [command, dict(env), str(cwd), start_new_session]
        ours, theirs = os.pipe()
        with self._lock:
            files = [stdout.fileno(), theirs]
            socket.send_fds(self._requests, [json.dumps(request).encode()], files)
            pid = int(self._requests.recv(16))
        os.close(theirs)
        return _Forked(command, pid, ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._requests.close()
        self._process.wait(30)


def _at_import(name: str) -> bool:
    return name.startswith(READ_AT_IMPORT)


# -- in the process that forks --------------------------------------------------------------------


def _serve(requests: socket.socket) -> None:
    """Fork for each request until the tests have ended; report the exit status of each child."""
    children: dict[int, int] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([requests, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _report_ended(children)
        if requests in ready:
            message, files, _, _ = socket.recv_fds(requests, MESSAGE, 2)
            if not message:
                return
            output, status = files
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                for file in (requests.detach(), woken, wake, status, *children.values()):
                    os.close(file)
                _run(output, *json.loads(message))
            os.close(output)
            children[child] = status
            requests.send(str(child).encode())


def _report_ended(children: dict[int, int]) -> None:
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        file = children.pop(child)
        os.write(file, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(file)


def _run(
    output: int, command: list[str], env: dict[str, str], cwd: str, start_new_session: bool
) -> NoReturn:
    """Be the program, to its end."""
    status = 1
    try:
        if start_new_session:
            os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for target in (1, 2):
            os.dup2(output, target)
        os.close(output)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        time.tzset()
        sys.argv = command
        from active_learn_backend.cli import main

        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # As at Python's end, but for the threads of libraries, which a fork leaves behind.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)


def _import_everything() -> None:
    from importlib import import_module

    from active_learn_backend.cli.main import COMMANDS

    modules = [f"cli.{module}" for module, _ in COMMANDS.values()]
    modules += ["doctor.models", "doctor.run", "labelstudio.connection", "worker.loop"]
    for module in modules:
        import_module(f"active_learn_backend.{module}")
    for library in ("active_learn.streams", "httpcore", "multiprocessing.synchronize"):
        import_module(library)


if __name__ == "__main__":
    channel = socket.socket(fileno=int(sys.argv[1]))
    _import_everything()
    gc.collect()
    gc.freeze()
    _serve(channel)
