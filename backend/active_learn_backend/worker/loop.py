"""The worker: takes the lease of a project that changed, reads it, and runs its round if due.

The loop is level-triggered: each round is computed from what Label Studio holds now, so a lost
event, a restart or a double delivery changes nothing but the time.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from active_learn.errors import ActiveLearnError

from ..errors import (
    LabelStudioError,
    LabelStudioUnreachableError,
    ProjectMissingError,
    StoreError,
)
from ..labeling.config import parse_label_config
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.connection import PROJECT_DELETED, Connection, recover_projects
from ..labelstudio.content_loader import ContentLoader
from ..labelstudio.poller import Changes, poll
from ..labelstudio.published_queue import UNCERTAINTY_SAMPLING, Queue, Retirement, round_of
from ..learning.engines.configured import configured_engine
from ..logs import context
from ..settings import LOW_WATER, Settings, project_settings
from ..state.counters import record_error, record_heartbeat
from ..state.lease import LEASE_SECONDS, Lease, owner_name
from ..state.queue import count_open
from ..state.schema import WATCHED
from ..state.store import Project, Store
from .round import Round

__all__ = ["Worker", "round_is_due"]

log = logging.getLogger(__name__)

TICK = 0.05
RETIRE_AT_ONCE = 6  # rows between two checks of what else is due
# Seconds between two rows. A submit that waits for SQLite tries again every 0.1 s at most, and
# would miss a shorter pause again and again.
RETIRE_PAUSE = 0.1
MOST_BACKOFF = 30.0
DEBOUNCE = 0.3  # seconds that a burst of webhooks is gathered for
STORE_PAUSE = 2.0
HEARTBEAT_EVERY = 5.0
CHECK_MODEL_EVERY = 300.0  # seconds; Label Studio calls /health and /setup of the model then


@dataclass
class _Pace:
    """What a worker remembers of a project between two turns; its loss costs only time."""

    changed_at: float = 0.0
    failures: int = 0
    not_before: float = 0.0
    check_model_at: float = 0.0
    to_retire: deque[Retirement] | None = None  # None: not read yet


def round_is_due(
    project: Project, open_tasks: int, batch: int, settings: Settings, *, retiring: bool
) -> str:
    """Return why a new round is due; empty when it is not.

    While old rows are still being deleted (`retiring`), only a batch that runs out is a reason, so
    that rounds never outrun Label Studio, however fast the labels come.
    """
    if project.round_requested:
        return "its queue is new or has to be renewed"
    changed = project.pending_labels or project.pending_tasks
    if changed and open_tasks <= LOW_WATER * batch:
        return f"{open_tasks} of {batch} tasks of the batch are left"
    if retiring:
        return ""
    if project.pending_tasks and isinstance(settings.budget, float):
        return f"{project.pending_tasks} tasks to decide on"
    if project.pending_labels >= settings.retrain_every:
        return f"{project.pending_labels} new labels"
    if project.pending_tasks >= settings.retrain_every:
        return f"{project.pending_tasks} changed tasks"
    return ""


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
        self._paces: dict[int, _Pace] = {}
        self._heartbeat_at = -math.inf
        self.stopping = threading.Event()
        self.damaged = False

    def run(self) -> None:
        """Work until `stopping` is set, then finish the rounds that are running."""
        log.info("worker %s is ready; Label Studio is %s", self._owner, self._client.url)
        self._recover_projects()
        under_way: dict[int, Future[None]] = {}
        with ThreadPoolExecutor(self._settings.worker_threads, "round") as pool:
            while not self.stopping.wait(TICK):
                self._record_heartbeat()
                for project in self._projects():
                    busy = project.id in under_way and not under_way[project.id].done()
                    if not busy and self._is_due(project):
                        under_way[project.id] = pool.submit(self.turn, project.id)

    def _recover_projects(self) -> None:
        """Find our projects in Label Studio when the state holds none: it is new, or was lost."""
        if not self._client.has_token or self._projects():
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

    def _projects(self) -> list[Project]:
        try:
            return self._store.projects()
        except StoreError as error:
            self.damaged = error.damaged
            if self.damaged:  # `serve` puts it aside, once nobody has it open
                log.error("%s", error)
                self.stopping.set()
                return []
            log.error("%s; trying again", error)
            self.stopping.wait(STORE_PAUSE)
            return []

    def _is_due(self, project: Project) -> bool:
        if project.status not in WATCHED:
            return False
        now = time.monotonic()
        pace = self._paces.setdefault(project.id, _Pace())
        if now < pace.not_before:
            return False
        if project.change_seq > project.processed_seq:
            pace.changed_at = pace.changed_at or now
            if now - pace.changed_at >= DEBOUNCE:
                return True
        if pace.to_retire is None or pace.to_retire:
            return True
        return abs(time.time() - project.polled_at) >= self._settings.poll_interval

    def turn(self, project_id: int) -> None:
        """Read one project and do what is due, under its lease; no error is fatal."""
        with context(project=project_id):
            self._turn(project_id)

    def _turn(self, project_id: int) -> None:
        pace = self._paces.setdefault(project_id, _Pace())
        lease = Lease(self._store, project_id, self._owner)
        try:
            if not lease.acquire():
                pace.not_before = time.monotonic() + LEASE_SECONDS / 4
                return
            with lease.renewed():
                self._work(project_id, lease, pace)
            pace.failures = 0
        except ProjectMissingError as error:
            if error.status == 404 and self._forget(project_id):
                return
            self._record_failure(project_id, pace, error, str(error))
        except ActiveLearnError as error:
            log.warning("%s", error)
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

    def _record_failure(self, project_id: int, pace: _Pace, error: Exception, message: str) -> None:
        pace.failures += 1
        pause = min(2.0 ** min(pace.failures, 10) / 2, MOST_BACKOFF)
        pace.not_before = time.monotonic() + pause
        try:
            record_error(self._store, project_id, type(error).__name__, message)
        except StoreError as failed:
            log.error("%s", failed)

    def _work(self, project_id: int, lease: Lease, pace: _Pace) -> None:
        project = self._store.known_project(project_id)
        if project.status not in WATCHED:
            return  # paused or disconnected meanwhile
        self._client.require_token()
        polls = project.change_seq > project.processed_seq or not pace.to_retire
        if polls:
            changes = poll(self._client, self._store, project)
            pace.changed_at = 0.0
            self._store.update(project_id, processed_seq=project.change_seq, polled_at=time.time())
            if not self._reconcile(project, changes, pace):
                pace.to_retire = deque()
                return
            self._run_round(project_id, lease, pace)
        self._retire_some(project_id, lease, pace)
        if not pace.to_retire:  # a round may have waited for this
            self._run_round(project_id, lease, pace)
        if project.last_error:
            self._store.update(project_id, last_error="")

    # -- what a person changed in Label Studio ------------------------------------------------

    def _reconcile(self, project: Project, changes: Changes, pace: _Pace) -> bool:
        """Restore sampling and version where needed; return False when a person chose otherwise.

        `project` is as it stood before Label Studio was read: a sampling that was set by
        `active-learn connect` in between is not taken for a person's choice.
        """
        sampling = str(changes.project["sampling"])
        if sampling != UNCERTAINTY_SAMPLING and project.sampling_set:
            self._pause_for_user(project.id, sampling)
            return False
        project = self._store.known_project(project.id)
        if project.status == "paused_by_user":
            log.info("the sampling was set back; going on")
            self._store.update(project.id, status="active", reason="")
        connection = Connection(self._client, self._store, self._settings, project.id)
        if not project.sampling_set:
            connection.order_stream(changes.project)
        if project.mode == "push" and not self._check_model(connection, project, pace):
            return False
        self._repair(project, str(changes.project["model_version"] or ""))
        return True

    def _check_model(self, connection: Connection, project: Project, pace: _Pace) -> bool:
        """See now and then to our model and webhook; return False when the model was deleted."""
        if project.webhook_id is None:
            connection.secure_webhook(project.webhook_secret)
        # Until one of them is known, Label Studio is still making the model.
        made = project.backend_id is not None or project.webhook_id is not None
        if not made or time.monotonic() < pace.check_model_at:
            return True
        pace.check_model_at = time.monotonic() + CHECK_MODEL_EVERY
        return connection.check_model(project)

    def _pause_for_user(self, project_id: int, sampling: str) -> None:
        reason = f"the task sampling was changed to {sampling!r} in Label Studio"
        if self._store.change_status(project_id, "active", "paused_by_user", reason):
            log.warning("paused, because %s; set it back or run `active-learn resume`", reason)

    def _repair(self, project: Project, served: str) -> None:
        """Serve our queue again after the version was reset in Label Studio."""
        if served == project.queue_version or not project.queue_version:
            return
        number = round_of(served)
        if number is not None and number > (round_of(project.queue_version) or 0):
            log.info("a worker died after the flip to %s", served)
            self._store.update(project.id, queue_version=served, round_requested=True)
            return
        log.warning(
            "model_version was reset to %r in Label Studio; serving %s again",
            served,
            project.queue_version,
        )
        try:
            Queue(self._client, project.id).flip(project.queue_version)
        except LabelStudioError as error:
            if error.status != 400:
                raise
            log.warning("the rows of %s are gone", project.queue_version)
            self._store.update(project.id, queue_version="", round_requested=True)

    # -- rounds -------------------------------------------------------------------------------

    def _run_round(self, project_id: int, lease: Lease, pace: _Pace) -> None:
        project = self._store.known_project(project_id)
        open_tasks, batch = count_open(self._store, project_id)
        settings = project_settings(self._settings, project.params)
        reason = round_is_due(project, open_tasks, batch, settings, retiring=bool(pace.to_retire))
        if not reason:
            return
        report = Round(
            project=project,
            task=parse_label_config(project.label_config),
            store=self._store,
            queue=Queue(self._client, project_id),
            settings=settings,
            load=self._load,
            external_predictions=lambda version: {
                row["task"]: row["result"] for row in self._client.predictions(project_id, version)
            },
            check_lease=lease.check,
            engine=self._engine,
        ).run()
        pace.to_retire = None
        log.info(
            "round done because of %s: %d labeled, %d unlabeled, serving %s (%s)",
            reason,
            report.labeled,
            report.unlabeled,
            report.queue_version or "nothing, all is labeled",
            ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in report.seconds.items()),
        )

    def _retire_some(self, project_id: int, lease: Lease, pace: _Pace) -> None:
        """Delete a few rows of old versions; the rest is left for the next turn."""
        queue = Queue(self._client, project_id)
        if pace.to_retire is None:
            served = round_of(self._store.known_project(project_id).queue_version)
            old = {number: n for number, n in queue.versions().items() if number != served}
            pace.to_retire = deque(queue.retirements(old))
        for _ in range(min(RETIRE_AT_ONCE, len(pace.to_retire))):
            lease.check()
            queue.retire(pace.to_retire[0])
            pace.to_retire.popleft()
            self.stopping.wait(RETIRE_PAUSE)
