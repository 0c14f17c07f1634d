"""The worker: takes the lease of a project that changed, reads it, and runs its round if due.

The loop is level-triggered: each round is computed from what Label Studio holds now, so a lost
event, a restart or a double delivery changes nothing but the time.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from typing import TypeVar

from active_learn.errors import ActiveLearnError

from ..errors import (
    LabelStudioError,
    LabelStudioUnreachableError,
    LeaseLostError,
    ProjectMissingError,
    StoreError,
    WorkerStoppingError,
)
from ..heartbeat import heartbeat
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.connection import PROJECT_DELETED, recover_projects
from ..labelstudio.content_loader import ContentLoader
from ..learning.engines.configured import configured_engine
from ..logs import context
from ..settings import Settings
from ..state.counters import record_error
from ..state.lease import LEASE_SECONDS, Lease, owner_name
from ..state.rounds import last_round
from ..state.schedule import read_schedule
from ..state.store import Store
from ..state.worker_heartbeats import record_heartbeat
from .background import Background
from .connection_requests import ConnectionRequests
from .lanes import Lanes
from .pace import Pace
from .turn import Turn
from .work import Work

__all__ = ["Worker"]

T = TypeVar("T")

log = logging.getLogger(__name__)

TICK = 0.2  # seconds between two looks at the project state
STOP_SECONDS = 4.0  # that running rounds have to break off
STORE_PAUSE = 2.0
HEARTBEAT_EVERY = 5.0


class Worker:
    """Runs the rounds of all projects: one at a time in each, a few projects side by side.

    Parameters
    ----------
    settings : Settings
    store : Store
    client : LabelStudioClient
    """

    def __init__(self, settings: Settings, store: Store, client: LabelStudioClient) -> None:
        self._settings, self._store, self._client = settings, store, client
        self._load = ContentLoader(settings, client).load
        self._engine = configured_engine(settings)
        self._owner = owner_name()
        self._paces: dict[int, Pace] = {}
        self._heartbeat_at = -math.inf
        self.stopping = threading.Event()
        work = Work(settings, store, self._load, self._engine, self.stopping)
        self._background = Background(work)

    def run(self) -> bool:
        """Work until `stopping` is set; rounds that are running break off where nothing is lost.

        Returns
        -------
        bool
            Whether all of them did; False when a thread still computes.
        """
        beat = heartbeat()
        beat()
        log.info("worker %s is ready; Label Studio is %s", self._owner, self._client.url)
        self._recover_projects()
        requests = ConnectionRequests(self._settings, self._store, self._client)
        threading.Thread(
            target=requests.run, args=(self.stopping,), name="connections", daemon=True
        ).start()
        lanes = Lanes(self._settings.worker_threads)
        while not self.stopping.wait(TICK):
            if self._store.damaged.is_set():
                log.error(
                    "the project state is damaged; this worker ends, and `active-learn serve` puts "
                    "the state aside once no process has it open"
                )
                self.stopping.set()
                break
            beat()
            self._record_heartbeat()
            for project in self._read(read_schedule):
                pace = self._pace(project.id)
                pace.look(project)
                if lanes.is_busy(project.id):
                    continue
                if pace.is_due(project, self._settings.poll_interval):
                    lanes.submit(project.id, self.turn, is_long=pace.is_long)
            self._background.look()
        self._background.close()
        return self._wait_for_turns(lanes.close(), beat)

    def _wait_for_turns(self, turns: Collection[Future[None]], beat: Callable[[], None]) -> bool:
        """Wait until the turns have broken off; return False when one computes for too long.

        A request that writes to Label Studio is waited for, and the heart beats meanwhile.
        """
        deadline = time.monotonic() + STOP_SECONDS
        while running := wait(turns, TICK).not_done:
            if self._client.writing:
                beat()
            elif time.monotonic() > deadline:
                log.warning(
                    "%d rounds are broken off; the next worker runs them again", len(running)
                )
                return False
        return True

    def _recover_projects(self) -> None:
        """Find our projects in Label Studio when the state holds none: it is new, or was lost."""
        if not self._client.has_token or self._read(Store.projects):
            return
        try:
            recover_projects(self._client, self._store, self._settings)
        except (LabelStudioError, LabelStudioUnreachableError) as error:
            log.warning("our projects cannot be searched for in Label Studio: %s", error)

    def _record_heartbeat(self) -> None:
        """Record now and then that this worker lives, for the web process."""
        now = time.monotonic()
        if now < self._heartbeat_at + HEARTBEAT_EVERY:
            return
        self._heartbeat_at = now
        try:
            record_heartbeat(self._store, self._owner)
        except StoreError as error:
            log.error("%s; trying again", error)

    def _pace(self, project_id: int) -> Pace:
        if project_id not in self._paces:
            reports = self._read(lambda store: [last_round(store, project_id)])
            last = reports[0] if reports else None
            self._paces[project_id] = Pace(
                round_seconds=sum(last.seconds.values()) if last else None
            )
        return self._paces[project_id]

    def _read(self, what: Callable[[Store], list[T]]) -> list[T]:
        """Read from the project state; nothing when it cannot be read."""
        try:
            return what(self._store)
        except StoreError as error:
            log.error("%s; trying again", error)
            self.stopping.wait(STORE_PAUSE)
            return []

    def turn(self, project_id: int) -> None:
        """Read one project and do what is due, under its lease; no error is fatal."""
        with context(project=project_id):
            self._turn(project_id)

    def _turn(self, project_id: int) -> None:
        pace = self._pace(project_id)
        lease = Lease(self._store, project_id, self._owner)
        try:
            if not lease.acquire():
                pace.not_before = time.monotonic() + LEASE_SECONDS / 4
                return
            if lease.taken_over:
                log.info("took the project over from a worker that died or hangs")
                pace.retirement.forget()  # the other's rows are not among those counted
                pace.active_at = time.monotonic()  # look often, in case it wakes up
            with lease.renewed():
                Turn(
                    project_id=project_id,
                    settings=self._settings,
                    client=self._client,
                    lease=lease,
                    pace=pace,
                    stopping=self.stopping,
                    load=self._load,
                    engine=self._engine,
                ).run()
            pace.failures = 0
        except WorkerStoppingError as stop:
            log.info("%s", stop)
        except ProjectMissingError as error:
            if error.status == 404 and self._forget(project_id):
                return
            self._record_failure(project_id, pace, error, str(error))
        except ActiveLearnError as error:
            log.warning("%s", error)
            if isinstance(error, LeaseLostError) or not lease.stands:
                # In other hands, and no error of the project.
                pace.retirement.forget()
                pace.not_before = time.monotonic() + LEASE_SECONDS / 4
            else:
                self._record_failure(project_id, pace, error, str(error))
        except Exception as error:  # a fault in one project must not stop the others
            log.exception("internal error")
            self._record_failure(project_id, pace, error, f"internal error: {type(error).__name__}")

    def _forget(self, project_id: int) -> bool:
        """Go on without a project that was deleted in Label Studio; `disconnect` removes it."""
        try:
            self._store.update(
                project_id, status="disconnected", reason=PROJECT_DELETED, last_error=""
            )
        except StoreError as failed:
            log.error("%s", failed)
            return False
        log.warning("disconnected: %s", PROJECT_DELETED)
        return True

    def _record_failure(self, project_id: int, pace: Pace, error: Exception, message: str) -> None:
        pace.record_failure()
        try:
            record_error(self._store, project_id, type(error).__name__, message)
        except StoreError as failed:
            log.error("%s", failed)
