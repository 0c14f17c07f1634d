"""The tables of the project state, and the records that are read from them.

Each column is named once, as a field of a frozen dataclass; the table is derived from it. The
records are plain values: SQLAlchemy's mapped dataclasses cannot be frozen, and it takes eight times
as long to make them, which counts with 100,000 tasks.
"""

from __future__ import annotations

import json
import time
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

__all__ = [
    "ANNOTATED",
    "BEING_CONNECTED",
    "SCHEMA_VERSION",
    "WATCHED",
    "ConnectionRequest",
    "EventCount",
    "Project",
    "QueueRow",
    "TaskRow",
    "UnreadableContent",
    "insert_if_new",
]

SCHEMA_VERSION = 5
BEING_CONNECTED = "is being connected"  # reason of a project that `connect` is at work on
WATCHED = ("active", "paused_by_user")  # status of the projects that a worker reads


@dataclass(frozen=True)
class Project:
    """One connected project, as the store holds it.

    Attributes
    ----------
    title : str
        As Label Studio shows it; empty before it was first read.
    status : {'active', 'paused', 'paused_by_user', 'disconnected'}
        'paused': by the operator. 'paused_by_user': a person chose another sampling in Label
        Studio; ours is restored when that choice is undone. `reason` explains the status.
    connected_at : float
        When it was first connected, in seconds since 1970.
    mode : {'push', 'pull'}
        'pull': nothing is registered in Label Studio, the poller does everything.
    change_seq, processed_seq : int
        Number of changes that the web process recorded, and of those that a worker processed.
    urgent_seq : int
        The last change that is read at once: any but a single label, which may wait for others.
    cursor : str
        Time stamp of Label Studio that the next poll reads from; empty: read everything.
    annotation_gap : int
        How many annotations more than the store Label Studio held at the last poll.
    accepted_gap : int
        The gap that was left after all annotations were read.
    compared_at : float
        When all annotations were last read, in seconds since 1970.
    head_round : int
        Round of the trained head that answers: the newest, or the pinned one; 0 without one.
    pinned_round : int
        Round of the head that a person went back to; 0: every round trains a new one.
    model_version : str
        Version of the team's own model, if that answers; empty: a trained head does.
    params : mapping
        The project's own settings.
    stream_state : str
        File of the stream's state after its last decisions; empty before the first.
    queue_version : str
        The published queue, ``al-<round>``; empty before the first.
    round_requested : bool
        A new round is due, regardless of the counts.
    pending_labels, pending_tasks : int
        Labels and tasks changed since the last round began.
    lease_owner, lease_until : str or None, float
        Who works on the project, and until when in seconds since 1970.
    lease_number : int
        Fencing number: each lease has a greater one than the lease before. What an owner writes
        counts only while the number is still its own.
    activity : str
        Stage of the round that a worker runs now, such as ``embed 640/1400``; empty: none.
    """

    id: int
    webhook_secret: str
    title: str = ""
    label_config: str = ""
    status: str = "active"
    reason: str = ""
    connected_at: float = field(default_factory=time.time)
    mode: str = "push"
    sampling_set: bool = False
    former_sampling: str | None = None
    former_model_version: str | None = None
    backend_id: int | None = None
    webhook_id: int | None = None
    change_seq: int = 0
    processed_seq: int = 0
    urgent_seq: int = 0
    polled_at: float = 0.0
    cursor: str = ""
    annotation_gap: int = 0
    accepted_gap: int = 0
    compared_at: float = 0.0
    round: int = 0
    head_round: int = 0
    pinned_round: int = 0
    model_version: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    stream_state: str = ""
    queue_version: str = ""
    round_requested: bool = True
    pending_labels: int = 0
    pending_tasks: int = 0
    lease_owner: str | None = None
    lease_until: float = 0.0
    lease_number: int = 0
    activity: str = ""
    last_error: str = ""

    @property
    def head_version(self) -> str:
        """Version under which Label Studio stores the live answers; ``head-0`` without a head."""
        from active_learn.heads.files import head_name  # slow to import, and rarely needed

        return self.model_version or head_name(self.head_round)


@dataclass(frozen=True)
class TaskRow:
    """One task: what the encoder reads of it, and the labels that its annotations resolve to.

    Attributes
    ----------
    content_key : str
        Digest of the content: the key of the embedding cache.
    labels : mapping or None
        Label by the name of its control, of the controls that the task is labeled by; None: of
        none.
    decision : {'kept', 'passed', 'known'} or None
        What the stream decided; 'known': it was labeled without having been kept, and the stream
        is conditioned on it. None: not decided yet.
    labeled_at : float or None
        When it was first labeled, by Label Studio's clock, in seconds since 1970.
    selection_probability : float or None
        Probability with which it was drawn from the tasks then left, if our queue served it.
    annotations : int
        How many annotations Label Studio holds of it, skips among them.
    unmatched : str
        Why its annotations give no label although nobody skipped it, in words; else empty.
    """

    task_id: int
    content: Mapping[str, Any]
    content_key: str
    labels: Mapping[str, Any] | None
    skipped: bool
    decision: str | None = None
    labeled_at: float | None = None
    selection_probability: float | None = None
    annotations: int = 0
    unmatched: str = ""


@dataclass(frozen=True)
class UnreadableContent:
    """A content that could not be loaded; all tasks that bear it are left out.

    Attributes
    ----------
    reason, cause, source : str
        See `ContentError`.
    tries : int
        How often its source was tried in vain.
    retry_at : float
        When it is tried again, in seconds since 1970.
    """

    content_key: str
    reason: str
    cause: str
    source: str
    tries: int
    retry_at: float


@dataclass(frozen=True)
class QueueRow:
    """One task of the published queue; rank 0 is served first.

    Attributes
    ----------
    audit : bool
        It only measures quality.
    selection_probability : float or None
        Probability with which it was drawn.
    """

    task_id: int
    rank: int
    in_batch: bool
    uncertainty: float
    novelty: float
    audit: bool = False
    selection_probability: float | None = None


@dataclass(frozen=True)
class EventCount:
    """How often something happened in a project; kept for metrics, which outlive the processes.

    Attributes
    ----------
    event : {'round', 'stage', 'error'}
    name : str
        The stage, or the class of the error; empty for a whole round.
    seconds : float
        Total time that it took; 0 for errors.
    last_at : float
        When it last happened, in seconds since 1970.
    """

    project_id: int
    event: str
    name: str
    count: int = 0
    seconds: float = 0.0
    last_at: float = 0.0


@dataclass(frozen=True)
class ConnectionRequest:
    """A project that /setup named, until the worker has asked Label Studio about it.

    Attributes
    ----------
    requested_at : float
        When it was first named, in seconds since 1970.
    """

    project_id: int
    requested_at: float


@dataclass(frozen=True)
class _RoundRow:
    round: int
    finished_at: float
    report: Mapping[str, Any]  # see `RoundReport`


@dataclass(frozen=True)
class _Worker:
    owner: str
    seen_at: float


class _JsonText(sa.TypeDecorator[Any]):
    """A value kept as JSON in a text column; None is NULL.

    SQLAlchemy's own JSON type cannot hold labels: PostgreSQL compares and groups no JSON, and
    SQLite turns the text of a number into another number.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else json.dumps(value, sort_keys=True)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else json.loads(value)


metadata = sa.MetaData()
_TYPES = {int: sa.Integer, float: sa.Float, bool: sa.Boolean, str: sa.Text}


def _column(name: str, hint: Any, *, key: bool = False) -> sa.Column[Any]:
    """Return the column of a record's field; what is no number or text is kept as JSON."""
    members = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(one for one in members if one is not types.NoneType)
    nullable = types.NoneType in members or kind is Any
    column_type = _TYPES.get(kind, _JsonText)()
    return sa.Column(name, column_type, primary_key=key, autoincrement=False, nullable=nullable)


def _table(name: str, record: type, *key: str) -> sa.Table:
    """Return the table of a record; ``project_id`` is put before it where it is only in the key."""
    hints = get_type_hints(record)
    if "project_id" in key:
        hints = {"project_id": int} | hints
    columns = [_column(one, hint, key=one in key) for one, hint in hints.items()]
    return sa.Table(name, metadata, *columns)


meta = sa.Table("meta", metadata, sa.Column("schema_version", sa.Integer, primary_key=True))
projects = _table("projects", Project, "id")
tasks = _table("tasks", TaskRow, "project_id", "task_id")
unreadable = _table("unreadable", UnreadableContent, "project_id", "content_key")
queue = _table("queue", QueueRow, "project_id", "task_id")
rounds = _table("rounds", _RoundRow, "project_id", "round")
counters = _table("counters", EventCount, "project_id", "event", "name")
workers = _table("workers", _Worker, "owner")
connection_requests = _table("connection_requests", ConnectionRequest, "project_id")

# All that a worker reads many times a second, see `read_schedule`.
sa.Index(
    "projects_schedule",
    *(projects.c[name] for name in ("id", "status", "mode")),
    *(projects.c[name] for name in ("change_seq", "processed_seq", "polled_at", "urgent_seq")),
)

#: Tasks with annotations; the zero is no parameter, or SQLite would not use the index.
ANNOTATED = tasks.c.annotations > sa.literal_column("0")

# Labels, skips and annotations are counted in these indexes, without reading the tasks. SQLite
# only: PostgreSQL stores long contents apart, and puts no long label into an index.
for _name, _columns, _rows in (
    ("labeled", (tasks.c.labeled_at, tasks.c.labels), tasks.c.labels.is_not(None)),
    ("skipped", (tasks.c.skipped,), tasks.c.skipped.is_(True)),
    ("annotated", (tasks.c.annotations, tasks.c.task_id), ANNOTATED),
):
    sa.Index(f"tasks_{_name}", tasks.c.project_id, *_columns, sqlite_where=_rows).ddl_if(
        dialect="sqlite"
    )


def insert_if_new(
    connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]
) -> sa.Insert:
    """Return the statement that inserts a row, or does nothing where its key exists."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).values(values).on_conflict_do_nothing()
    return sqlite.insert(table).values(values).on_conflict_do_nothing()
