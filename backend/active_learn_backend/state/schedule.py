"""What a worker reads many times a second: which projects changed, and when each was last read."""

from __future__ import annotations

from dataclasses import dataclass, fields

import sqlalchemy as sa

from .schema import WATCHED
from .schema import projects as _projects
from .store import Store

__all__ = ["Schedule", "read_schedule"]


@dataclass(frozen=True)
class Schedule:
    """The few fields of a `Project` that tell whether it has to have a turn."""

    id: int
    mode: str
    change_seq: int
    processed_seq: int
    polled_at: float
    urgent_seq: int


_query = (
    sa.select(*(_projects.c[one.name] for one in fields(Schedule)))
    .where(_projects.c.status.in_(WATCHED))
    .order_by(_projects.c.id)
)


def read_schedule(store: Store) -> list[Schedule]:
    """List what is watched; an index holds it, so that no labeling config is read."""
    with store.read() as connection:
        return [Schedule(*row) for row in connection.execute(_query)]
