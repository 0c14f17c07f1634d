"""Checks for tasks of the queue that Label Studio locks for users who opened them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..labelstudio.client import LabelStudioClient
from ..state.queue import read_queue
from ..state.store import Project, QueueRow, Store, TaskRow
from ..state.tasks import read_tasks
from .finding import Finding, ok, warning

__all__ = ["check_locks", "likely_locked"]

MANY = 0.5  # share of the batch; a few are at annotators just now
FEW = 3
LOOK_AT = 10  # tasks that are checked for drafts


def check_locks(client: LabelStudioClient, store: Store, project: Project) -> Iterator[Finding]:
    """Report how much of the batch is locked.

    Label Studio's API shows no locks, but their effect: the queue is served in its order, so a
    task that is open while a later one is labeled was served to somebody.
    """
    batch = [row for row in read_queue(store, project.id) if row.in_batch]
    locked = likely_locked(batch, read_tasks(store, project.id))
    if len(locked) < max(FEW, MANY * len(batch)):
        yield ok(
            f"{len(locked)} of {len(batch)} tasks of the batch are open at somebody"
            if locked
            else "no task of the batch is locked (as far as the labels show)"
        )
        return
    drafts = sum(
        bool(client.call("GET", f"/api/tasks/{task_id}/").get("draft_exists"))
        for task_id in locked[:LOOK_AT]
    )
    looked = f"; of {min(len(locked), LOOK_AT)} checked, {drafts} have a draft" if locked else ""
    yield warning(
        f"{len(locked)} of {len(batch)} tasks of the batch were opened and not submitted{looked}. "
        "Label Studio keeps an opened task for its user for 24 hours",
        "let them be submitted or skipped, or start Label Studio with a shorter lock, such as "
        "TASK_LOCK_TTL=3600 (seconds)",
    )


def likely_locked(batch: Sequence[QueueRow], tasks: Sequence[TaskRow]) -> list[int]:
    """Return the ids of tasks that are open while a later one of the batch is done."""
    done = {task.task_id: task.labels is not None or task.skipped for task in tasks}
    last = max((row.rank for row in batch if done.get(row.task_id)), default=-1)
    return [row.task_id for row in batch if row.rank < last and not done.get(row.task_id, True)]
