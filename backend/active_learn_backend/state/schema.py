"""Tables of the project state, the records read from them, and how a database is opened."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

__all__ = [
    "SCHEMA_VERSION",
    "Project",
    "QueueRow",
    "TaskRow",
    "create_tables",
    "insert_if_new",
    "open_engine",
]

log = logging.getLogger(__name__)

SCHEMA_VERSION = 2
SQLITE_WAIT = 10.0  # seconds that a writer waits for another
SCHEMA_LOCK = 2_611_220  # any number, ours alone

metadata = sa.MetaData()

meta = sa.Table("meta", metadata, sa.Column("schema_version", sa.Integer, primary_key=True))

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("title", sa.Text, nullable=False, default=""),
    sa.Column("label_config", sa.Text, nullable=False, default=""),
    sa.Column("status", sa.String(16), nullable=False, default="active"),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("connected_at", sa.Float, nullable=False, default=time.time),
    sa.Column("mode", sa.String(8), nullable=False, default="push"),
    sa.Column("sampling_set", sa.Boolean, nullable=False, default=False),
    sa.Column("former_sampling", sa.Text),
    sa.Column("former_model_version", sa.Text),
    sa.Column("backend_id", sa.Integer),
    sa.Column("webhook_id", sa.Integer),
    sa.Column("webhook_secret", sa.String(64), nullable=False),
    sa.Column("change_seq", sa.Integer, nullable=False, default=0),
    sa.Column("processed_seq", sa.Integer, nullable=False, default=0),
    sa.Column("polled_at", sa.Float, nullable=False, default=0.0),
    sa.Column("cursor", sa.String(40), nullable=False, default=""),
    sa.Column("round", sa.Integer, nullable=False, default=0),
    sa.Column("head_round", sa.Integer, nullable=False, default=0),
    sa.Column("pinned_round", sa.Integer, nullable=False, default=0),
    sa.Column("head_version", sa.String(64), nullable=False, default="head-0"),
    sa.Column("params", sa.Text, nullable=False, default="{}"),  # JSON: the project's own settings
    sa.Column("stream_state", sa.String(200), nullable=False, default=""),
    sa.Column("queue_version", sa.String(64), nullable=False, default=""),
    sa.Column("round_requested", sa.Boolean, nullable=False, default=True),
    sa.Column("pending_labels", sa.Integer, nullable=False, default=0),
    sa.Column("pending_tasks", sa.Integer, nullable=False, default=0),
    sa.Column("lease_owner", sa.String(64)),
    sa.Column("lease_until", sa.Float, nullable=False, default=0.0),
    sa.Column("activity", sa.String(64), nullable=False, default=""),
    sa.Column("last_error", sa.Text, nullable=False, default=""),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("project_id", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("content", sa.Text, nullable=False),  # JSON: what the encoder reads
    sa.Column("content_key", sa.String(64), nullable=False),  # its digest: the cache's key
    sa.Column("label", sa.Text),  # JSON of the resolved label; NULL: not labeled
    sa.Column("skipped", sa.Boolean, nullable=False, default=False),
    sa.Column("decision", sa.String(8)),  # of a stream: kept, passed, known; NULL: undecided
    sa.Column("labeled_at", sa.Float),  # when it was first labeled
    sa.Column("proposal", sa.Float),  # probability with which it was drawn, if our queue served it
)
# The status page counts labels and skips out of these, without reading what tasks hold. SQLite
# only: PostgreSQL keeps long contents apart, and takes no long label into an index.
for _name, _columns, _rows in (
    ("labeled", (tasks.c.labeled_at, tasks.c.label), tasks.c.label.is_not(None)),
    ("skipped", (tasks.c.skipped,), tasks.c.skipped.is_(True)),
):
    sa.Index(f"tasks_{_name}", tasks.c.project_id, *_columns, sqlite_where=_rows).ddl_if(
        dialect="sqlite"
    )

queue = sa.Table(
    "queue",
    metadata,
    sa.Column("project_id", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("in_batch", sa.Boolean, nullable=False),
    sa.Column("uncertainty", sa.Float, nullable=False),
    sa.Column("novelty", sa.Float, nullable=False),
    sa.Column("audit", sa.Boolean, nullable=False, default=False),
    sa.Column("proposal", sa.Float),
)

rounds = sa.Table(
    "rounds",
    metadata,
    sa.Column("project_id", sa.Integer, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("finished_at", sa.Float, nullable=False),
    sa.Column("report", sa.Text, nullable=False),  # JSON: counts and seconds by stage
)

# What metrics count: it has to outlive the processes, and several of them count together.
tallies = sa.Table(
    "tallies",
    metadata,
    sa.Column("project_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("what", sa.String(16), primary_key=True),  # round, stage, error
    sa.Column("name", sa.String(100), primary_key=True),  # the stage; the kind of error
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("last_at", sa.Float, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("seen_at", sa.Float, nullable=False),
)


@dataclass(frozen=True)
class Project:
    """One connected project, as the store holds it.

    Attributes
    ----------
    title : str
        As Label Studio shows it; empty before it was first read.
    status : {'active', 'paused', 'paused_by_user', 'disconnected'}
        'paused': by the operator. 'paused_by_user': a person chose another sampling in Label
        Studio,
        and ours comes back when theirs is taken back. `reason` says it in words.
    connected_at : float
        When it was first connected, in seconds since 1970.
    mode : {'push', 'pull'}
        'pull': nothing is registered in Label Studio, the poller does everything.
    change_seq, processed_seq : int
        Changes noted by the web process, and how many of them a worker has looked at.
    cursor : str
        Time stamp of Label Studio that the next poll reads from; empty: read everything.
    queue_version : str
        The published queue, ``al-<round>``; empty before the first.
    round_requested : bool
        A new round is due whatever the counts say.
    head_round : int
        Round of the head that answers: the newest, or the pinned one; 0 before the first.
    pinned_round : int
        Round of the head that a person went back to; 0: every round trains a new one.
    head_version : str
        Name under which live answers are stored.
    params : str
        JSON object: the project's own settings.
    stream_state : str
        File of the stream's state after its last decisions; empty before the first.
    pending_labels, pending_tasks : int
        Labels and tasks changed since the last round began.
    activity : str
        Stage of the round that a worker is at, such as ``embed 640/1400``; empty: in none.
    """

    id: int
    title: str
    label_config: str
    status: str
    reason: str
    connected_at: float
    mode: str
    sampling_set: bool
    former_sampling: str | None
    former_model_version: str | None
    backend_id: int | None
    webhook_id: int | None
    webhook_secret: str
    change_seq: int
    processed_seq: int
    polled_at: float
    cursor: str
    round: int
    head_round: int
    pinned_round: int
    head_version: str
    params: str
    stream_state: str
    queue_version: str
    round_requested: bool
    pending_labels: int
    pending_tasks: int
    lease_owner: str | None
    lease_until: float
    activity: str
    last_error: str


@dataclass(frozen=True)
class TaskRow:
    """One task: what the encoder reads of it, and the label that its annotations resolve to.

    Attributes
    ----------
    decision : {'kept', 'passed', 'known'} or None
        What the stream decided; 'known': it was labeled without having been kept, and the stream
        is conditioned on it. None: not decided yet.
    labeled_at : float or None
        When it was first labeled, by Label Studio's clock, in seconds since 1970.
    proposal : float or None
        Probability with which it was drawn from the tasks then left, if our queue served it.
    """

    task_id: int
    content: Mapping[str, Any]
    content_key: str
    label: Any
    skipped: bool
    decision: str | None = None
    labeled_at: float | None = None
    proposal: float | None = None


@dataclass(frozen=True)
class QueueRow:
    """One task of the published queue; rank 0 is served first.

    Attributes
    ----------
    audit : bool
        It only measures quality.
    proposal : float or None
        Probability with which it was drawn.
    """

    task_id: int
    rank: int
    in_batch: bool
    uncertainty: float
    novelty: float
    audit: bool = False
    proposal: float | None = None


def create_tables(connection: sa.Connection) -> None:
    """Make the tables; those of another schema version are made anew.

    What is known of the connections (projects, secrets, former sampling) is carried over, column
    by column. All else is read from Label Studio again.
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
    kept = _old_projects(connection)
    old = sa.MetaData()
    old.reflect(connection, only=lambda name, _: name in metadata.tables)
    old.drop_all(connection)
    metadata.create_all(connection)
    connection.execute(meta.insert().values(schema_version=SCHEMA_VERSION))
    if kept:
        connection.execute(projects.insert(), kept)


def _old_projects(connection: sa.Connection) -> list[dict[str, Any]]:
    """Read of the former projects what this version knows too; an empty cursor reads all again."""
    if not sa.inspect(connection).has_table(projects.name):
        return []
    old = sa.Table(projects.name, sa.MetaData(), autoload_with=connection)
    shared = [column for column in old.columns if column.name in projects.columns]
    anew = {"cursor": "", "round_requested": True, "lease_owner": None, "lease_until": 0.0}
    rows = connection.execute(sa.select(*shared)).mappings()
    return [{**row, **anew} for row in rows]


def insert_if_new(
    connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]
) -> sa.Insert:
    """Give the statement that inserts a row, or does nothing where its key is there."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).values(values).on_conflict_do_nothing()
    return sqlite.insert(table).values(values).on_conflict_do_nothing()


def _make_private(url: sa.URL) -> None:
    """Keep a SQLite file, which holds the webhooks' secrets, from other users of the machine."""
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
    """Switch to the write-ahead log. SQLite does not wait for a lock there, so we do."""
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
    """Open a database; on SQLite in WAL mode, its transactions begun by hand."""
    # The driver of our extra [postgresql], unless the address names one.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    _make_private(sa.make_url(url))
    engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"), hide_parameters=True)
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

    return engine
