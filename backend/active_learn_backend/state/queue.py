"""The published queue of a project, as Label Studio serves it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from .schema import QueueRow
from .schema import queue as _queue
from .schema import tasks as _tasks
from .store import Store, update_project

__all__ = ["count_kept", "count_open", "read_queue", "set_queue"]


def read_queue(store: Store, project_id: int) -> list[QueueRow]:
    """List the published queue in the order in which it is served."""
    columns = [column for column in _queue.columns if column.name != "project_id"]
    query = sa.select(*columns).where(_queue.c.project_id == project_id).order_by(_queue.c.rank)
    with store.read() as connection:
        return [QueueRow(**row) for row in connection.execute(query).mappings()]


def count_open(store: Store, project_id: int) -> tuple[int, int]:
    """Count the batch's tasks that are still open, and all of the batch."""
    is_open = sa.case((_tasks.c.labels.is_(None) & ~_tasks.c.skipped, 1), else_=0)
    same_task = (_queue.c.project_id == _tasks.c.project_id) & (
        _queue.c.task_id == _tasks.c.task_id
    )
    query = (
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(is_open), 0))
        .select_from(_queue.join(_tasks, same_task))
        .where(_queue.c.project_id == project_id, _queue.c.in_batch)
    )
    with store.read() as connection:
        row = connection.execute(query).one()
        return int(row[1]), int(row[0])


def count_kept(store: Store, project_id: int) -> int:
    """Count the tasks of the queue that somebody seems to have opened and not submitted.

    Label Studio serves the queue in order. So when a task is labeled, those before it that are not
    were in other hands.
    """
    is_open = _tasks.c.labels.is_(None) & ~_tasks.c.skipped
    same_task = (_queue.c.project_id == _tasks.c.project_id) & (
        _queue.c.task_id == _tasks.c.task_id
    )
    joined = _queue.join(_tasks, same_task)
    mine = _queue.c.project_id == project_id
    last = (
        sa.select(sa.func.max(_queue.c.rank))
        .select_from(joined)
        .where(mine, _tasks.c.labels.is_not(None))
    )
    query = (
        sa.select(sa.func.count())
        .select_from(joined)
        .where(mine, is_open, _queue.c.rank < last.scalar_subquery())
    )
    with store.read() as connection:
        return int(connection.scalar(query) or 0)


def set_queue(store: Store, project_id: int, version: str, rows: Sequence[QueueRow]) -> None:
    """Record the queue that Label Studio serves from now on."""
    with store.write() as connection:
        connection.execute(_queue.delete().where(_queue.c.project_id == project_id))
        if rows:
            connection.execute(
                _queue.insert(), [{"project_id": project_id, **vars(row)} for row in rows]
            )
        update_project(connection, project_id, queue_version=version)
