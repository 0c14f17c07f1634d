"""Projects that /setup named: they wait here, few and without effect, for Label Studio's word."""

from __future__ import annotations

import time

import sqlalchemy as sa

from .columns import insert_if_new
from .schema import ConnectionRequest
from .schema import connection_requests as _requests
from .store import Store

__all__ = [
    "MOST_REQUESTS",
    "drop_connection_request",
    "read_connection_requests",
    "request_connection",
]

MOST_REQUESTS = 100  # that wait at once: anybody who may call /setup can name any project


def request_connection(store: Store, project_id: int) -> bool:
    """Ask the worker to look a project up in Label Studio; return False when too many wait."""
    waits = sa.select(_requests).where(_requests.c.project_id == project_id)
    count = sa.select(sa.func.count()).select_from(_requests)
    with store.read() as connection:  # Label Studio sets a project up again and again
        if connection.execute(waits).first() is not None:
            return True
    values = {"project_id": project_id, "requested_at": time.time()}
    with store.write() as connection:
        if (connection.scalar(count) or 0) >= MOST_REQUESTS:
            return False
        connection.execute(insert_if_new(connection, _requests, values))
        return True


def read_connection_requests(store: Store) -> list[ConnectionRequest]:
    """List the projects that wait, the oldest request first."""
    query = sa.select(_requests).order_by(_requests.c.requested_at, _requests.c.project_id)
    with store.read() as connection:
        return [ConnectionRequest(**row) for row in connection.execute(query).mappings()]


def drop_connection_request(store: Store, project_id: int) -> None:
    """Remove a request that was answered."""
    with store.write() as connection:
        connection.execute(_requests.delete().where(_requests.c.project_id == project_id))
