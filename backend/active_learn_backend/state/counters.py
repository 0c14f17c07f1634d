"""What metrics count in the project state: rounds, their stages, errors by kind, living workers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from .schema import insert_if_new
from .schema import tallies as _tallies
from .schema import workers as _workers

__all__ = [
    "WORKER_SILENT",
    "Tally",
    "count",
    "count_round",
    "note_worker",
    "read_tallies",
    "seen_workers",
]

WORKER_SILENT = 30.0  # seconds after which a worker counts as dead; it reports every five
WORKER_FORGOTTEN = 3600.0  # seconds; each start of a worker has a name of its own


@dataclass(frozen=True)
class Tally:
    """How often something happened in a project.

    Attributes
    ----------
    what : {'round', 'stage', 'error'}
    name : str
        The stage, or the class of the error; empty for a whole round.
    seconds : float
        Time that it took, summed up; 0 for errors.
    last_at : float
        When it happened last, in seconds since 1970.
    """

    project_id: int
    what: str
    name: str
    count: int
    seconds: float
    last_at: float


def count(
    connection: sa.Connection, project_id: int, what: str, name: str, seconds: float = 0.0
) -> None:
    """Count one more."""
    key = {"project_id": project_id, "what": what, "name": name}
    start = {"count": 0, "seconds": 0.0, "last_at": 0.0}
    connection.execute(insert_if_new(connection, _tallies, key | start))
    connection.execute(
        _tallies.update()
        .where(*(_tallies.c[column] == value for column, value in key.items()))
        .values(
            count=_tallies.c.count + 1,
            seconds=_tallies.c.seconds + seconds,
            last_at=time.time(),
        )
    )


def count_round(connection: sa.Connection, project_id: int, seconds: Mapping[str, float]) -> None:
    """Count a finished round and its stages."""
    count(connection, project_id, "round", "", sum(seconds.values()))
    for stage, spent in seconds.items():
        count(connection, project_id, "stage", stage, spent)


def read_tallies(connection: sa.Connection) -> list[Tally]:
    """Read the counts of all projects."""
    order = (_tallies.c.project_id, _tallies.c.what, _tallies.c.name)
    rows = connection.execute(sa.select(_tallies).order_by(*order)).mappings()
    return [Tally(**row) for row in rows]


def note_worker(connection: sa.Connection, owner: str) -> None:
    """Note that a worker lives."""
    now = time.time()
    connection.execute(insert_if_new(connection, _workers, {"owner": owner, "seen_at": now}))
    connection.execute(_workers.update().where(_workers.c.owner == owner).values(seen_at=now))
    connection.execute(_workers.delete().where(_workers.c.seen_at < now - WORKER_FORGOTTEN))


def seen_workers(connection: sa.Connection) -> dict[str, float]:
    """Tell when each worker was last seen, in seconds since 1970."""
    rows = connection.execute(sa.select(_workers.c.owner, _workers.c.seen_at))
    return {row.owner: row.seen_at for row in rows}
