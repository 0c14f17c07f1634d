"""Project state: one transaction a change, nothing in it that Label Studio does not hold too.

Web process and worker share nothing but this store. SQLite (WAL) by default, any SQLAlchemy
address by setting. `Store` opens the database and holds the projects; each other subject has a
module of functions that take the store: `tasks`, `queue`, `rounds`, `counters`, `lease` and
`status_queries`.
"""

from __future__ import annotations

import copy
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ..errors import LeaseLostError, StoreError
from . import schema
from .columns import insert_if_new, metadata
from .engine import open_engine
from .migration import create_tables, is_current
from .recovery import is_damage
from .schema import Project, QueueRow, TaskRow
from .schema import projects as _projects

__all__ = ["Project", "QueueRow", "Store", "TaskRow"]


class Store:
    """Access to the project state.

    Parameters
    ----------
    url : str
        SQLAlchemy address, such as ``sqlite:////data/state.sqlite3``.

    Attributes
    ----------
    damaged : threading.Event
        Set for good by the first error that trying again will not mend, in whichever thread.

    Raises
    ------
    StoreError
        When it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._one_writer = threading.Lock()
        self._reader = self._engine.execution_options(reads=True)
        self._fence: tuple[int, int] | None = None
        self.damaged = threading.Event()
        # Only read where nothing is to be done: a process that stopped in mid-write keeps the lock.
        with self.read() as connection:
            current = is_current(connection)
        if not current:
            with self.write() as connection:
                create_tables(connection)

    def fenced(self, project_id: int, lease_number: int) -> Self:
        """Return the same store, whose writes count only while a project's lease is this one.

        Each write raises `LeaseLostError`, and leaves everything as it was, once the project was
        leased again.
        """
        fenced = copy.copy(self)
        fenced._fence = (project_id, lease_number)
        return fenced

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Begin a transaction that writes.

        Threads of a process queue up here: left to SQLite, they would sleep and try again, which
        takes up to a tenth of a second.

        Raises
        ------
        LeaseLostError
            From a store that is `fenced`.
        """
        with self._one_writer, self._errors_in_one_line(), self._engine.begin() as connection:
            yield connection
            self._check_fence(connection)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Begin a transaction that only reads; it waits for no writer."""
        with self._errors_in_one_line(), self._reader.connect() as connection:
            yield connection

    def _check_fence(self, connection: sa.Connection) -> None:
        """Check the lease last of all, so that nobody can take it before the commit."""
        if self._fence is None:
            return
        project_id, number = self._fence
        query = sa.select(_projects.c.lease_number).where(_projects.c.id == project_id)
        if connection.scalar(query.with_for_update()) != number:
            raise LeaseLostError(project_id)

    @contextmanager
    def _errors_in_one_line(self) -> Iterator[None]:
        """Raise a database's error as one line, without the statement and its values."""
        try:
            yield
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or type(error).__name__)
            damaged = self._engine.dialect.name == "sqlite" and is_damage(reason)
            if damaged:
                self.damaged.set()
            raise StoreError(
                f"the project state at {self._engine.url.render_as_string()} fails: "
                f"{' '.join(reason.split())}; check the disk and the database, nothing is lost in "
                "Label Studio",
                damaged=damaged,
            ) from error

    def projects(self) -> list[Project]:
        """List all projects, oldest id first."""
        with self.read() as connection:
            rows = connection.execute(sa.select(_projects).order_by(_projects.c.id)).mappings()
            return [Project(**row) for row in rows]

    def project(self, project_id: int) -> Project | None:
        """Return one project; None when it was never connected."""
        query = sa.select(_projects).where(_projects.c.id == project_id)
        with self.read() as connection:
            row = connection.execute(query).mappings().first()
            return Project(**row) if row else None

    def known_project(self, project_id: int) -> Project:
        """Return a project that must be connected.

        Raises
        ------
        StoreError
            When it is not.
        """
        project = self.project(project_id)
        if project is None:
            raise StoreError(
                f"project {project_id} is not connected in this project state; use the MODEL_DIR "
                "or DATABASE_URL of the backend that orders it"
            )
        return project

    def register(self, project_id: int, label_config: str = "", **values: Any) -> bool:
        """Add a project with these columns, unless it is known; return whether it is new."""
        new = Project(
            project_id,
            secrets.token_hex(32),
            label_config=label_config,
            change_seq=1,
            urgent_seq=1,
            **values,
        )
        with self.write() as connection:
            done = connection.execute(insert_if_new(connection, _projects, asdict(new)))
            return bool(done.rowcount)

    def update(self, project_id: int, *, request_round: bool = False, **values: Any) -> None:
        """Set columns of one project, and ask for a new round if that is said."""
        with self.write() as connection:
            update_project(
                connection, project_id, **values, **(_request() if request_round else {})
            )

    def update_heads(self, project: Project, **values: Any) -> bool:
        """Set what answers, unless a person pinned other heads meanwhile; return whether it is set.

        Parameters
        ----------
        project : Project
            As it was when the round began that made the heads.
        """
        with self.write() as connection:
            done = connection.execute(
                _projects.update()
                .where(_projects.c.id == project.id)
                .where(_projects.c.pinned_round.in_((project.pinned_round, 0)))
                .values(values)
            )
            return bool(done.rowcount)

    def set_params(self, project_id: int, params: Mapping[str, Any]) -> bool:
        """Set the project's own settings, and request a round if they changed.

        Returns
        -------
        bool
            Whether they changed.
        """
        changed = {"params": params, **_request(), **_next_change(urgent=True)}
        with self.write() as connection:
            done = connection.execute(
                _projects.update()
                .where(_projects.c.id == project_id, _projects.c.params != params)
                .values(changed)
            )
            # What could not be read may be readable now.
            unreadable = schema.unreadable
            connection.execute(
                unreadable.update().where(unreadable.c.project_id == project_id).values(retry_at=0)
            )
            return bool(done.rowcount)

    def change_status(self, project_id: int, before: str, after: str, reason: str) -> bool:
        """Set another status, unless it was changed meanwhile; return whether it was set."""
        with self.write() as connection:
            done = connection.execute(
                _projects.update()
                .where(_projects.c.id == project_id, _projects.c.status == before)
                .values(status=after, reason=reason)
            )
            return bool(done.rowcount)

    def mark_changed(
        self, project_id: int, *, labels: int = 0, request_round: bool = False
    ) -> bool:
        """Record that something changed in a project; return False when it is not known.

        Parameters
        ----------
        labels : int
            The change is only so many labels, which may wait for more of them; 0: any other.
        request_round : bool
            Ask for a new round, regardless of the counts.
        """
        values = _next_change(max(labels, 1), urgent=not labels)
        with self.write() as connection:
            done = connection.execute(
                _projects.update()
                .where(_projects.c.id == project_id)
                .values(values | (_request() if request_round else {}))
            )
            return bool(done.rowcount)

    def forget(self, project_id: int) -> None:
        """Remove everything that is known of a project."""
        unfenced = copy.copy(self)  # the lease goes too
        unfenced._fence = None
        with unfenced.write() as connection:
            self._check_fence(connection)
            for table in metadata.tables.values():
                if "project_id" in table.c:
                    connection.execute(table.delete().where(table.c.project_id == project_id))
            connection.execute(_projects.delete().where(_projects.c.id == project_id))


def _request() -> dict[str, Any]:
    """Return the column that records a request for a round, with its new value."""
    return {"pending_requests": _projects.c.pending_requests + 1}


def _next_change(count: int = 1, *, urgent: bool) -> dict[str, Any]:
    """Return the columns that record changes, with their new values."""
    number = _projects.c.change_seq + count
    return {"change_seq": number} | ({"urgent_seq": number} if urgent else {})


def update_project(connection: sa.Connection, project_id: int, **values: Any) -> None:
    """Set columns of one project, within a transaction."""
    connection.execute(_projects.update().where(_projects.c.id == project_id).values(**values))
