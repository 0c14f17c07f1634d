"""The tasks of a project: reads them, and writes what differs in Label Studio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import sqlalchemy as sa

from .schema import ANNOTATED, TaskRow
from .schema import projects as _projects
from .schema import queue as _queue
from .schema import tasks as _tasks
from .store import Store, update_project

__all__ = [
    "annotated_ids",
    "apply_changes",
    "chunks",
    "count_annotations",
    "count_tasks",
    "read_contents",
    "read_tasks",
    "record_decisions",
    "task_ids",
]

Value = TypeVar("Value")


def read_tasks(store: Store, project_id: int, *, contents: bool = True) -> list[TaskRow]:
    """List the tasks of a project by id; without contents, these are empty."""
    columns = [_tasks.c[one.name] for one in fields(TaskRow) if contents or one.name != "content"]
    query = sa.select(*columns).where(_tasks.c.project_id == project_id).order_by(_tasks.c.task_id)
    with store.read() as connection:
        rows = connection.execute(query)
        if contents:
            return [TaskRow(*row) for row in rows]
        return [TaskRow(row[0], {}, *row[1:]) for row in rows]


def read_contents(
    store: Store, project_id: int, task_ids: Iterable[int]
) -> dict[int, Mapping[str, Any]]:
    """Return what the encoder reads of some tasks, by id; tasks that are gone are left out."""
    found: dict[int, Mapping[str, Any]] = {}
    with store.read() as connection:
        for ids in chunks(sorted(task_ids)):
            rows = connection.execute(
                sa.select(_tasks.c.task_id, _tasks.c.content).where(
                    _tasks.c.project_id == project_id, _tasks.c.task_id.in_(ids)
                )
            )
            found |= {row.task_id: row.content for row in rows}
    return found


def task_ids(store: Store, project_id: int) -> set[int]:
    """Return the ids of all known tasks of a project."""
    query = sa.select(_tasks.c.task_id).where(_tasks.c.project_id == project_id)
    with store.read() as connection:
        return set(connection.scalars(query))


def count_tasks(store: Store, project_id: int) -> int:
    """Return the number of known tasks of a project."""
    query = sa.select(sa.func.count()).where(_tasks.c.project_id == project_id)
    with store.read() as connection:
        return connection.scalar(query) or 0


def annotated_ids(store: Store, project_id: int) -> set[int]:
    """Return the ids of the tasks that bear an annotation, a skip among them."""
    query = sa.select(_tasks.c.task_id).where(_tasks.c.project_id == project_id, ANNOTATED)
    with store.read() as connection:
        return set(connection.scalars(query))


def count_annotations(store: Store, project_id: int) -> int:
    """Return the number of annotations of all tasks of a project, skips among them."""
    query = sa.select(sa.func.coalesce(sa.func.sum(_tasks.c.annotations), 0)).where(
        _tasks.c.project_id == project_id, ANNOTATED
    )
    with store.read() as connection:
        return int(connection.scalar(query) or 0)


def apply_changes(
    store: Store,
    project_id: int,
    changed: Sequence[TaskRow],
    *,
    deleted: Iterable[int] = (),
    replace: bool = False,
) -> tuple[int, int]:
    """Write tasks as Label Studio holds them, in one transaction; what only we know is kept.

    Parameters
    ----------
    changed : sequence of TaskRow
        As read from Label Studio.
    deleted : iterable of int
        Ids of tasks that are gone.
    replace : bool
        `changed` are all tasks: others are gone too.

    Returns
    -------
    (int, int)
        Of how many tasks the labels, and how many tasks, differ from what was known. Both are added
        to the project's pending counts.
    """
    with store.write() as connection:
        n_labels, n_tasks = _write_changes(connection, project_id, changed, set(deleted), replace)
        update_project(
            connection,
            project_id,
            pending_labels=_projects.c.pending_labels + n_labels,
            pending_tasks=_projects.c.pending_tasks + n_tasks,
        )
        return n_labels, n_tasks


def record_decisions(
    store: Store, project_id: int, decisions: Mapping[int, str | None], stream_state: str
) -> None:
    """Record what a stream decided, by task id, and the file that holds its state after that."""
    with store.write() as connection:
        for value in set(decisions.values()):
            ids = sorted(task_id for task_id, decided in decisions.items() if decided == value)
            for some in chunks(ids):
                connection.execute(
                    _tasks.update()
                    .where(_tasks.c.project_id == project_id, _tasks.c.task_id.in_(some))
                    .values(decision=value)
                )
        update_project(connection, project_id, stream_state=stream_state)


def _write_changes(
    connection: sa.Connection,
    project_id: int,
    changed: Sequence[TaskRow],
    deleted: set[int],
    replace: bool,
) -> tuple[int, int]:
    wanted = None if replace else [row.task_id for row in changed]
    known = _known_rows(connection, project_id, wanted)
    gone = deleted | (set(known) - {row.task_id for row in changed} if replace else set())
    queued = _queued(connection, project_id)
    n_labels = n_tasks = 0
    fresh: list[dict[str, Any]] = []
    for row in changed:
        before = known.get(row.task_id)
        now = _as_columns(project_id, row, before, queued)
        if before is not None and all(before[name] == now[name] for name in _FROM_LABEL_STUDIO):
            continue
        n_labels += (before["labels"] if before else None) != now["labels"]
        n_tasks += before is None or any(before[name] != now[name] for name in _OF_THE_TASK)
        fresh.append(now)
    _delete_rows(connection, project_id, [*gone, *(row["task_id"] for row in fresh)])
    n_tasks += len(gone)
    if fresh:
        connection.execute(_tasks.insert(), fresh)
    # Not served any more. Whoever labels it later was not sent there by the queue.
    unqueued = gone | {row.task_id for row in changed if row.run is not None}
    for ids in chunks(sorted(unqueued)):
        connection.execute(
            _queue.delete().where(_queue.c.project_id == project_id, _queue.c.task_id.in_(ids))
        )
    return n_labels, n_tasks


_FROM_LABEL_STUDIO = (
    "content_key",
    "labels",
    "skipped",
    "annotations",
    "unmatched",
    "run",
    "votes",
    "lead_time",
)
_OF_THE_TASK = ("content_key", "skipped", "run")


def _as_columns(
    project_id: int,
    row: TaskRow,
    before: Mapping[str, Any] | None,
    queued: Mapping[int, Any],
) -> dict[str, Any]:
    """Return a row as it is stored: Label Studio's columns anew, ours as they were."""
    was_labeled = before is not None and before["labels"] is not None
    labeled = row.labels is not None
    decision = probability = served = None
    if before is not None and before["content_key"] == row.content_key:
        decision = before["decision"]
    if row.run is not None:
        pass  # whoever labeled it saw our answer
    elif labeled and not was_labeled:
        if in_queue := queued.get(row.task_id):
            probability = in_queue.selection_probability
            served = "audit" if in_queue.audit else "queue"
    elif labeled and before is not None:
        probability, served = before["selection_probability"], before["served"]
    return {
        "project_id": project_id,
        **vars(row),
        "decision": decision,
        "labeled_at": row.labeled_at if labeled else None,
        "selection_probability": probability,
        "served": served,
    }


def _queued(connection: sa.Connection, project_id: int) -> dict[int, sa.Row[Any, Any, Any]]:
    query = sa.select(_queue.c.task_id, _queue.c.selection_probability, _queue.c.audit)
    rows = connection.execute(query.where(_queue.c.project_id == project_id))
    return {row.task_id: row for row in rows}


def _known_rows(
    connection: sa.Connection, project_id: int, task_ids: Sequence[int] | None
) -> dict[int, Mapping[str, Any]]:
    query = sa.select(
        *(column for column in _tasks.columns if column.name not in ("project_id", "content"))
    ).where(_tasks.c.project_id == project_id)
    queries = (
        [query]
        if task_ids is None
        else [query.where(_tasks.c.task_id.in_(ids)) for ids in chunks(task_ids)]
    )
    rows = (row for one in queries for row in connection.execute(one).mappings())
    return {row["task_id"]: dict(row) for row in rows}


def _delete_rows(connection: sa.Connection, project_id: int, task_ids: Sequence[int]) -> None:
    for ids in chunks(task_ids):
        connection.execute(
            _tasks.delete().where(_tasks.c.project_id == project_id, _tasks.c.task_id.in_(ids))
        )


def chunks(values: Sequence[Value], size: int = 500) -> Iterator[Sequence[Value]]:
    """Yield values in parts that fit into one statement of the database."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
