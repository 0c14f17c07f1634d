"""What the status page reads of a project: counts by SQL, and only the next few tasks in full."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from .labeling_runs import count_automatic
from .schema import QueueRow
from .schema import queue as _queue
from .schema import tasks as _tasks
from .store import Store
from .task_groups import TaskGroup

__all__ = [
    "NextTask",
    "TaskCounts",
    "count_labels",
    "count_tasks",
    "next_tasks",
    "queued_content",
    "unmatched_tasks",
]


@dataclass(frozen=True)
class TaskCounts:
    """How many tasks a project has.

    Attributes
    ----------
    total, labeled, skipped : int
    unmatched : int
        Annotated tasks that nobody skipped, whose annotations give no label.
    last_hour, last_day : int
        Tasks first labeled within that time.
    automatic : dict of int to int
        Tasks that a labeling run labeled, and no person, by the run's number; not among `labeled`.
    """

    total: int
    labeled: int
    skipped: int
    last_hour: int
    last_day: int
    unmatched: int = 0
    automatic: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NextTask:
    """A task of the published queue that is still open, with what the encoder reads of it."""

    row: QueueRow
    content: Mapping[str, Any]
    content_key: str


def count_tasks(store: Store, project_id: int) -> TaskCounts:
    """Count the tasks of a project, and how many were labeled lately."""
    now = time.time()
    mine = _tasks.c.project_id == project_id
    labeled = mine & _tasks.c.labels.is_not(None)
    automatic = count_automatic(store, project_id)

    with store.read() as connection:

        def number(*where: sa.ColumnElement[bool]) -> int:
            query = sa.select(sa.func.count()).select_from(_tasks).where(*where)
            return connection.scalar(query) or 0

        return TaskCounts(
            total=number(mine),
            labeled=number(labeled),
            skipped=number(mine, _tasks.c.skipped.is_(True), _tasks.c.unmatched == ""),
            unmatched=number(mine, _tasks.c.skipped.is_(True), _tasks.c.unmatched != ""),
            last_hour=number(labeled, _tasks.c.labeled_at > now - 3600),
            last_day=number(labeled, _tasks.c.labeled_at > now - 86400),
            automatic=automatic,
        )


def unmatched_tasks(store: Store, project_id: int) -> list[TaskGroup]:
    """Count the annotated tasks without a label by cause, the most frequent first."""
    cause, first = _tasks.c.unmatched, sa.func.min(_tasks.c.task_id)
    query = (
        sa.select(cause, sa.func.count(), first, cause)
        .where(_tasks.c.project_id == project_id, _tasks.c.skipped.is_(True), cause != "")
        .group_by(cause)
        .order_by(sa.func.count().desc(), first)
    )
    with store.read() as connection:
        return [TaskGroup(*row) for row in connection.execute(query)]


def count_labels(store: Store, project_id: int) -> dict[str, list[tuple[Any, int]]]:
    """Count each label that was given, by the name of its control.

    A label is as it is stored: a name, a list of names, or a number.
    """
    query = (
        sa.select(_tasks.c.labels, sa.func.count())
        .where(_tasks.c.project_id == project_id, _tasks.c.labels.is_not(None))
        .group_by(_tasks.c.labels)
    )
    counts: dict[str, Counter[str]] = {}
    with store.read() as connection:
        for labels, count in connection.execute(query):
            for name, label in labels.items():
                counts.setdefault(name, Counter())[json.dumps(label)] += count
    return {
        name: [(json.loads(label), count) for label, count in given.items()]
        for name, given in counts.items()
    }


def next_tasks(store: Store, project_id: int, most: int) -> list[NextTask]:
    """List the next open tasks of the published queue, in the order in which they are served."""
    query = (
        _queued()
        .where(
            _queue.c.project_id == project_id,
            _tasks.c.content.is_not(None),
            _tasks.c.labels.is_(None),
            # What was skipped before is queued without a reason; a fresh skip is done with.
            sa.or_(~_tasks.c.skipped, (_queue.c.uncertainty == 0) & (_queue.c.novelty == 0)),
        )
        .order_by(_queue.c.rank)
        .limit(most)
    )
    with store.read() as connection:
        return [_next_task(dict(row)) for row in connection.execute(query).mappings()]


def queued_content(store: Store, project_id: int, task_id: int) -> Mapping[str, Any] | None:
    """Return what the encoder reads of a queued task; None when the queue does not hold it."""
    query = _queued().where(_queue.c.project_id == project_id, _queue.c.task_id == task_id)
    with store.read() as connection:
        row = connection.execute(query).first()
        return None if row is None else row.content


def _queued() -> sa.Select[Any]:
    columns = [column for column in _queue.columns if column.name != "project_id"]
    # An outer join starts at the queue, which is short; SQLite would start at the tasks.
    return sa.select(*columns, _tasks.c.content, _tasks.c.content_key).select_from(
        _queue.outerjoin(
            _tasks,
            (_queue.c.project_id == _tasks.c.project_id) & (_queue.c.task_id == _tasks.c.task_id),
        )
    )


def _next_task(row: dict[str, Any]) -> NextTask:
    content, key = row.pop("content"), row.pop("content_key")
    return NextTask(QueueRow(**row), content, key)
