"""Project state: one transaction a change, nothing in it that Label Studio does not hold too.

Web process and worker share nothing but this store. SQLite (WAL) by default, any SQLAlchemy
address by setting.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ..errors import StoreError
from .counters import Tally, count, count_round, note_worker, read_tallies, seen_workers
from .recovery import is_damage
from .schema import Project, QueueRow, TaskRow, create_tables, insert_if_new, open_engine
from .schema import projects as _projects
from .schema import queue as _queue
from .schema import rounds as _rounds
from .schema import tallies as _tallies
from .schema import tasks as _tasks
from .status_queries import (
    NextTask,
    TaskCounts,
    count_labels,
    count_tasks,
    next_tasks,
    queued_content,
)
from .tasks import note_decisions, read_contents, read_tasks, write_changes

__all__ = ["Project", "QueueRow", "Store", "TaskRow"]


class Store:
    """Access to the project state.

    Parameters
    ----------
    url : str
        SQLAlchemy address, such as ``sqlite:////data/state.sqlite3``.

    Raises
    ------
    StoreError
        When it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._one_writer = threading.Lock()
        self._reader = self._engine.execution_options(reads=True)
        with self._write() as connection:
            create_tables(connection)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """Begin a transaction that writes.

        Threads of a process queue up here: left to SQLite, they would sleep and try again, which
        takes up to a tenth of a second.
        """
        with self._one_writer, self._in_words(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with self._in_words(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Say a database's error in one line, without the statement and its values."""
        try:
            yield
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or type(error).__name__)
            raise StoreError(
                f"the project state at {self._engine.url.render_as_string()} fails: "
                f"{' '.join(reason.split())}; check the disk and the database, nothing is lost in "
                "Label Studio",
                damaged=self._engine.dialect.name == "sqlite" and is_damage(reason),
            ) from error

    # -- projects ---------------------------------------------------------------------------

    def projects(self) -> list[Project]:
        """List all projects, oldest id first."""
        with self._read() as connection:
            rows = connection.execute(sa.select(_projects).order_by(_projects.c.id)).mappings()
            return [Project(**row) for row in rows]

    def project(self, project_id: int) -> Project | None:
        """Read one project; None when it was never connected."""
        with self._read() as connection:
            row = connection.execute(
                sa.select(_projects).where(_projects.c.id == project_id)
            ).mappings()
            first = row.first()
            return Project(**first) if first else None

    def known_project(self, project_id: int) -> Project:
        """Read a project that has to be known.

        Raises
        ------
        StoreError
        """
        project = self.project(project_id)
        if project is None:
            raise StoreError(
                f"project {project_id} is not connected in this project state; use the MODEL_DIR "
                "or DATABASE_URL of the backend that orders it"
            )
        return project

    def register(self, project_id: int, label_config: str = "") -> Project:
        """Add a project if it is new, and give it as it stands."""
        with self._write() as connection:
            values = {
                "id": project_id,
                "label_config": label_config,
                "webhook_secret": secrets.token_hex(32),
                "change_seq": 1,
            }
            connection.execute(insert_if_new(connection, _projects, values))
        project = self.project(project_id)
        if project is None:
            raise StoreError(f"project {project_id} was removed while it was being registered")
        return project

    def update(self, project_id: int, **values: Any) -> None:
        """Set columns of one project."""
        with self._write() as connection:
            connection.execute(
                _projects.update().where(_projects.c.id == project_id).values(**values)
            )

    def set_params(self, project_id: int, params: Mapping[str, Any]) -> bool:
        """Set the project's own settings; tells whether they changed, and a round is due then."""
        text = json.dumps(params, sort_keys=True)
        with self._write() as connection:
            done = connection.execute(
                _projects.update()
                .where(_projects.c.id == project_id, _projects.c.params != text)
                .values(params=text, round_requested=True, change_seq=_projects.c.change_seq + 1)
            )
            return bool(done.rowcount)

    def change_status(self, project_id: int, before: str, after: str, reason: str) -> bool:
        """Set another status, unless somebody else changed it first; tells whether it was set."""
        with self._write() as connection:
            done = connection.execute(
                _projects.update()
                .where(_projects.c.id == project_id, _projects.c.status == before)
                .values(status=after, reason=reason)
            )
            return bool(done.rowcount)

    def mark_changed(self, project_id: int, *, round_requested: bool = False) -> bool:
        """Note that something changed in a project; False when the project is not known.

        `round_requested` asks for a new round, whatever the counts say.
        """
        values: dict[str, Any] = {"change_seq": _projects.c.change_seq + 1}
        with self._write() as connection:
            done = connection.execute(
                _projects.update()
                .where(_projects.c.id == project_id)
                .values(values | ({"round_requested": True} if round_requested else {}))
            )
            return bool(done.rowcount)

    def forget(self, project_id: int) -> None:
        """Remove everything that is known of a project."""
        with self._write() as connection:
            for table in (_tasks, _queue, _rounds, _tallies):
                connection.execute(table.delete().where(table.c.project_id == project_id))
            connection.execute(_projects.delete().where(_projects.c.id == project_id))

    # -- leases -----------------------------------------------------------------------------

    def take_lease(self, project_id: int, owner: str, seconds: float) -> bool:
        """Take or renew the lease of a project; False while another living worker holds it."""
        now = time.time()
        with self._write() as connection:
            holder = connection.scalar(
                sa.select(_projects.c.lease_owner).where(_projects.c.id == project_id)
            )
            # One that runs much longer than any lease was taken before the clock jumped back.
            stands = _projects.c.lease_until.between(now, now + 10 * seconds)
            free = sa.or_(_projects.c.lease_owner == owner, ~stands)
            if holder and _is_dead(holder):
                free = sa.or_(free, _projects.c.lease_owner == holder)
            done = connection.execute(
                _projects.update()
                .where(_projects.c.id == project_id, free)
                .values(lease_owner=owner, lease_until=now + seconds)
            )
            return bool(done.rowcount)

    def release_lease(self, project_id: int, owner: str) -> None:
        """Give a lease back, if it is still ours."""
        with self._write() as connection:
            connection.execute(
                _projects.update()
                .where(_projects.c.id == project_id, _projects.c.lease_owner == owner)
                .values(lease_owner=None, lease_until=0.0, activity="")
            )

    # -- tasks ------------------------------------------------------------------------------

    def tasks(self, project_id: int, *, contents: bool = True) -> list[TaskRow]:
        """List the tasks of a project by id; without contents, these are empty."""
        with self._read() as connection:
            return read_tasks(connection, project_id, contents=contents)

    def contents(self, project_id: int, task_ids: Iterable[int]) -> dict[int, Mapping[str, Any]]:
        """Give what the encoder reads of some tasks, by id; of those that are gone, nothing."""
        with self._read() as connection:
            return read_contents(connection, project_id, task_ids)

    def task_ids(self, project_id: int) -> set[int]:
        """Ids of all known tasks of a project."""
        with self._read() as connection:
            return set(
                connection.scalars(
                    sa.select(_tasks.c.task_id).where(_tasks.c.project_id == project_id)
                )
            )

    def apply_changes(
        self,
        project_id: int,
        changed: Sequence[TaskRow],
        *,
        deleted: Iterable[int] = (),
        replace: bool = False,
    ) -> tuple[int, int]:
        """Write what was read from Label Studio, in one transaction.

        Returns
        -------
        (int, int)
            How many labels, and how many tasks, really differ from what was known. Both are
            added to the project's pending counts.
        """
        with self._write() as connection:
            n_labels, n_tasks = write_changes(
                connection, project_id, changed, deleted=deleted, replace=replace
            )
            values: dict[str, Any] = {
                "pending_labels": _projects.c.pending_labels + n_labels,
                "pending_tasks": _projects.c.pending_tasks + n_tasks,
            }
            connection.execute(
                _projects.update().where(_projects.c.id == project_id).values(**values)
            )
            return n_labels, n_tasks

    def note_decisions(
        self, project_id: int, decisions: Mapping[int, str | None], stream_state: str
    ) -> None:
        """Note what a stream decided, and the file that holds its state after that."""
        with self._write() as connection:
            note_decisions(connection, project_id, decisions)
            connection.execute(
                _projects.update()
                .where(_projects.c.id == project_id)
                .values(stream_state=stream_state)
            )

    # -- the published queue ----------------------------------------------------------------

    def queue(self, project_id: int) -> list[QueueRow]:
        """List the published queue in the order in which it is served."""
        with self._read() as connection:
            columns = [column for column in _queue.columns if column.name != "project_id"]
            rows = connection.execute(
                sa.select(*columns).where(_queue.c.project_id == project_id).order_by(_queue.c.rank)
            ).mappings()
            return [QueueRow(**row) for row in rows]

    def open_in_batch(self, project_id: int) -> tuple[int, int]:
        """Count the batch's tasks that are still open, and all of the batch."""
        with self._read() as connection:
            row = connection.execute(
                sa.select(
                    sa.func.count(),
                    sa.func.coalesce(
                        sa.func.sum(
                            sa.case(
                                (_tasks.c.label.is_(None) & ~_tasks.c.skipped, 1),
                                else_=0,
                            )
                        ),
                        0,
                    ),
                )
                .select_from(
                    _queue.join(
                        _tasks,
                        (_queue.c.project_id == _tasks.c.project_id)
                        & (_queue.c.task_id == _tasks.c.task_id),
                    )
                )
                .where(_queue.c.project_id == project_id, _queue.c.in_batch)
            ).one()
            return int(row[1]), int(row[0])

    def set_queue(self, project_id: int, version: str, rows: Sequence[QueueRow]) -> None:
        """Note the queue that Label Studio now serves."""
        with self._write() as connection:
            connection.execute(_queue.delete().where(_queue.c.project_id == project_id))
            if rows:
                connection.execute(
                    _queue.insert(), [{"project_id": project_id, **vars(row)} for row in rows]
                )
            connection.execute(
                _projects.update().where(_projects.c.id == project_id).values(queue_version=version)
            )

    # -- rounds -----------------------------------------------------------------------------

    def finish_round(
        self, project_id: int, number: int, report: Mapping[str, Any], *, labels: int, tasks: int
    ) -> None:
        """Record a finished round and take what it saw off the pending counts."""
        pending = _projects.c.pending_labels
        pending_tasks = _projects.c.pending_tasks
        with self._write() as connection:
            connection.execute(
                _rounds.delete().where(
                    _rounds.c.project_id == project_id, _rounds.c.round == number
                )
            )
            connection.execute(
                _rounds.insert().values(
                    project_id=project_id,
                    round=number,
                    finished_at=time.time(),
                    report=json.dumps(report),
                )
            )
            connection.execute(
                _projects.update()
                .where(_projects.c.id == project_id)
                .values(
                    pending_labels=sa.case((pending > labels, pending - labels), else_=0),
                    pending_tasks=sa.case((pending_tasks > tasks, pending_tasks - tasks), else_=0),
                    round_requested=False,
                    activity="",
                    last_error="",
                )
            )
            count_round(connection, project_id, report.get("seconds", {}))

    def last_round(self, project_id: int) -> dict[str, Any] | None:
        """Give the report of the last finished round; None before the first."""
        with self._read() as connection:
            row = connection.execute(
                sa.select(_rounds.c.report)
                .where(_rounds.c.project_id == project_id)
                .order_by(_rounds.c.round.desc())
                .limit(1)
            ).first()
            return None if row is None else json.loads(row.report)

    def rounds(self, project_id: int) -> list[dict[str, Any]]:
        """List the reports of all finished rounds, oldest first."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(_rounds)
                .where(_rounds.c.project_id == project_id)
                .order_by(_rounds.c.round)
            )
            return [
                {"round": row.round, "finished_at": row.finished_at, **json.loads(row.report)}
                for row in rows
            ]

    # -- at a glance, of any number of tasks --------------------------------------------------

    def count_tasks(self, project_id: int) -> TaskCounts:
        """Count the tasks of a project, and how many were labeled lately."""
        with self._read() as connection:
            return count_tasks(connection, project_id, time.time())

    def count_labels(self, project_id: int) -> list[tuple[Any, int]]:
        """Count each label that was given."""
        with self._read() as connection:
            return count_labels(connection, project_id)

    def next_tasks(self, project_id: int, most: int) -> list[NextTask]:
        """Give the next open tasks of the published queue."""
        with self._read() as connection:
            return next_tasks(connection, project_id, most)

    def queued_content(self, project_id: int, task_id: int) -> Mapping[str, Any] | None:
        """Give what the encoder reads of a queued task; None when the queue does not hold it."""
        with self._read() as connection:
            return queued_content(connection, project_id, task_id)

    # -- what is watched ----------------------------------------------------------------------

    def note_error(self, project_id: int, kind: str, message: str) -> None:
        """Note the error that a project's work ended with, and count it by its kind."""
        with self._write() as connection:
            connection.execute(
                _projects.update().where(_projects.c.id == project_id).values(last_error=message)
            )
            count(connection, project_id, "error", kind)

    def tallies(self) -> list[Tally]:
        """Read what was counted in all projects."""
        with self._read() as connection:
            return read_tallies(connection)

    def note_worker(self, owner: str) -> None:
        """Note that a worker lives."""
        with self._write() as connection:
            note_worker(connection, owner)

    def workers(self) -> dict[str, float]:
        """Tell when each worker was last seen, in seconds since 1970."""
        with self._read() as connection:
            return seen_workers(connection)


def _is_dead(owner: str) -> bool:
    """Tell whether a lease's owner, ``host/pid/...``, surely runs no more (on this host only)."""
    host, _, rest = owner.partition("/")
    pid = rest.partition("/")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs, under another user
        return False
    return False
