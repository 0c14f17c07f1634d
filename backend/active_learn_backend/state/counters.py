"""What metrics count in the project state: rounds, their stages, errors by kind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict

import sqlalchemy as sa

from .columns import insert_if_new
from .schema import EventCount
from .schema import counters as _counters
from .store import Store, update_project

__all__ = [
    "EventCount",
    "count_round",
    "read_counters",
    "record_error",
]


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
