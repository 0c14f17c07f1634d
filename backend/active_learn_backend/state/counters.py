"""What metrics count in the project state: rounds, their stages, errors by kind, living workers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict

import sqlalchemy as sa

from .schema import EventCount, insert_if_new
from .schema import counters as _counters
from .schema import workers as _workers
from .store import Store, update_project

__all__ = [
    "WORKER_SILENT",
    "EventCount",
    "count_round",
    "read_counters",
    "record_error",
    "record_heartbeat",
    "worker_heartbeats",
]

WORKER_SILENT = 30.0  # seconds after which a worker counts as dead; it reports every five
WORKER_FORGOTTEN = 3600.0  # seconds; each start of a worker has a name of its own


def record_error(store: Store, project_id: int, kind: str, message: str) -> None:
    """Record the error that a project's work ended with, and count it by its kind."""
    with store.write() as connection:
        update_project(connection, project_id, last_error=message)
        _count(connection, project_id, "error", kind)


def count_round(connection: sa.Connection, project_id: int, seconds: Mapping[str, float]) -> None:
    """Count a finished round and its stages, within the transaction that records it."""
    _count(connection, project_id, "round", "", sum(seconds.values()))
    for stage, spent in seconds.items():
        _count(connection, project_id, "stage", stage, spent)


def read_counters(store: Store) -> list[EventCount]:
    """List the counts of all projects."""
    query = sa.select(_counters).order_by(*_counters.primary_key.columns)
    with store.read() as connection:
        return [EventCount(**row) for row in connection.execute(query).mappings()]


def record_heartbeat(store: Store, owner: str) -> None:
    """Record that a worker lives."""
    now = time.time()
    with store.write() as connection:
        connection.execute(insert_if_new(connection, _workers, {"owner": owner, "seen_at": now}))
        connection.execute(_workers.update().where(_workers.c.owner == owner).values(seen_at=now))
        connection.execute(_workers.delete().where(_workers.c.seen_at < now - WORKER_FORGOTTEN))


def worker_heartbeats(store: Store) -> dict[str, float]:
    """Return when each worker was last seen, in seconds since 1970."""
    with store.read() as connection:
        rows = connection.execute(sa.select(_workers.c.owner, _workers.c.seen_at))
        return {row.owner: row.seen_at for row in rows}


def _count(
    connection: sa.Connection, project_id: int, event: str, name: str, seconds: float = 0.0
) -> None:
    start = asdict(EventCount(project_id, event, name))
    connection.execute(insert_if_new(connection, _counters, start))
    connection.execute(
        _counters.update()
        .where(*(column == start[column.name] for column in _counters.primary_key))
        .values(
            count=_counters.c.count + 1,
            seconds=_counters.c.seconds + seconds,
            last_at=time.time(),
        )
    )
