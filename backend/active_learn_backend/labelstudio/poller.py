"""Reads what changed in Label Studio into the store, whatever webhooks were lost."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..store import Project, Store, TaskRow
from .annotations import is_skipped, resolve_label
from .client import LabelStudioClient
from .config import LabelingTask, parse_label_config

__all__ = ["Changes", "poll"]

log = logging.getLogger(__name__)

# Label Studio stamps a change before it commits it, so one that was under way during the last
# poll can carry an older stamp than that poll saw. Reading again costs nothing: nothing differs.
OVERLAP = timedelta(seconds=5)


@dataclass(frozen=True)
class Changes:
    """What one poll found: the project as Label Studio holds it, and how much is new."""

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
    label_config = remote["label_config"] or ""
    task = parse_label_config(label_config)
    if label_config != project.label_config:
        if project.cursor:
            log.info("project %s: the labeling config changed; reading all again", project.id)
        # The answers in the published queue may not fit the new config: a round is due at once.
        store.update(project.id, label_config=label_config, cursor="", stale=True)
        project = store.register(project.id)
    if not project.cursor:
        labels, tasks = _read_all(client, store, project.id, task)
    else:
        labels, tasks = _read_changed(client, store, project, task)
        labels_gone, tasks_gone = _drop_deleted(client, store, project.id, remote["task_number"])
        labels, tasks = labels + labels_gone, tasks + tasks_gone
    return Changes(remote, labels, tasks)


def _read_all(
    client: LabelStudioClient, store: Store, project_id: int, task: LabelingTask
) -> tuple[int, int]:
    """Read every task: slim, then the annotated ones in full."""
    slim = {
        item["id"]: item
        for page in client.task_pages(project_id, include="id,data,updated_at")
        for item in page
    }
    annotated: dict[int, dict[str, Any]] = {}
    for column in ("total_annotations", "cancelled_annotations"):
        some = {
            "filter": f"filter:tasks:{column}",
            "operator": "greater",
            "type": "Number",
            "value": 0,
        }
        for page in client.task_pages(project_id, filters=[some]):
            annotated |= {item["id"]: item for item in page}
    merged = {**slim, **annotated}
    return store.apply_changes(
        project_id,
        [_row(task, item) for item in merged.values()],
        cursor=_cursor(merged.values(), ""),
        replace=True,
    )


def _read_changed(
    client: LabelStudioClient, store: Store, project: Project, task: LabelingTask
) -> tuple[int, int]:
    since = _shift(project.cursor, -OVERLAP)
    labels = tasks = 0
    for page in client.changed_since(project.id, since):
        found = store.apply_changes(
            project.id,
            [_row(task, item) for item in page],
            cursor=_cursor(page, project.cursor),
        )
        labels, tasks = labels + found[0], tasks + found[1]
    return labels, tasks


def _drop_deleted(
    client: LabelStudioClient, store: Store, project_id: int, task_number: int
) -> tuple[int, int]:
    """Find deleted tasks: Label Studio lists none, so compare ids where the count differs."""
    known = store.task_ids(project_id)
    if len(known) == task_number:
        return 0, 0
    present = {item["id"] for page in client.task_pages(project_id, include="id") for item in page}
    gone = known - present
    if not gone:
        return 0, 0
    log.info("project %s: %d tasks were deleted", project_id, len(gone))
    return store.apply_changes(project_id, [], deleted=gone)


def _row(task: LabelingTask, item: Mapping[str, Any]) -> TaskRow:
    content = task.content(item["data"])
    annotations = item.get("annotations") or []
    return TaskRow(
        task_id=item["id"],
        content=content,
        content_key=task.content_key(content),
        label=resolve_label(annotations, task.control.read),
        skipped=is_skipped(annotations),
    )


def _cursor(items: Iterable[Mapping[str, Any]], least: str) -> str:
    """Give the latest time stamp seen, written as the filter needs it: with fraction and Z."""
    stamps = [_shift(item["updated_at"], timedelta()) for item in items]
    return max([*stamps, least or "1970-01-01T00:00:00.000000Z"])


def _shift(stamp: str, by: timedelta) -> str:
    moved = datetime.fromisoformat(stamp) + by
    return moved.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
