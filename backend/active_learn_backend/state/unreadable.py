"""Contents that could not be loaded: remembered, counted by cause, and tried again later."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace

import sqlalchemy as sa

from ..errors import ContentError
from .schema import UnreadableContent
from .schema import tasks as _tasks
from .schema import unreadable as _unreadable
from .store import Store
from .task_groups import TaskGroup, describe_groups
from .tasks import chunks

__all__ = [
    "count_unreadable",
    "describe_unreadable",
    "keys_to_retry",
    "make_due",
    "record_loads",
    "unreadable_keys",
    "unreadable_tasks",
]

MOST_CAUSES = 20
SHORTEST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0  # seconds until a source is tried again


def describe_unreadable(found: Sequence[TaskGroup], total: int | str) -> str:
    """Write in one line how many of a total of tasks cannot be read, and why; empty if all can."""
    return describe_groups(found, total, "cannot be read")


def count_unreadable(store: Store, project_id: int) -> int:
    """Count the contents that could not be loaded; several tasks may bear the same."""
    query = sa.select(sa.func.count()).where(_unreadable.c.project_id == project_id)
    with store.read() as connection:
        return connection.scalar(query) or 0


def unreadable_keys(store: Store, project_id: int) -> set[str]:
    """Return the keys of all contents that could not be loaded."""
    query = sa.select(_unreadable.c.content_key).where(_unreadable.c.project_id == project_id)
    with store.read() as connection:
        return set(connection.scalars(query))


def make_due(store: Store, project_id: int) -> None:
    """Let everything that could not be read be tried again now."""
    with store.write() as connection:
        mine = _unreadable.c.project_id == project_id
        connection.execute(_unreadable.update().where(mine).values(retry_at=0.0))


def keys_to_retry(store: Store, project_id: int, most: int) -> list[str]:
    """Return keys of contents that are due to be tried again, the longest due first."""
    query = (
        sa.select(_unreadable.c.content_key)
        .where(_unreadable.c.project_id == project_id, _unreadable.c.retry_at <= time.time())
        .order_by(_unreadable.c.retry_at, _unreadable.c.content_key)
        .limit(most)
    )
    with store.read() as connection:
        return list(connection.scalars(query))


def unreadable_tasks(store: Store, project_id: int) -> list[TaskGroup]:
    """Count the tasks that cannot be read by cause, the most frequent first.

    Where there are very many causes, the last group is of all others.
    """
    same = (_tasks.c.project_id == _unreadable.c.project_id) & (
        _tasks.c.content_key == _unreadable.c.content_key
    )
    joined = _unreadable.join(_tasks, same)
    first = sa.func.min(_tasks.c.task_id)
    mine = _unreadable.c.project_id == project_id
    causes = (
        sa.select(_unreadable.c.cause, sa.func.count(), first)
        .select_from(joined)
        .where(mine)
        .group_by(_unreadable.c.cause)
        .order_by(sa.func.count().desc(), first)
        .limit(MOST_CAUSES)
    )
    with store.read() as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(joined).where(mine)) or 0
        found = [tuple(row) for row in connection.execute(causes)]
        some = [task_id for *_, task_id in found]
        reasons = sa.select(_tasks.c.task_id, _unreadable.c.reason).select_from(joined)
        rows = connection.execute(
            reasons.where(_tasks.c.project_id == project_id, _tasks.c.task_id.in_(some))
        )
        reason = {row.task_id: row.reason for row in rows}
    groups = [TaskGroup(cause, n, task, reason[task]) for cause, n, task in found]
    if rest := total - sum(group.n for group in groups):
        groups.append(TaskGroup("", rest, 0, "other reasons"))
    return groups


def record_loads(
    store: Store, project_id: int, tried: Collection[str], failed: Mapping[str, ContentError]
) -> None:
    """Record which contents were tried and which of them failed.

    A source that fails again is left alone for twice as long; a failure without a source counts
    for itself. Written in parts, as leases and the web process wait for the end of a write; if it
    is broken off, a content that failed is merely tried again.
    """
    known = _known(store, project_id)
    if not known and not failed:
        return
    tries = _tries(known.values())
    failing = {error.source for error in failed.values()} - {""}
    changes: dict[str, UnreadableContent | None] = {
        key: replace(row, tries=tries[row.source] + 1, retry_at=_retry_at(tries[row.source]))
        for key, row in known.items()
        if row.source in failing  # all else of that source waits with what failed now
    }
    changes |= dict.fromkeys((key for key in tried if key in known), None)
    for key, error in failed.items():
        before = tries.get(error.source or key, 0)
        changes[key] = UnreadableContent(
            key, str(error), error.cause, error.source, before + 1, _retry_at(before)
        )
    changes |= dict.fromkeys(_gone(store, project_id), None)
    for keys in chunks(list(changes)):
        _replace(store, project_id, keys, [row for key in keys if (row := changes[key])])


def _known(store: Store, project_id: int) -> dict[str, UnreadableContent]:
    """Return what could not be loaded before, by its key."""
    columns = [_unreadable.c[field.name] for field in fields(UnreadableContent)]
    query = sa.select(*columns).where(_unreadable.c.project_id == project_id)
    with store.read() as connection:
        found = [UnreadableContent(*row) for row in connection.execute(query)]
    return {row.content_key: row for row in found}


def _gone(store: Store, project_id: int) -> list[str]:
    """Return the keys of contents that no task bears any more."""
    mine = _unreadable.c.project_id == project_id
    borne = sa.select(_tasks.c.content_key).where(_tasks.c.project_id == project_id)
    query = sa.select(_unreadable.c.content_key).where(
        mine, _unreadable.c.content_key.not_in(borne)
    )
    with store.read() as connection:
        return list(connection.scalars(query))


def _replace(
    store: Store, project_id: int, keys: Sequence[str], rows: Sequence[UnreadableContent]
) -> None:
    """Put rows in the place of what is known of some contents."""
    mine = _unreadable.c.project_id == project_id
    with store.write() as connection:
        connection.execute(_unreadable.delete().where(mine, _unreadable.c.content_key.in_(keys)))
        if rows:
            values = [{"project_id": project_id, **vars(row)} for row in rows]
            connection.execute(_unreadable.insert(), values)


def _retry_at(tries: int) -> float:
    return time.time() + min(SHORTEST_PAUSE * 2.0 ** min(tries, 10), LONGEST_PAUSE)


def _tries(known: Iterable[UnreadableContent]) -> dict[str, int]:
    """Return how often each source was tried."""
    tries: dict[str, int] = {}
    for row in known:
        name = row.source or row.content_key
        tries[name] = max(tries.get(name, 0), row.tries)
    return tries
