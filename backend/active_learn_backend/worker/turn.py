"""One turn of a project: read what changed, repair what was reset, run the round that is due."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import LabelStudioError, WorkerStoppingError
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.connection import Connection
from ..labelstudio.poller import Changes, poll
from ..labelstudio.published_queue import UNCERTAINTY_SAMPLING, Queue, round_of
from ..learning.engines.base import Engine
from ..learning.engines.configured import engine_for
from ..learning.regions.embedder import open_embedder
from ..learning.selection.project_params import learned_task, settings_for
from ..learning.selection.queue_size import QueueSize, queue_size
from ..project_settings import project_settings
from ..settings import LOW_WATER, Settings
from ..state.lease import Lease
from ..state.model_versions import served_settings, with_version
from ..state.queue import count_kept, count_open
from ..state.schema import WATCHED
from ..state.store import Project, Store
from ..state.unreadable import keys_to_retry, make_due
from .model_update import record_served, with_usable_model
from .pace import Pace
from .round import Round
from .unreadable import Loads

__all__ = ["Turn", "round_is_due"]

log = logging.getLogger(__name__)

# Of a turn for what could not be read: labels wait meanwhile.
RETRY_SECONDS = 20.0
RETRIED_AT_ONCE = 500
WAIT_FOR_SUBMIT = 1.5  # seconds, at most
COUNT_MEMBERS_EVERY = 300.0  # seconds between two looks at the people of the organization
CHECK_MODEL_EVERY = 300.0  # seconds; Label Studio calls /health and /setup of the model then


def round_is_due(
    project: Project, open_tasks: int, batch: int, settings: Settings, *, retiring: bool
) -> str:
    """Return why a new round is due; empty when it is not.

    While rows have to be deleted because there are too many (`retiring`), only a batch that runs
    out is a reason, so that rounds never outrun Label Studio, however fast the labels come.
    """
    if project.next_model != project.served_model:
        return "another version of its model is ready"
    if project.round_requested:
        return "its queue is new or has to be renewed"
    changed = project.pending_labels or project.pending_tasks
    if changed and open_tasks <= LOW_WATER * batch:
        return f"{open_tasks} of {batch} tasks of the batch are left"
    if retiring:
        return ""
    if project.pending_tasks and isinstance(settings.budget, float):
        return f"there are {project.pending_tasks} tasks to decide on"
    if project.pending_labels >= settings.retrain_every:
        return f"there are {project.pending_labels} new labels"
    if project.pending_tasks >= settings.retrain_every:
        return f"{project.pending_tasks} tasks changed"
    return ""


def labels_until_round(project: Project, open_tasks: int, batch: int, settings: Settings) -> int:
    """Return how many more labels make a round due, at least 1."""
    until_low = open_tasks - int(LOW_WATER * batch)
    return max(1, min(settings.retrain_every - project.pending_labels, until_low))


@dataclass
class Turn:
    """What a worker does with one project while it has the lease.

    Attributes
    ----------
    stopping : threading.Event
        Set when the worker has to stop: the turn breaks off before its next write.
    load : callable
        Returns the bytes of an image, from its address in a task.
    """

    project_id: int
    settings: Settings
    client: LabelStudioClient
    lease: Lease
    pace: Pace
    stopping: threading.Event
    load: Callable[..., bytes]
    engine: Engine

    def __post_init__(self) -> None:
        self._store: Store = self.lease.store
        self._queue = Queue(self.client, self.project_id)

    def run(self) -> None:
        """Read the project, and do what is due."""
        project, pace = self._project(), self.pace
        if project.status not in WATCHED:
            return  # paused or disconnected meanwhile
        self.client.require_token()
        noted = project.change_seq > project.processed_seq
        if noted or pace.poll_is_due(project, self.settings.poll_interval):
            changes = poll(self.client, self._store, project, self._wait)
            pace.noticed_at = None
            if noted or changes.labels or changes.tasks:
                pace.active_at = time.monotonic()
            self._update(processed_seq=project.change_seq, polled_at=time.time())
            if not self._reconcile(project, changes):
                pace.retirement.rounds = {}
                return
            if not pace.has_retried:  # a new worker; the operator may have put things right
                make_due(self._store, self.project_id)
                pace.has_retried = True
            self._run_round(changes.project)
            self._retry()
        self._retire()
        if project.last_error:
            self._update(last_error="")

    def _project(self) -> Project:
        return self._store.known_project(self.project_id)

    def _update(self, **values: Any) -> None:
        self._store.update(self.project_id, **values)

    def _check(self) -> None:
        """Check that the worker may still write; called right before each write."""
        if self.stopping.is_set():
            raise WorkerStoppingError
        self.lease.check()

    def _wait(self, seconds: float) -> None:
        """Wait, unless the worker has to stop."""
        if self.stopping.wait(seconds):
            raise WorkerStoppingError

    # -- what a person changed in Label Studio ------------------------------------------------

    def _reconcile(self, project: Project, changes: Changes) -> bool:
        """Restore sampling and version where needed; return False when a person chose otherwise.

        `project` is as it stood before Label Studio was read: a sampling that was set by
        `active-learn connect` in between is not taken for a person's choice.
        """
        sampling = str(changes.project["sampling"])
        if sampling != UNCERTAINTY_SAMPLING and project.sampling_set:
            self._pause_for_user(sampling)
            return False
        project = self._project()
        if project.status == "paused_by_user":
            log.info("the sampling was set back; going on")
            self._update(status="active", reason="")
        connection = Connection(self.client, self._store, self.settings, project.id)
        self._check()
        if not project.sampling_set:
            connection.order_stream(changes.project)
        if project.mode == "push" and not self._check_model(connection, project):
            return False
        return self._repair(project, str(changes.project["model_version"] or ""))

    def _check_model(self, connection: Connection, project: Project) -> bool:
        """See now and then to our model and webhook; return False when the model was deleted."""
        if project.webhook_id is None:
            connection.secure_webhook(project.webhook_secret)
        # Until one of them is known, Label Studio is still making the model.
        made = project.backend_id is not None or project.webhook_id is not None
        if not made or time.monotonic() < self.pace.check_model_at:
            return True
        self.pace.check_model_at = time.monotonic() + CHECK_MODEL_EVERY
        return connection.check_model(project)

    def _pause_for_user(self, sampling: str) -> None:
        reason = f"the task sampling was changed to {sampling!r} in Label Studio"
        if self._store.change_status(self.project_id, "active", "paused_by_user", reason):
            log.warning("paused, because %s; set it back or run `active-learn resume`", reason)

    def _pause_for_other(self, served: str) -> None:
        """Leave the project to another backend, instead of taking turns with it for ever."""
        reason = (
            f"because another backend serves its queue {served} in this project; to order it by "
            "this one, disconnect it there and resume it here"
        )
        if self._store.change_status(self.project_id, "active", "paused", reason):
            log.warning("paused %s", reason)

    def _repair(self, project: Project, served: str) -> bool:
        """Serve our queue again after the version was reset; return False when another is served.

        A round stores its number before it publishes. So a later one is of another project state.
        """
        if served == project.queue_version or not project.queue_version:
            return True
        number = round_of(served)
        if number is not None and number > project.round and not project.round_requested:
            self._pause_for_other(served)
            return False
        if number is not None and number > (round_of(project.queue_version) or 0):
            log.info("a worker died after the flip to %s", served)
            self._update(queue_version=served, request_round=True)
            return True
        log.warning(
            "model_version was reset to %r in Label Studio; serving %s again",
            served,
            project.queue_version,
        )
        try:
            self._queue.flip(project.queue_version, self._check)
        except LabelStudioError as error:
            if error.status != 400:
                raise
            log.warning("the rows of %s are gone", project.queue_version)
            self._update(queue_version="", request_round=True)
        return True

    # -- rounds -------------------------------------------------------------------------------

    def _run_round(self, remote: Mapping[str, Any]) -> None:
        project = with_usable_model(self.settings, self._store, self._project(), self.load)
        open_tasks, batch = count_open(self._store, project.id)
        settings = project_settings(self.settings, project.params)
        task = learned_task(project.label_config, settings)
        settings = settings_for(task, with_version(settings, project.id, project.next_model))
        reason = round_is_due(
            project, open_tasks, batch, settings, retiring=self.pace.retirement.forced
        )
        if not reason:
            self.pace.labels_needed = labels_until_round(project, open_tasks, batch, settings)
            return
        current = Round(
            project=project,
            task=task,
            store=self._store,
            queue=self._queue,
            settings=settings,
            load=self.load,
            external_predictions=lambda version: {
                row["task"]: row["result"] for row in self.client.predictions(project.id, version)
            },
            check_lease=self._check,
            engine=engine_for(task, self.engine),
            size=self._queue_size(settings, remote),
            wait_for_submit=self._wait_for_submit,
        )
        report = current.run()
        record_served(self.settings, project)
        self.pace.retirement.begin(current.stored, round_of(self._project().queue_version))
        self.pace.round_seconds = sum(report.seconds.values())
        counts = count_open(self._store, project.id)
        self.pace.labels_needed = labels_until_round(self._project(), *counts, settings)
        log.info(
            "round done, as %s: %d labeled, %d unlabeled, serving %s (%s)",
            reason,
            report.labeled,
            report.unlabeled,
            report.queue_version or "nothing: no task that can be read is left to label",
            ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in report.seconds.items()),
        )

    def _wait_for_submit(self) -> None:
        """Wait a little until somebody submits, unless that was just now or nobody is at work."""
        deadline = time.monotonic() + WAIT_FOR_SUBMIT
        while self.pace.submit_is_near and time.monotonic() < deadline:
            if self.stopping.wait(0.05):
                return

    def _retry(self) -> None:
        """Try again, for a while, what could not be read; the next round queues what now can be."""
        keys = keys_to_retry(self._store, self.project_id, RETRIED_AT_ONCE)
        if not keys:
            return
        project = self._project()
        settings = served_settings(self.settings, project)
        task = learned_task(project.label_config, settings)
        settings = settings_for(task, settings)
        embedder = open_embedder(settings, project.id, task, self.load)
        engine = engine_for(task, self.engine)
        loads = Loads(project, self._store, engine, embedder, lambda *_: self._check())
        readable, deadline = 0, time.monotonic() + RETRY_SECONDS
        while keys and time.monotonic() < deadline:
            readable += loads.retry(keys)
            keys = keys_to_retry(self._store, self.project_id, RETRIED_AT_ONCE)
        if readable:
            log.info("%d contents that could not be read can be read now", readable)
            self._store.mark_changed(project.id, request_round=True)

    def _queue_size(self, settings: Settings, remote: Mapping[str, Any]) -> QueueSize:
        if settings.reserve is not None:
            return queue_size(settings)
        pace, organization = self.pace, remote.get("organization")
        if organization and time.monotonic() >= pace.count_members_at:
            pace.members = self.client.count_members(organization)
            pace.count_members_at = time.monotonic() + COUNT_MEMBERS_EVERY
        kept = count_kept(self._store, self.project_id)
        return queue_size(settings, members=pace.members, kept=kept)

    def _retire(self) -> None:
        """Delete a few rows of former queues, if nobody is at work or there are too many."""
        retirement = self.pace.retirement
        retirement.count(self._queue, round_of(self._project().queue_version))
        quiet = self.pace.is_quiet(self.settings.poll_interval)
        if not retirement.is_due(quiet=quiet) or not self._ours_is_served():
            return
        retirement.delete_some(self._queue, self._check, self.stopping.wait, quiet=quiet)

    def _ours_is_served(self) -> bool:
        """Return whether Label Studio serves our queue now; else put that right.

        A worker that was stopped and woken may have switched back to its own queue: its rows must
        not be deleted while they are served.
        """
        served = str(self.client.project(self.project_id)["model_version"] or "")
        project = self._project()
        if served == project.queue_version:
            return True
        self._repair(project, served)
        self.pace.retirement.forget()
        return False
