"""When each worker was last seen alive."""

from __future__ import annotations

import time

import sqlalchemy as sa

from .columns import insert_if_new
from .schema import workers as _workers
from .store import Store

__all__ = ["WORKER_SILENT", "record_heartbeat", "worker_heartbeats"]

WORKER_SILENT = 30.0  # seconds after which a worker counts as dead; it reports every five
WORKER_FORGOTTEN = 3600.0  # seconds; each start of a worker has a name of its own


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
