"""Which projects have to have a turn: what a worker reads many times a second, and `resume`."""

from __future__ import annotations

from dataclasses import dataclass, fields

import sqlalchemy as sa

from .schema import WATCHED
from .schema import projects as _projects
from .store import Store

__all__ = ["Schedule", "read_schedule", "resume"]


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


def resume(store: Store, project_id: int) -> bool:
    """Let the worker order a paused project again; return False where it is not paused.

    The worker restores the sampling in Label Studio at its next turn.

    Raises
    ------
    StoreError
        When the project is not known.
    """
    status = store.known_project(project_id).status
    if status not in ("paused", "paused_by_user"):
        return False
    # First, so that no worker takes the sampling of now for the choice of a person.
    store.update(project_id, sampling_set=False, request_round=True)
    if not store.change_status(project_id, status, "active", ""):
        return False
    return store.mark_changed(project_id)
