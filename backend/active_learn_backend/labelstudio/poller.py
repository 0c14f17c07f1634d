"""Reads what changed in Label Studio into the store, also after webhooks were lost."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ..labeling.annotations import is_skipped, resolve_label
from ..labeling.config import LabelingTask, parse_label_config
from ..state.store import Project, Store, TaskRow
from ..state.tasks import apply_changes, task_ids
from .client import LabelStudioClient
from .task_filters import Filter, stamp

__all__ = ["Changes", "poll", "task_row"]

log = logging.getLogger(__name__)

# Label Studio stamps a change before it commits it. So a poll reads again from this long before
# the last one, but not from before the last change that was seen by then.
SETTLE = timedelta(seconds=5)
FEW = 100  # changed tasks that are read in full in one call
SLIM = "id,data,updated_at"
BEGINNING = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Changes:
    """Result of one poll: the project as Label Studio holds it, and how much is new."""

    project: Mapping[str, Any]
    labels: int
    tasks: int


def poll(client: LabelStudioClient, store: Store, project: Project) -> Changes:
    """Bring the store up to date with Label Studio.

    Raises
    ------
    LabelConfigError
        When the project's labeling config cannot be learned.
    """
    remote = client.project(project.id)
    settled = client.clock - SETTLE
    label_config = remote["label_config"] or ""
    task = parse_label_config(label_config)
    if (title := str(remote.get("title") or "")) != project.title:
        store.update(project.id, title=title)
    if label_config != project.label_config:
        if project.cursor:
            log.info("the labeling config changed; reading all again")
        # The answers in the published queue may not fit the new config: a round is due at once.
        store.update(project.id, label_config=label_config, cursor="", round_requested=True)
        project = store.known_project(project.id)
    if not project.cursor:
        labels, tasks = _read_all(client, store, project, task, settled)
        return Changes(remote, labels, tasks)
    labels, tasks = _read_changed(client, store, project, task, settled)
    known = task_ids(store, project.id)
    if len(known) == remote["task_number"]:
        return Changes(remote, labels, tasks)
    # Label Studio lists no deleted tasks, and a poll can miss new ones: compare the ids.
    present = {item["id"] for page in client.task_pages(project.id, include="id") for item in page}
    if present - known:
        log.info("%d tasks were missed", len(present - known))
        more = _read_all(client, store, project, task, settled)
    else:
        log.info("%d tasks were deleted", len(known - present))
        more = apply_changes(store, project.id, [], deleted=known - present)
    return Changes(remote, labels + more[0], tasks + more[1])


def _read_all(
    client: LabelStudioClient,
    store: Store,
    project: Project,
    task: LabelingTask,
    settled: datetime,
) -> tuple[int, int]:
    items = _read_many(client, project.id, None)
    found = apply_changes(store, project.id, [task_row(task, item) for item in items], replace=True)
    _advance(store, project, items, settled)
    return found


def _read_changed(
    client: LabelStudioClient,
    store: Store,
    project: Project,
    task: LabelingTask,
    settled: datetime,
) -> tuple[int, int]:
    since = [Filter("updated_at", "greater", "Datetime", project.cursor)]
    items = client.few_tasks(project.id, since, FEW)
    if items is None:
        items = _read_many(client, project.id, datetime.fromisoformat(project.cursor))
    found = apply_changes(store, project.id, [task_row(task, item) for item in items])
    _advance(store, project, items, settled)
    return found


def _read_many(
    client: LabelStudioClient, project_id: int, since: datetime | None
) -> list[dict[str, Any]]:
    """Read tasks slim, and only the annotated ones in full, which costs ten times as much."""
    slim = (
        client.task_pages(project_id, include=SLIM)  # of all tasks none enters or leaves unseen
        if since is None
        else client.changed_tasks(project_id, since, include=SLIM)
    )
    tasks = {item["id"]: item for page in slim for item in page}
    for column in ("total_annotations", "cancelled_annotations"):
        some = [Filter(column, "greater", "Number", 0)]
        for page in client.changed_tasks(project_id, since or BEGINNING, filters=some):
            tasks |= {item["id"]: item for item in page}
    return list(tasks.values())


def task_row(task: LabelingTask, item: Mapping[str, Any]) -> TaskRow:
    """Return the row of a task as Label Studio sends it, with its annotations."""
    content = task.content(item["data"])
    annotations = item.get("annotations") or []
    stamps = [
        one["created_at"]
        for one in annotations
        if one.get("created_at") and not one.get("was_cancelled")
    ]
    label = resolve_label(annotations, task.control.read)
    return TaskRow(
        task_id=item["id"],
        content=content,
        content_key=task.content_key(content),
        label=label,
        # Label Studio serves the task no more, also after an annotation without our control.
        skipped=is_skipped(annotations) or (label is None and bool(annotations)),
        labeled_at=min(map(_seconds, stamps), default=None),
    )


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _advance(
    store: Store, project: Project, items: Sequence[Mapping[str, Any]], settled: datetime
) -> None:
    """Move the cursor to the last change seen, but not past what had settled when we read."""
    if items:
        latest = max(datetime.fromisoformat(item["updated_at"]) for item in items)
    elif project.cursor:
        return
    else:
        latest = BEGINNING
    store.update(project.id, cursor=stamp(min(latest, settled)))
