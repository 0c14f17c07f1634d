"""A new version of a project's own model: whether it may serve, and what that needs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from active_learn.heads import Head

from ...errors import TrainingError, WorkerStoppingError
from ...labeling.config import LabelingTask
from ...labeling.controls import ControlTag
from ...settings import Settings
from ...state.folders import heads_folder
from ...state.model_versions import ModelVersion, record_version, with_version
from ...state.store import Project, Store
from ...state.task_table import read_task_table
from ...state.tasks import read_contents
from ..embedding.embedder import TaskEmbedder
from ..engines.base import Engine, ProjectTasks
from ..engines.configured import engine_for
from ..heads import ControlHeads
from ..quality.evaluation import METRICS
from ..quality.learning_curve import LEAST_AUDITED
from ..quality.paired_test import LEVEL, p_worse
from ..regions.embedder import open_embedder
from ..selection.snapshot import ControlSnapshot
from .data import labeled_tasks

__all__ = ["Candidate"]


@dataclass(frozen=True)
class Candidate:
    """A version of the model that may serve next.

    Attributes
    ----------
    settings : Settings
        The project's own, with the version of the model that serves.
    project_settings : Settings
        The project's own, with what MODEL names.
    """

    settings: Settings
    project_settings: Settings
    store: Store
    project: Project
    task: LabelingTask
    load: Callable[..., bytes]
    stopping: threading.Event

    def compared(self, version: ModelVersion, control: ControlTag) -> ModelVersion:
        """Compare a version with what serves, on the audit labels; return it with the result.

        It stays undecided while there are too few of these. It has a reason why it may not serve
        where it is worse; that also says whether it may be chance (`p_worse`). Both are recorded.

        Raises
        ------
        TrainingError
            When it does not answer for the control.
        SettingsError, ModelError
            When it cannot be loaded, or does not fit the labeling config.
        """
        snapshot = labeled_tasks(self.store, self.project, self.settings, control)
        as_is = self._named(version).model_copy(update={"model_use": "as-is"})
        embedder = TaskEmbedder(as_is, self.project.id, self._without_regions, self.load)
        head = embedder.fixed_heads.get(control.from_name)
        if not isinstance(head, Head):
            raise TrainingError(f"the model does not answer for '{control.from_name}'")
        served, name = self._served(control)
        found = self._compare(version, snapshot, (embedder, head), served)
        found = replace(found, compared_with=name)
        record_version(self.settings, self.project.id, found)
        return found

    def embed(self, version: ModelVersion, engine: Engine) -> None:
        """Embed all tasks by a version, so that the next round can take it at once."""
        embedder = open_embedder(self._named(version), self.project.id, self.task, self.load)
        tasks = read_task_table(self.store, self.project.id)
        of_project = ProjectTasks(self.project, tasks.ids, tasks.keys, self.store)
        engine_for(self.task, engine).fill(
            embedder, of_project, self._checkpoint, in_background=True
        )

    def _named(self, version: ModelVersion) -> Settings:
        return with_version(self.project_settings, self.project.id, version.number)

    def _served(self, control: ControlTag) -> tuple[tuple[TaskEmbedder, Head] | None, str]:
        """Return what answers now for a control, and its version; None where nothing does."""
        task = self._without_regions
        embedder = TaskEmbedder(self.settings, self.project.id, task, self.load)
        folder = heads_folder(self.settings, self.project.id)
        heads, _ = ControlHeads.current(folder, self.project.head_round, task, embedder)
        head = heads.of(control)
        return ((embedder, head), head.version) if isinstance(head, Head) else (None, "")

    @property
    def _without_regions(self) -> LabelingTask:
        """The labeling task as models know it that are trained."""
        others = self.task.others
        return replace(self.task, controls=others) if self.task.regions and others else self.task

    def _compare(
        self,
        version: ModelVersion,
        snapshot: ControlSnapshot,
        new: tuple[TaskEmbedder, Head],
        served: tuple[TaskEmbedder, Head] | None,
    ) -> ModelVersion:
        at = snapshot.measuring
        rows = [snapshot.rows[position] for position in at]
        losses = [self._losses(*one, snapshot, rows) for one in (new, served) if one is not None]
        both = np.logical_and.reduce([np.isfinite(one) for one in losses])
        means = [float(one[both].mean()) if both.any() else None for one in losses]
        n, kind = int(both.sum()), new[1].problem_type
        qualities = [
            None if mean is None else mean if kind == "regression" else 1 - mean for mean in means
        ]
        found = replace(
            version,
            audit=n,
            metric=METRICS[kind],
            quality=qualities[0],
            served_quality=qualities[1] if served else None,
            undecided=False,
            reason="",
        )
        if served is None:
            return found
        if n < LEAST_AUDITED:
            why = (
                f"it waits for audit labels to be compared on: there are {n} of {LEAST_AUDITED}"
                + ("; AUDIT is 0, so none will come" if not self.settings.audit else "")
            )
            return replace(found, undecided=True, reason=why)
        if means[0] is None or means[1] is None or means[0] <= means[1]:
            return found
        chance = p_worse(losses[0][both], losses[1][both])
        why = (
            f"it is worse than what serves: {found.metric} {found.quality:.3f} instead of "
            f"{found.served_quality:.3f} on {n} audit labels"
            + (f", which may be chance (p = {chance:.2f})" if chance >= LEVEL else "")
        )
        return replace(found, reason=why)

    def _losses(
        self, embedder: TaskEmbedder, head: Head, snapshot: ControlSnapshot, rows: list
    ) -> np.ndarray:
        """Return the losses on some tasks; NaN of one that cannot be read."""
        contents = read_contents(self.store, self.project.id, [row.task_id for row in rows])
        vectors, usable, _ = embedder.embed(
            [contents.get(row.task_id, {}) for row in rows],
            [row.content_key for row in rows],
            self._checkpoint,
        )
        losses = np.full(len(rows), np.nan)
        if usable:
            read = embedder.features(snapshot.from_name, vectors)[:]
            losses[usable] = head.losses(read, [snapshot.of_task(rows[one]) for one in usable])
        return losses

    def _checkpoint(self, done: int, of: int) -> None:
        if self.stopping.is_set():
            raise WorkerStoppingError
