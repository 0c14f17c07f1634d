"""The tasks of a project as one round sees them, and as one of its controls is labeled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...settings import RANDOM_STATE, Settings
from ...state.round_report import RoundReport
from ...state.store import Project, TaskRow
from ...state.task_table import TaskTable
from .audit_set import places_of, served_as_audit, taken_from_outside

__all__ = ["ControlSnapshot", "Mask", "Positions", "Snapshot"]

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Snapshot:
    """The tasks of a project that could be embedded, as one round sees them.

    Attributes
    ----------
    rows : TaskTable of length n
    embeddings : array or CachedVectors of shape (n, d), float32
        Or `PartedVectors` of n tasks; for one control of regions `PartsOfTasks`.
    audit : array of shape (n,), bool
        Tasks that only measure.
    outside : array of shape (n,), bool
        Those of them that people labeled from outside of the queue, see `taken_from_outside`.
    project_id : int
    """

    rows: TaskTable
    embeddings: Any
    audit: Mask
    outside: Mask
    project_id: int

    @classmethod
    def take(
        cls,
        project: Project,
        rows: Sequence[TaskRow],
        embeddings: Any,
        settings: Settings,
        reports: Sequence[RoundReport] = (),
    ) -> Snapshot:
        """Return a snapshot with the audit set drawn.

        Of labeled tasks those are in it that our queue served as such, or would have served if
        nobody had labeled them from outside. What else was labeled, by an earlier share or before
        the project was connected, was not drawn by chance. It trains.

        Parameters
        ----------
        reports : sequence of RoundReport
            Of the former rounds, oldest first. Without them, all labels from outside train.
        """
        tasks = TaskTable.of(rows)
        places = places_of(project.id, RANDOM_STATE).of(tasks.keys.array)
        audit, outside = places < settings.audit, np.zeros(len(tasks), dtype=bool)
        marked, at = list(tasks.marked.values()), np.array(list(tasks.marked), np.int64)
        measures = served_as_audit(marked, project.connected_at)
        outside[at] = taken_from_outside(
            marked, places[at], measures, project.connected_at, reports
        )
        for position, row, measured in zip(at, marked, measures, strict=True):
            if row.labels is not None:
                audit[position] = measured or outside[position]
        return cls(tasks, embeddings, audit, outside, project.id)

    def of(self, from_name: str, embeddings: Any = None) -> ControlSnapshot:
        """Return the same tasks with the labels of one control.

        Parameters
        ----------
        embeddings : optional
            What its head reads, where that is something else.
        """
        vectors = self.embeddings if embeddings is None else embeddings
        return ControlSnapshot(
            self.rows, vectors, self.audit, self.outside, self.project_id, from_name
        )

    @cached_property
    def labeled(self) -> Mask:
        """Tasks with a label, of whichever control."""
        return self.rows.where(lambda row: row.labels is not None)

    @cached_property
    def skipped(self) -> Mask:
        """Tasks that somebody skipped."""
        return self.rows.where(lambda row: row.skipped)

    @property
    def training(self) -> Positions:
        """Labeled tasks that heads learn from."""
        return np.flatnonzero(self.labeled & ~self.audit)

    @property
    def measuring(self) -> Positions:
        """Labeled tasks of the audit set that our queue served."""
        return np.flatnonzero(self.labeled & self.audit & ~self.outside)

    def selection_probabilities(self, at: Positions) -> npt.NDArray[np.float64]:
        """Return the probabilities with which some tasks were drawn; NaN where not by our queue."""
        stored = [self.rows[position].selection_probability for position in at]
        return np.array([np.nan if one is None else one for one in stored], dtype=np.float64)

    def labeled_at(self, at: Positions) -> npt.NDArray[np.float64]:
        """Return the times at which some tasks were labeled."""
        return np.array([self.rows[position].labeled_at or 0.0 for position in at], np.float64)

    def numbers(self, at: Positions, controls: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the labels of some tasks by controls whose answers are numbers; NaN for none."""
        labels = [self.rows[position].labels or {} for position in at]
        found = [[label.get(name, np.nan) for name in controls] for label in labels]
        return np.array(found, dtype=np.float64).reshape(len(at), len(controls))

    def with_decisions(self, decisions: Mapping[int, str | None]) -> Snapshot:
        """Return the same tasks after a stream decided on some, by task id."""
        rows = self.rows.with_decisions(decisions)
        return Snapshot(rows, self.embeddings, self.audit, self.outside, self.project_id)

    def decided(self, *decisions: str | None) -> Mask:
        """Return for which tasks the stream made one of these decisions (None: none yet)."""
        return self.rows.decided(*decisions)

    def places(self, seed: int) -> npt.NDArray[np.float64]:
        """Return the place of each task in [0, 1), see `audit_set.places`."""
        return places_of(self.project_id, seed).of(self.rows.keys.array)


@dataclass(frozen=True)
class ControlSnapshot(Snapshot):
    """The same tasks, where only the labels of one control count.

    Attributes
    ----------
    from_name : str
        The name of the control.
    """

    from_name: str

    @cached_property
    def labeled(self) -> Mask:
        """Tasks with a label of the control."""
        return self.rows.where(lambda row: self.from_name in (row.labels or {}))

    @property
    def population(self) -> int:
        """How many tasks the control may be labeled in: not those that were labeled without it."""
        return len(self.rows) - sum(
            row.labels is not None and self.from_name not in row.labels
            for row in self.rows.marked.values()
        )

    def labels(self, at: Positions) -> list[Any]:
        """Return the labels of some labeled tasks."""
        return [self.of_task(self.rows[position]) for position in at]

    def of_task(self, row: TaskRow) -> Any:
        """Return the label of a task; None where it has none of the control."""
        return (row.labels or {}).get(self.from_name)
