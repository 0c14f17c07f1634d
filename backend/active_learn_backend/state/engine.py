"""How a database is opened: a SQLite file private and in WAL mode, or any other by its address."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

__all__ = ["open_engine"]

log = logging.getLogger(__name__)

SQLITE_WAIT = 10.0  # seconds that a writer waits for another
# PostgreSQL: the same, and what it does with a transaction whose process was stopped.
POSTGRESQL_WAITS = {"lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}
# A prepared statement keeps the plan that was made for it, also one for a table that was empty: to
# read 33,000 tasks by their ids took 9 s then. Nor do poolers of connections always know them.
PSYCOPG = {"prepare_threshold": None}


def _make_private(url: sa.URL) -> None:
    """Hide a SQLite file, which holds the webhooks' secrets, from other users of the machine."""
    path = Path(url.database or "")
    if url.get_backend_name() != "sqlite" or path.name in ("", ":memory:"):
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
            path.chmod(0o600)
    except OSError as error:
        log.debug("the file %s cannot be made private: %s", path, error)  # opening it says why


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. SQLite does not wait for a lock here, so we do."""
    deadline = time.monotonic() + SQLITE_WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def open_engine(url: str) -> sa.Engine:
    """Return the engine of a database; on SQLite in WAL mode, with transactions begun by hand."""
    # The driver of our extra [postgresql], unless the address names one.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    _make_private(sa.make_url(url))
    engine = sa.create_engine(
        url,
        pool_pre_ping=not url.startswith("sqlite"),
        hide_parameters=True,
        connect_args=PSYCOPG if url.startswith("postgresql+psycopg:") else {},
    )
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _connect(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # transactions begin where _begin says so
            connection.execute(f"PRAGMA busy_timeout={SQLITE_WAIT * 1000:.0f}")
            connection.execute("PRAGMA synchronous=NORMAL")
            _use_wal(connection)

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            # A writer takes the lock at once: a later upgrade could fail half-way through.
            reads = connection.get_execution_options().get("reads", False)
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    elif engine.dialect.name == "postgresql":

        @sa.event.listens_for(engine, "connect")
        def _set_waits(connection: Any, _record: Any) -> None:
            with connection.cursor() as cursor:
                for name, value in POSTGRESQL_WAITS.items():
                    cursor.execute(f"SET {name} = '{value}'")
            connection.commit()

    return engine
