"""`active-learn serve`: web process and worker as two children, each restarted when it dies."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import click
from pydantic import SecretStr

from ..errors import SettingsError
from ..security_checks import unsafe_packages, unsafe_settings
from ..settings import WEB_THREADS, Settings, removed_variables, require_engine
from ..state.folders import make_model_dir
from ..state.recovery import DAMAGED_EXIT, put_aside_if_damaged
from ..web.prometheus import SHARED_FOLDER
from .options import GROUPS, read_settings, settings_options

__all__ = ["report_dangers", "serve_command", "supervise"]

log = logging.getLogger(__name__)

GRACE = 10.0  # seconds that a child has to end by itself
PR_SET_PDEATHSIG = 1


@click.command("serve")
@settings_options(*GROUPS)
def serve_command(**given: Any) -> None:
    """Run the backend: web process and worker."""
    settings = read_settings(given)
    require_engine(settings)
    report_dangers(settings)
    make_model_dir(settings)
    log.info("state is kept in %s", settings.model_dir.resolve())
    names = {name for name, value in given.items() if value is not None}
    environment = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings.model_dump(include=names).items()
    }
    sys.exit(supervise(settings, environment))


def report_dangers(settings: Settings) -> None:
    """Log what is unsafe in this installation, and which variables have no effect any more."""
    for danger in [*unsafe_packages(), *unsafe_settings(settings)]:
        log.warning("%s; %s", danger.what, danger.remedy)
    if removed := removed_variables(os.environ):
        log.warning("%s: no such setting any more, without effect; unset it", ", ".join(removed))


def supervise(settings: Settings, environment: Mapping[str, str]) -> int:
    """Run both children until SIGTERM or SIGINT.

    Returns
    -------
    int
        Exit status: 0 after a signal, the web process's status when that could not start.

    Raises
    ------
    SettingsError
        When the address cannot be listened on.
    """
    _check_address(settings)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    shared = tempfile.TemporaryDirectory(prefix="active-learn-metrics-")
    web_environment = {**environment, SHARED_FOLDER: shared.name}
    web = _Child("web process", _web_command(settings), web_environment)
    worker = _Child(
        "worker", [sys.executable, "-m", "active_learn_backend.cli", "worker"], environment
    )
    children = [web, worker]
    put_aside_if_damaged(settings.store_url)
    try:
        for child in children:
            child.start()
        while not stopping.wait(0.2):
            if not worker.running() and worker.status() == DAMAGED_EXIT:
                web.stop()
                put_aside_if_damaged(settings.store_url)
                web.start()
            for child in children:
                if not child.running():
                    if child is web and child.died_at_once():
                        return child.status() or 1
                    child.restart_later(stopping)
        return 0
    finally:
        for child in children:
            child.stop()
        shared.cleanup()


def _check_address(settings: Settings) -> None:
    """Report at once what the web process would report after five tries."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error}); "
                "choose another address with --host and --port"
            ) from error


def _web_command(settings: Settings) -> list[str]:
    return [
        sys.executable,
        "-m",
        "gunicorn",
        f"--bind={_bracketed(settings.host)}:{settings.port}",
        f"--workers={settings.web_processes}",
        f"--threads={WEB_THREADS}",
        "--worker-class=gthread",
        "--timeout=120",
        f"--log-level={settings.log_level.lower()}",
        "--logger-class=active_learn_backend.logs.WebLogger",
        "--no-control-socket",
        "active_learn_backend.web.app:create_app()",
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _die_with_parent() -> Callable[[], None] | None:
    """Return a hook that has the kernel end a child whose parent was killed (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class _Child:
    """One child process."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        self._name, self._command = name, command
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._deaths = 0

    def start(self) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent(),
        )

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def status(self) -> int:
        return 0 if self._process is None else self._process.returncode or 0

    def died_at_once(self) -> bool:
        """Return whether it never came up: a port in use, a bad setting."""
        return self._deaths == 0 and time.monotonic() - self._started < 5.0

    def restart_later(self, stopping: threading.Event) -> None:
        """Start it again, later each time it dies young."""
        young = time.monotonic() - self._started < 30.0
        self._deaths = self._deaths + 1 if young else 1
        pause = min(0.2 * 2 ** (self._deaths - 1), 10.0)
        log.error(
            "the %s ended with status %s; starting it again in %.1f s",
            self._name,
            self.status(),
            pause,
        )
        if not stopping.wait(pause):
            self.start()

    def stop(self) -> None:
        if self._process is None:
            return
        if self.running():
            self._process.terminate()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            log.warning("the %s did not end in %g s; killing it", self._name, GRACE)
            self._process.kill()
            self._process.wait()
