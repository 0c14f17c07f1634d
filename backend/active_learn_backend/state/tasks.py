"""Rows of the tasks table: read them, and write what differs in Label Studio."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from .schema import TaskRow
from .schema import queue as _queue
from .schema import tasks as _tasks

__all__ = ["Difference", "note_decisions", "read_contents", "read_tasks", "write_changes"]

Difference = tuple[int, int]  # labels, and tasks, that are not as they were known


def read_tasks(
    connection: sa.Connection, project_id: int, *, contents: bool = True
) -> list[TaskRow]:
    """List the tasks of a project by id; without contents, these are empty."""
    columns = [column for column in _tasks.c if contents or column is not _tasks.c.content]
    rows = connection.execute(
        sa.select(*columns).where(_tasks.c.project_id == project_id).order_by(_tasks.c.task_id)
    )
    return [
        TaskRow(
            row.task_id,
            json.loads(row.content) if contents else {},
            row.content_key,
            None if row.label is None else json.loads(row.label),
            row.skipped,
            row.decision,
            row.labeled_at,
            row.proposal,
        )
        for row in rows
    ]


def read_contents(
    connection: sa.Connection, project_id: int, task_ids: Iterable[int]
) -> dict[int, Mapping[str, Any]]:
    """Give what the encoder reads of some tasks, by id; of those that are gone, nothing."""
    found: dict[int, Mapping[str, Any]] = {}
    for ids in _chunks(sorted(task_ids)):
        rows = connection.execute(
            sa.select(_tasks.c.task_id, _tasks.c.content).where(
                _tasks.c.project_id == project_id, _tasks.c.task_id.in_(ids)
            )
        )
        found |= {row.task_id: json.loads(row.content) for row in rows}
    return found


def write_changes(
    connection: sa.Connection,
    project_id: int,
    changed: Sequence[TaskRow],
    *,
    deleted: Iterable[int],
    replace: bool,
) -> Difference:
    """Write tasks as Label Studio holds them; what only we know of them stays.

    Parameters
    ----------
    changed : sequence of TaskRow
        As read from Label Studio.
    deleted : iterable of int
        Ids of tasks that are gone.
    replace : bool
        `changed` are all tasks: others are gone too.
    """
    wanted = None if replace else [row.task_id for row in changed]
    known = _known_rows(connection, project_id, wanted)
    gone = set(deleted) | (set(known) - {row.task_id for row in changed} if replace else set())
    served = _served(connection, project_id)
    n_labels = n_tasks = 0
    fresh: list[dict[str, Any]] = []
    for row in changed:
        before = known.get(row.task_id)
        now = _as_columns(project_id, row, before, served)
        if before is not None and all(before[name] == now[name] for name in _FROM_LABEL_STUDIO):
            continue
        n_labels += (before["label"] if before else None) != now["label"]
        n_tasks += before is None or any(before[name] != now[name] for name in _OF_THE_TASK)
        fresh.append(now)
    _delete_rows(connection, project_id, [*gone, *(row["task_id"] for row in fresh)])
    n_tasks += len(gone)
    if fresh:
        connection.execute(_tasks.insert(), fresh)
    for ids in _chunks(sorted(gone)):
        connection.execute(
            _queue.delete().where(_queue.c.project_id == project_id, _queue.c.task_id.in_(ids))
        )
    return n_labels, n_tasks


def note_decisions(
    connection: sa.Connection, project_id: int, decisions: Mapping[int, str | None]
) -> None:
    """Write what a stream decided, by task id."""
    for value in set(decisions.values()):
        ids = sorted(task_id for task_id, decided in decisions.items() if decided == value)
        for some in _chunks(ids):
            connection.execute(
                _tasks.update()
                .where(_tasks.c.project_id == project_id, _tasks.c.task_id.in_(some))
                .values(decision=value)
            )


_FROM_LABEL_STUDIO = ("content_key", "label", "skipped")
_OF_THE_TASK = ("content_key", "skipped")


def _as_columns(
    project_id: int,
    row: TaskRow,
    before: Mapping[str, Any] | None,
    served: Mapping[int, float | None],
) -> dict[str, Any]:
    """Give a row as it is stored: Label Studio's part anew, ours as it was."""
    same_content = before is not None and before["content_key"] == row.content_key
    was_labeled = before is not None and before["label"] is not None
    labeled = row.label is not None
    first_seen = labeled and not was_labeled
    return {
        "project_id": project_id,
        "task_id": row.task_id,
        "content": json.dumps(row.content, sort_keys=True),
        "content_key": row.content_key,
        "label": json.dumps(row.label, sort_keys=True) if labeled else None,
        "skipped": row.skipped,
        "decision": before["decision"] if before and same_content else None,
        "labeled_at": row.labeled_at if labeled else None,
        "proposal": served.get(row.task_id)
        if first_seen
        else (before["proposal"] if before and labeled else None),
    }


def _served(connection: sa.Connection, project_id: int) -> dict[int, float | None]:
    rows = connection.execute(
        sa.select(_queue.c.task_id, _queue.c.proposal).where(_queue.c.project_id == project_id)
    )
    return {row.task_id: row.proposal for row in rows}


def _known_rows(
    connection: sa.Connection, project_id: int, task_ids: Sequence[int] | None
) -> dict[int, Mapping[str, Any]]:
    query = sa.select(
        *(column for column in _tasks.columns if column.name not in ("project_id", "content"))
    ).where(_tasks.c.project_id == project_id)
    queries = (
        [query]
        if task_ids is None
        else [query.where(_tasks.c.task_id.in_(ids)) for ids in _chunks(task_ids)]
    )
    rows = (row for one in queries for row in connection.execute(one).mappings())
    return {row["task_id"]: dict(row) for row in rows}


def _delete_rows(connection: sa.Connection, project_id: int, task_ids: Sequence[int]) -> None:
    for ids in _chunks(task_ids):
        connection.execute(
            _tasks.delete().where(_tasks.c.project_id == project_id, _tasks.c.task_id.in_(ids))
        )


def _chunks(values: Sequence[int], size: int = 500) -> Iterator[Sequence[int]]:
    """Split ids so that a statement stays below the databases' limit of parameters."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
