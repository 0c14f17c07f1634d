"""What the worker does with a project now, in words, as recorded in the project state."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from ...errors import SettingsError
from ...project_settings import project_settings
from ...settings import LOW_WATER, Settings
from ...state.queue import count_open
from ...state.rounds import last_round
from ...state.status_queries import count_tasks
from ...state.store import Project, Store
from ...state.unreadable import unreadable_tasks
from ...state.worker_heartbeats import WORKER_SILENT, worker_heartbeats

__all__ = ["Activity", "activity_of"]

STAGES = {
    "embed": "Reading and embedding tasks",
    "fit": "Training on the labels",
    "decide": "Deciding on new tasks",
    "rank": "Ranking the unlabeled tasks",
    "publish": "Publishing the next queue",
    "flip": "Switching to the next queue",
    "evaluate": "Measuring how good it is",
    "compare": "Comparing strategies on the labels so far",
}


@dataclass(frozen=True)
class Activity:
    """The present activity of the worker, in words; `done` of `of` where that is known."""

    words: str
    done: int | None = None
    of: int | None = None


def activity_of(settings: Settings, store: Store, project: Project) -> Activity:
    """Return the present activity of a project."""
    now = time.time()
    if project.status in ("paused", "disconnected"):
        return Activity("Nothing: this project is not ordered now.")
    if not any(now - seen < WORKER_SILENT for seen in worker_heartbeats(store).values()):
        return Activity(
            "No worker is running: start `active-learn serve` or `active-learn worker`."
        )
    if project.lease_owner and project.lease_until > now and project.activity:
        return _stage(project.activity)
    if project.last_error:
        return Activity("Waiting a little, then trying again.")
    if project.status == "paused_by_user":
        return Activity(
            "Nothing: the tasks are served in the order that was chosen in Label Studio."
        )
    if not project.polled_at:
        return Activity("Reading the tasks from Label Studio for the first time.")
    if project.round_requested:
        return Activity("A new round starts in a moment.")
    return Activity(_wait(settings, store, project))


def _stage(activity: str) -> Activity:
    stage, _, progress = activity.partition(" ")
    words = STAGES.get(stage, stage.replace("_", " ").capitalize())
    done, _, of = progress.partition("/")
    if done.isdigit() and of.isdigit():
        return Activity(words, int(done), int(of))
    return Activity(words)


def _wait(settings: Settings, store: Store, project: Project) -> str:
    """Write how many more labels start a round, slightly less exact than the worker's own rule."""
    left, batch = count_open(store, project.id)
    last = last_round(store, project.id)
    if not batch or (last and not last.queue_version):
        return _nothing_queued(store, project)
    try:
        settings = project_settings(settings, project.params)
    except SettingsError as error:
        return f"The project's own settings cannot be used: {error}"
    by_count = settings.retrain_every - project.pending_labels
    by_batch = math.ceil(left - LOW_WATER * batch)
    more = max(min(by_count, by_batch), 1)
    return f"Waiting for labels: {more} more, and the next round starts."


def _nothing_queued(store: Store, project: Project) -> str:
    counts = count_tasks(store, project.id)
    unreadable = sum(one.n for one in unreadable_tasks(store, project.id))
    if not counts.total:
        return "Waiting for tasks: there are none yet."
    if not unreadable:
        return "Waiting for new tasks: all that could be queued is labeled."
    if unreadable == counts.total:
        return f"Nothing can be queued: none of the {counts.total} tasks can be read."
    return (
        f"Waiting for new tasks: {unreadable} of {counts.total} cannot be read, and all others are "
        "labeled."
    )
