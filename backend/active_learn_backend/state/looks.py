"""Looks at the audit labels, counted: who looks often enough finds what they look for."""

from __future__ import annotations

import sqlalchemy as sa

from .schema import projects as _projects
from .store import Store, update_project

__all__ = ["count_looks", "record_look"]


def record_look(
    store: Store,
    project_id: int,
    *,
    head_version: str,
    audit_labels: int,
    accuracy: float,
    tolerance: float,
) -> int:
    """Return the number of a look, 1 for the first of a project.

    The same question about the same head and as many audit labels is no other look.
    """
    look = [head_version, audit_labels, accuracy, tolerance]
    with store.write() as connection:
        query = sa.select(_projects.c.looks).where(_projects.c.id == project_id)
        looks = [*(connection.scalar(query) or ())]
        if look not in looks:
            looks.append(look)
            update_project(connection, project_id, looks=looks)
        return looks.index(look) + 1


def count_looks(store: Store, project_id: int) -> int:
    """Return how many looks at a project's audit labels there were."""
    query = sa.select(_projects.c.looks).where(_projects.c.id == project_id)
    with store.read() as connection:
        return len(connection.scalar(query) or ())
