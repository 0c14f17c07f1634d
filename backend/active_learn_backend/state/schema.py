"""The tables of the project state, and the records that are read from them.

Each column is named once, as a field of a frozen dataclass; the table is derived from it. The
records are plain values: SQLAlchemy's mapped dataclasses cannot be frozen, and it takes eight times
as long to make them, which counts with 100,000 tasks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import sqlalchemy as sa

from .columns import metadata, table_of
from .records import ConnectionRequest, EventCount, LabelingRun

__all__ = [
    "ANNOTATED",
    "AUTOMATIC",
    "BEING_CONNECTED",
    "MARKED",
    "OF_UNMARKED",
    "SCHEMA_VERSION",
    "WATCHED",
    "ConnectionRequest",
    "EventCount",
    "LabelingRun",
    "Project",
    "QueueRow",
    "TaskRow",
    "UnreadableContent",
]

SCHEMA_VERSION = 9
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
    served_model, next_model : int
        The version of the team's own model that answers, and the one that the next round takes;
        0: what the settings name.
    params : mapping
        The project's own settings.
    looks : sequence
        Looks at the audit labels to certify answers, see `record_look`.
    stream_state : str
        File of the stream's state after its last decisions; empty before the first.
    queue_version : str
        The published queue, ``al-<round>``; empty before the first.
    pending_requests, pending_labels, pending_tasks : int
        Requests for a new round, regardless of the counts, and labels and tasks that changed, since
        the last round began.
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
    served_model: int = 0
    next_model: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    looks: Sequence[Any] = ()
    stream_state: str = ""
    queue_version: str = ""
    pending_requests: int = 1
    pending_labels: int = 0
    pending_tasks: int = 0
    lease_owner: str | None = None
    lease_until: float = 0.0
    lease_number: int = 0
    activity: str = ""
    last_error: str = ""

    @property
    def round_requested(self) -> bool:
        """Whether a new round is due, regardless of the counts."""
        return self.pending_requests > 0

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
    served : {'audit', 'queue'} or None
        How our queue held it when its label came; None: not.
    annotations : int
        How many annotations Label Studio holds of it, skips among them.
    unmatched : str
        Why its annotations give no label although nobody skipped it, in words; else empty.
    run : int or None
        Number of the labeling run that wrote its annotation. Without labels, nobody looked at that
        since; with labels, a person changed or confirmed it, so it is no blind label.
    votes : mapping or None
        By control that several annotators answered: their number and disagreement (`count_votes`).
    lead_time : float or None
        Seconds that its annotation took, the median of several; None where they are not known.
    """

    task_id: int
    content: Mapping[str, Any]
    content_key: str
    labels: Mapping[str, Any] | None
    skipped: bool
    decision: str | None = None
    labeled_at: float | None = None
    selection_probability: float | None = None
    served: str | None = None
    annotations: int = 0
    unmatched: str = ""
    run: int | None = None
    votes: Mapping[str, Any] | None = None
    lead_time: float | None = None

    @property
    def automatic(self) -> bool:
        """Whether a labeling run labeled it, and no person: it is not queued and not learned."""
        return self.run is not None and self.labels is None


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
class _RoundRow:
    round: int
    finished_at: float
    report: Mapping[str, Any]  # see `RoundReport`


@dataclass(frozen=True)
class _Worker:
    owner: str
    seen_at: float


meta = sa.Table("meta", metadata, sa.Column("schema_version", sa.Integer, primary_key=True))
projects = table_of("projects", Project, "id")
tasks = table_of("tasks", TaskRow, "project_id", "task_id")
unreadable = table_of("unreadable", UnreadableContent, "project_id", "content_key")
queue = table_of("queue", QueueRow, "project_id", "task_id")
rounds = table_of("rounds", _RoundRow, "project_id", "round")
counters = table_of("counters", EventCount, "project_id", "event", "name")
workers = table_of("workers", _Worker, "owner")
labeling_runs = table_of("labeling_runs", LabelingRun, "project_id", "run")
connection_requests = table_of("connection_requests", ConnectionRequest, "project_id")

# All that a worker reads many times a second, see `read_schedule`.
sa.Index(
    "projects_schedule",
    *(projects.c[name] for name in ("id", "status", "mode")),
    *(projects.c[name] for name in ("change_seq", "processed_seq", "polled_at", "urgent_seq")),
)

#: Tasks that a labeling run labeled, and no person.
AUTOMATIC = tasks.c.run.is_not(None) & tasks.c.labels.is_(None)

#: Tasks with annotations; the zero is no parameter, or SQLite would not use the index.
ANNOTATED = tasks.c.annotations > sa.literal_column("0")

_UNMARKED = TaskRow(0, {}, "", None, False)

#: The values of a task of which nothing but its id, its content and a decision is known.
OF_UNMARKED: Mapping[str, Any] = {
    one.name: getattr(_UNMARKED, one.name)
    for one in fields(TaskRow)
    if one.name not in ("task_id", "content", "content_key", "decision")
}


def _differs(name: str, value: Any) -> sa.ColumnElement[bool]:
    """Return whether a column has another value; without parameters, as an index needs it."""
    if value is None:
        return tasks.c[name].is_not(None)
    if isinstance(value, bool):
        return tasks.c[name].is_not(value)
    return tasks.c[name] != sa.literal_column(repr(value))


#: Tasks of which more is known.
MARKED = sa.or_(*(_differs(name, value) for name, value in OF_UNMARKED.items()))
sa.Index(
    "tasks_marked",
    tasks.c.project_id,
    tasks.c.task_id,
    sqlite_where=MARKED,
    postgresql_where=MARKED,
)

# Labels, skips and annotations are counted in these indexes, without reading the tasks. SQLite
# only: PostgreSQL stores long contents apart, and puts no long label into an index.
for _name, _columns, _rows in (
    ("labeled", (tasks.c.labeled_at, tasks.c.labels), tasks.c.labels.is_not(None)),
    ("skipped", (tasks.c.skipped,), tasks.c.skipped.is_(True)),
    ("automatic", (tasks.c.run,), AUTOMATIC),
    ("annotated", (tasks.c.annotations, tasks.c.task_id), ANNOTATED),
):
    sa.Index(f"tasks_{_name}", tasks.c.project_id, *_columns, sqlite_where=_rows).ddl_if(
        dialect="sqlite"
    )
