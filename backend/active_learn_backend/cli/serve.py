"""`active-learn serve`: web process and worker as two children, each restarted when it dies."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from ..errors import SettingsError
from ..security_checks import require_engine, require_training, unsafe_packages, unsafe_settings
from ..settings import Settings, removed_variables
from ..state.folders import make_model_dir
from ..state.recovery import DAMAGED_EXIT, put_aside_if_damaged
from ..web.prometheus import SHARED_FOLDER
from .options import GROUPS, read_settings, settings_options
from .supervision import STOP_SECONDS, Child, stop_all

__all__ = ["report_dangers", "serve_command", "supervise"]

log = logging.getLogger(__name__)

WATCH_EVERY = 0.2  # seconds


@click.command("serve")
@settings_options(*GROUPS)
def serve_command(**given: Any) -> None:
    """Run the backend: web process and worker."""
    settings = read_settings(given)
    require_engine(settings)
    require_training(settings)
    report_dangers(settings)
    make_model_dir(settings)
    log.info("state is kept in %s", settings.model_dir.resolve())
    names = {name for name, value in given.items() if value is not None}
    environment = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings.model_dump(include=names).items()
    }
    supervise(settings, environment)


def report_dangers(settings: Settings) -> None:
    """Log what is unsafe in this installation, and which variables have no effect any more."""
    for danger in [*unsafe_packages(), *unsafe_settings(settings)]:
        log.warning("%s; %s", danger.what, danger.remedy)
    if removed := removed_variables(os.environ):
        log.warning("%s: no such setting any more, without effect; unset it", ", ".join(removed))


def supervise(settings: Settings, environment: Mapping[str, str]) -> None:
    """Run both children until SIGTERM or SIGINT.

    Raises
    ------
    SettingsError
        When the address cannot be listened on.
    """
    _check_address(settings)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    put_aside_if_damaged(settings.store_url)
    with tempfile.TemporaryDirectory(prefix="active-learn-") as folder:
        web, worker = _children(settings, environment, Path(folder))
        try:
            while not stopping.wait(WATCH_EVERY):
                if worker.status == DAMAGED_EXIT:
                    stop_all([web])
                    put_aside_if_damaged(settings.store_url)
                for child in (web, worker):
                    child.keep_running()
        finally:
            stop_all([web, worker])


def _children(
    settings: Settings, environment: Mapping[str, str], folder: Path
) -> tuple[Child, Child]:
    """Return the web process and the worker."""
    metrics = folder / "metrics"
    metrics.mkdir()
    web = Child(
        "web process",
        _web_command(settings),
        {**environment, SHARED_FOLDER: str(metrics)},
        folder / "web",
    )
    worker = Child(
        "worker",
        [sys.executable, "-m", "active_learn_backend.cli", "worker"],
        environment,
        folder / "worker",
        finish_seconds=settings.request_timeout,
    )
    return web, worker


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
        f"--threads={settings.web_threads}",
        "--worker-class=active_learn_backend.web.server.BufferedWorker",
        "--timeout=120",  # holds from the start, and a busy machine takes long to import everything
        f"--graceful-timeout={STOP_SECONDS - 1:.0f}",
        f"--log-level={settings.log_level.lower()}",
        "--logger-class=active_learn_backend.logs.WebLogger",
        "--no-control-socket",
        "active_learn_backend.web.app:serving_app()",
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
