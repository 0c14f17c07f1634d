"""Health problems outside the web process: checked in the background, so that nobody waits."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path

from ..errors import LabelStudioUnreachableError, StoreError
from ..state.counters import read_counters
from ..state.folders import DISK_LOW
from ..state.store import Store
from ..state.worker_heartbeats import WORKER_SILENT, worker_heartbeats

__all__ = ["Health"]

log = logging.getLogger(__name__)

CHECK_EVERY = 3.0  # seconds
PATIENCE = 0.02  # seconds that a caller waits for a check; a healthy store needs 2 ms
STORE_SLOW = 2.0  # seconds after which the store is reported as not answering
MOST_PROJECTS = 10  # that are named


class Health:
    """Checks worker, store, Label Studio and disk, as often as somebody asks.

    Parameters
    ----------
    store : Store
    folder : Path
        The state on disk.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._one_check = threading.Lock()
        self._started = -CHECK_EVERY
        self._done = threading.Event()
        self._done.set()
        self._problems = ["store: has not answered yet"]

    def problems(self) -> list[str]:
        """List the problems, one line each, in `PATIENCE` at most; empty when there are none."""
        with self._one_check:
            now = time.monotonic()
            if self._done.is_set() and now - self._started >= CHECK_EVERY:
                self._started = now
                self._done.clear()
                # A thread for each check: none has to survive the fork of a web process.
                threading.Thread(target=self._check, name="health", daemon=True).start()
        if self._done.wait(PATIENCE) or time.monotonic() - self._started < STORE_SLOW:
            return list(self._problems)
        return [f"store: has not answered for {time.monotonic() - self._started:.0f} s"]

    def _check(self) -> None:
        try:
            self._problems = [*self._worker(), *self._projects(), *self._disk()]
        except StoreError as error:
            log.warning("%s", error)
            self._problems = ["store: cannot be read; the backend's log says why"]
        except OSError as error:
            log.warning("MODEL_DIR cannot be read: %s", error)
            self._problems = ["disk: MODEL_DIR cannot be read; the backend's log says why"]
        finally:
            self._done.set()

    def _worker(self) -> list[str]:
        seen = worker_heartbeats(self._store).values()
        if not seen:
            return ["worker: none has been seen; start `active-learn worker`"]
        silent = time.time() - max(seen)
        return [f"worker: not seen for {silent:.0f} s"] if silent > WORKER_SILENT else []

    def _projects(self) -> list[str]:
        failing = {project.id for project in self._store.projects() if project.last_error}
        last: dict[int, tuple[float, str]] = {}
        for one in read_counters(self._store):
            if one.event == "error" and one.project_id in failing:
                latest = (one.last_at, one.name)
                last[one.project_id] = max(last.get(one.project_id, latest), latest)
        kinds = {kind for _, kind in last.values()}
        unreachable = LabelStudioUnreachableError.__name__ in kinds
        problems = ["label studio: does not answer the worker"] if unreachable else []
        if failing:
            some = ", ".join(map(str, sorted(failing)[:MOST_PROJECTS]))
            more = ", ..." if len(failing) > MOST_PROJECTS else ""
            problems.append(f"projects: the last turn of {some}{more} ended with an error")
        return problems

    def _disk(self) -> list[str]:
        free = shutil.disk_usage(self._folder).free
        return [f"disk: {free / 2**20:.0f} MiB are left"] if free < DISK_LOW else []
