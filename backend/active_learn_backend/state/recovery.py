"""A damaged project state: it is renamed, and rebuilt from Label Studio."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path

import sqlalchemy as sa

__all__ = ["DAMAGED_EXIT", "put_aside_if_damaged"]

log = logging.getLogger(__name__)

DAMAGED_EXIT = 4  # status with which a worker ends that found the state damaged
DAMAGED = ("not a database", "malformed", "disk image")


def put_aside_if_damaged(url: str) -> Path | None:
    """Check a SQLite state, and rename it if it is damaged. Only while no process has it open.

    Parameters
    ----------
    url : str
        SQLAlchemy address; other databases than SQLite are not checked.

    Returns
    -------
    Path or None
        Where the damaged state is now; None when there was nothing to do.
    """
    parsed = sa.make_url(url)
    path = Path(parsed.database or "")
    if parsed.get_backend_name() != "sqlite" or not path.is_file() or _is_whole(path):
        return None
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    log.error(
        "the project state %s is damaged (a full or failing disk?); it was put aside as %s and is "
        "rebuilt from Label Studio, where all labels are",
        path,
        aside.name,
    )
    return aside


def is_damage(message: str) -> bool:
    """Return whether a database error means damage, not one that may pass (locked, full)."""
    return any(word in message for word in DAMAGED)


def _is_whole(path: Path) -> bool:
    """Check every page of the file: 100 MB take a fraction of a second."""
    connection = sqlite3.connect(path, timeout=10)
    try:
        return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        if not is_damage(str(error)):
            raise
        return False
    finally:
        connection.close()
