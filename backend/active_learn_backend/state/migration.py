"""Creates the tables of the project state, and carries the connections over from older ones."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from .columns import metadata
from .schema import SCHEMA_VERSION, Project, meta, projects

__all__ = ["create_tables", "is_current"]

log = logging.getLogger(__name__)

SCHEMA_LOCK = 2_611_220  # any number, ours alone


def is_current(connection: sa.Connection) -> bool:
    """Return whether the tables are there, in this schema version."""
    if not sa.inspect(connection).has_table(meta.name):
        return False
    return connection.scalar(sa.select(meta.c.schema_version)) == SCHEMA_VERSION


def create_tables(connection: sa.Connection) -> None:
    """Create the tables; those of another schema version are replaced.

    Only the connections (projects, secrets, former sampling) are carried over: Label Studio does
    not hold them. Everything else is read from Label Studio again.
    """
    if connection.dialect.name == "postgresql":  # one process at a time; SQLite's lock does that
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
    if sa.inspect(connection).has_table(meta.name):
        found = connection.scalar(sa.select(meta.c.schema_version))
        if found == SCHEMA_VERSION:
            return
        log.warning(
            "the project state has schema version %s, this is version %s: it is rebuilt from "
            "Label Studio",
            found,
            SCHEMA_VERSION,
        )
    carried_over = _old_projects(connection)
    old = sa.MetaData()
    old.reflect(connection, only=lambda name, _: name in {*metadata.tables, *FORMER_TABLES})
    old.drop_all(connection)
    metadata.create_all(connection)
    connection.execute(meta.insert().values(schema_version=SCHEMA_VERSION))
    if carried_over:
        connection.execute(projects.insert(), [asdict(project) for project in carried_over])


# Names of schema version 2 and before.
FORMER_TABLES = ("tallies",)
FORMER_COLUMNS = {
    "marks": "change_seq",
    "marks_seen": "processed_seq",
    "version": "queue_version",
    "live_version": "model_version",
}
FORMER_STATUSES = {"yielded": "paused_by_user"}


def _old_projects(connection: sa.Connection) -> list[Project]:
    """Return the former projects, as far as this version knows their columns."""
    if not sa.inspect(connection).has_table(projects.name):
        return []
    table = sa.Table(projects.name, sa.MetaData(), autoload_with=connection)
    rows = connection.execute(sa.select(table)).mappings()
    return [_carried_over(dict(row)) for row in rows]


def _carried_over(row: dict[str, Any]) -> Project:
    """Convert a former project; its empty cursor makes the poller read all tasks again."""
    row = {FORMER_COLUMNS.get(name, name): value for name, value in row.items()}
    status = row.get("status", "active")
    row["status"] = FORMER_STATUSES.get(status, status)
    row["params"] = json.loads(row.get("params") or "{}")
    row["looks"] = json.loads(row.get("looks") or "[]")
    if not str(row.get("model_version", "")).startswith("model-"):  # `head-12` is no own model
        row["model_version"] = ""
    row |= {"cursor": "", "pending_requests": 1, "lease_owner": None, "lease_until": 0.0}
    known = {one.name for one in fields(Project)}
    return Project(**{name: value for name, value in row.items() if name in known})
