"""Checks of this machine: packages, disk, project state."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from active_learn.errors import MissingOptionalDependencyError

from ..errors import EngineError
from ..learning.engines.ray.driver import check_reachable
from ..security_checks import require_engine, require_training, unsafe_packages, unsafe_settings
from ..settings import Settings
from ..state.folders import DISK_LOW
from ..state.store import Store
from ..state.worker_heartbeats import WORKER_SILENT, worker_heartbeats
from .finding import Finding, ok, warning, wrong

__all__ = [
    "check_disk",
    "check_engine",
    "check_safety",
    "check_training",
    "check_worker",
    "has_state",
]

GIB = 2**30


def check_safety(settings: Settings) -> Iterator[Finding]:
    """Report packages and settings that are unsafe."""
    dangers = unsafe_packages()
    yield from (wrong(danger.what, danger.remedy) for danger in dangers)
    if not dangers:
        yield ok("packages: Flask is current, and no foreign package bears our name")
    yield from (warning(danger.what, danger.remedy) for danger in unsafe_settings(settings))


def check_disk(folder: Path) -> Iterator[Finding]:
    """Check whether MODEL_DIR can be written, and has room."""
    there = folder.resolve()
    while not there.exists():  # it is made at the first start
        there = there.parent
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield wrong(
            f"MODEL_DIR {folder} cannot be written by this user",
            "give it to the user that runs the backend, or set another folder",
        )
        return
    free = shutil.disk_usage(there).free
    if free < DISK_LOW:
        yield wrong(
            f"the disk of MODEL_DIR has {free / 2**20:.0f} MiB left",
            "free some space, or move MODEL_DIR to another disk",
        )
        return
    yield ok(f"MODEL_DIR {folder} can be written; {free / GIB:.1f} GiB are free")


def check_engine(settings: Settings) -> Iterator[Finding]:
    """Check whether Ray is installed, and whether the head of the cluster takes connections."""
    if settings.engine == "local":
        return
    try:
        require_engine(settings)
        check_reachable(settings.ray_address)
    except (MissingOptionalDependencyError, EngineError) as error:
        yield wrong(str(error), "the queues stay as they are until then, or with ENGINE=local")
        return
    where = f"at {settings.ray_address}" if settings.ray_address else "on this machine"
    yield ok(f"tasks are embedded and ranked on Ray {where}")


def check_training(settings: Settings) -> Iterator[Finding]:
    """Check whether what fine-tunes models is installed."""
    if settings.train == "off":
        return
    try:
        require_training(settings)
    except MissingOptionalDependencyError as error:
        yield wrong(str(error), "no model is trained until then")
        return
    yield ok(f"models are fine-tuned (TRAIN={settings.train})")


def has_state(settings: Settings) -> bool:
    """Check whether there is a project state, without creating one."""
    url = sa.make_url(settings.store_url)
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


def check_worker(store: Store) -> Iterator[Finding]:
    """Check by the project state whether a worker is alive."""
    seen = worker_heartbeats(store).values()
    silent = time.time() - max(seen, default=0.0)
    if not seen or silent > WORKER_SILENT:
        since = f"has not been seen for {silent:.0f} s" if seen else "has never been seen"
        yield wrong(
            f"a worker {since}, so no queue is renewed",
            "start `active-learn serve` (or `active-learn worker`) with the same MODEL_DIR or "
            "DATABASE_URL",
        )
        return
    yield ok("a worker is running")
