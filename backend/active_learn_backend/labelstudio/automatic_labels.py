"""Writes the answers of a labeling run into Label Studio, and takes them back.

The answers are imported as predictions of the version ``label-<run>``. For annotations Label Studio
then turns them into annotations by its own bulk action, a thousand times faster than one request
for each. The action picks the tasks without any annotation in the statement in which it reads the
predictions, and takes no prediction twice. So writing can be repeated after a crash at any point.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LabelConfigError, SettingsError
from ..labeling.annotations import marked, run_of_version, version_of_run
from ..labeling.config import parse_label_config
from ..labeling.controls import ControlTag, RegionTag
from ..settings import Settings
from ..state.answer_files import Answer
from ..state.labeling_runs import (
    Kind,
    LabelingRun,
    begin,
    finish,
    list_runs,
    one_at_a_time,
    read_answers,
    record_removal,
    tasks_of_run,
)
from ..state.store import Store
from ..state.tasks import chunks, read_tasks
from .client import LabelStudioClient
from .publication import Publication
from .run_actions import ANNOTATED, PASSES, Progress, RunActions
from .task_filters import Filter
from .written_run import WrittenRun, read_run

__all__ = ["AutomaticLabels", "Removed"]

log = logging.getLogger(__name__)

IMPORTED_AT_ONCE = 5000  # predictions; each import counts those of all tasks anew


@dataclass(frozen=True)
class Removed:
    """What taking back a run did.

    Attributes
    ----------
    annotations, predictions : int
        How many were deleted.
    kept : int
        Annotations that the run wrote and a person changed or confirmed since: they stay.
    """

    annotations: int
    predictions: int
    kept: int

    def describe(self, number: int) -> str:
        """Return in words what was done to a run."""
        stays = (
            f"; {self.kept:,} of its annotations stay, which people changed or confirmed"
            if self.kept
            else ""
        )
        if not self.annotations and not self.predictions:
            return f"nothing is left of run {number}{stays}"
        return (
            f"run {number} is taken back: {self.annotations:,} annotations and "
            f"{self.predictions:,} predictions removed{stays}"
        )


class AutomaticLabels:
    """The labeling runs of one project in Label Studio."""

    def __init__(
        self, client: LabelStudioClient, store: Store, settings: Settings, project_id: int
    ) -> None:
        self._client, self._store, self._settings = client, store, settings
        self._project_id = project_id

    def begin(
        self, kind: Kind, answers: Collection[Answer], *, accuracy: float, confidence: float
    ) -> LabelingRun:
        """Record a new run; `write` writes it.

        Raises
        ------
        StoreError
            While another run is unfinished.
        SettingsError, LabelConfigError
            When Label Studio would not take the answers, or would serve the tasks nevertheless.
        """
        self._rows(0, answers, self._checked_project(kind))
        return begin(
            self._store,
            self._settings,
            self._project_id,
            kind,
            answers,
            accuracy=accuracy,
            confidence=confidence,
            taken=self._numbers(),
        )

    def write(self, run: LabelingRun, progress: Progress = lambda *_: None) -> LabelingRun:
        """Write a run, or what is left of it, to the tasks that have no annotation at that moment.

        Parameters
        ----------
        progress : callable
            Is called with the number of answers that are done, and of all.

        Returns
        -------
        LabelingRun
            The finished run.
        """
        with one_at_a_time(self._settings, self._project_id):
            answers = read_answers(self._settings, self._project_id, run.run)
            project = self._checked_project(run.kind)
            rows = self._rows(run.run, answers, project)
            had = self._client.model_versions(self._project_id).get(version_of_run(run.run), 0)
            written = self._import(run.run, rows, project["task_number"])
            if run.kind == "annotations":
                actions = RunActions(self._client, self._project_id, run.run)
                written = actions.annotate([row["task"] for row in rows], progress)
                if actions.annotate_uncounted() or had:  # not all was written and counted just now
                    written = self._read(run.run).size
            finish(self._store, self._project_id, run.run, written)
        self._store.mark_changed(self._project_id)
        return next(one for one in list_runs(self._store, self._project_id) if one.run == run.run)

    def remove(self, number: int) -> Removed:
        """Take a run back, also one that the project state knows nothing of.

        Annotations that a person changed or confirmed stay, and so do those beside the run's.
        """
        with one_at_a_time(self._settings, self._project_id):
            actions, before = RunActions(self._client, self._project_id, number), 0
            for left in reversed(range(PASSES)):
                actions.annotate_emptied()  # to be deleted and counted
                found = self._read(number)
                before = before or found.size
                if not found.untouched:
                    break
                log.info("run %d: %d annotations are being removed", number, len(found.untouched))
                if left:
                    actions.delete_annotations(found)
                else:
                    actions.delete_one_by_one(found.untouched)
                    found = self._read(number)
            annotations = before - found.size
            predictions = actions.delete_predictions(found)
            record_removal(self._store, self._project_id, number, max(annotations, predictions))
        self._store.mark_changed(self._project_id)
        return Removed(annotations, predictions, len(found.touched))

    # -- writing ------------------------------------------------------------------------------

    def _numbers(self) -> set[int]:
        """Return the numbers of the runs of which Label Studio holds predictions."""
        versions = self._client.model_versions(self._project_id)
        return {run for version in versions if (run := run_of_version(version)) is not None}

    def _checked_project(self, kind: str) -> dict[str, Any]:
        project = self._client.project(self._project_id)
        if kind == "annotations" and project.get("maximum_annotations", 1) > 1:
            raise SettingsError(
                f"project {self._project_id} asks for {project['maximum_annotations']} annotations "
                "of each task, so Label Studio would serve the tasks that a run labeled first of "
                "all; set Overlap to 1, or write predictions"
            )
        return project

    def _rows(
        self, number: int, answers: Collection[Answer], project: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Return the predictions of some answers.

        Raises
        ------
        LabelConfigError
            When Label Studio would drop one of them.
        """
        controls = {
            one.from_name: one for one in parse_label_config(project["label_config"]).controls
        }
        rows, contents = [], self._contents(controls.values())
        for answer in answers:
            result = []
            for name, label in answer.labels.items():
                control = controls.get(name)
                items = _written(control, answer, contents) if control else []
                nothing = isinstance(control, RegionTag) and not label
                if control is None or not control.can_prelabel or not (items or nothing):
                    raise LabelConfigError(
                        f"Label Studio would not store {label!r} of '{name}' as a prediction; "
                        "the labeling config does not offer it, or that control takes none"
                    )
                result += items
            rows.append(
                {
                    "task": answer.task_id,
                    "result": marked(result, number),
                    "score": answer.score,
                    "model_version": version_of_run(number),
                }
            )
        return rows

    def _contents(self, controls: Iterable[ControlTag]) -> dict[int, Mapping[str, Any]]:
        """Return what stands in each task, where regions of it are written."""
        if not any(isinstance(one, RegionTag) for one in controls):
            return {}
        return {row.task_id: row.content for row in read_tasks(self._store, self._project_id)}

    def _import(self, number: int, rows: Sequence[Mapping[str, Any]], n_tasks: int) -> int:
        """Import the predictions that are missing; return how many are there."""
        version = version_of_run(number)
        there: set[int] = set()
        if self._client.model_versions(self._project_id).get(version):
            there = {row["task"] for row in self._client.predictions(self._project_id, version)}
        present, annotated = self._ids(), self._ids(ANNOTATED)
        missing = [
            row for row in rows if row["task"] in present - annotated and row["task"] not in there
        ]
        stored = self._client.model_versions(self._project_id).get(version, 0)
        for some in chunks(missing, IMPORTED_AT_ONCE):
            Publication(
                self._client, self._project_id, version, some, n_tasks, others=stored
            ).complete(lambda: None)
            stored += len(some)
        return stored

    def _ids(self, *filters: Filter) -> set[int]:
        return self._client.task_ids(self._project_id, *filters)

    def _read(self, number: int) -> WrittenRun:
        """Read what Label Studio holds of a run."""
        ids = tasks_of_run(self._store, self._project_id, number)
        if version_of_run(number) not in self._client.model_versions(self._project_id):
            ids = self._ids(ANNOTATED)  # only its marks can tell, and the state may be new
        return read_run(self._client, self._project_id, number, ids)


def _written(
    control: ControlTag, answer: Answer, contents: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Write what an answer says of a control, as Label Studio stores it."""
    label = answer.labels[control.from_name]
    if isinstance(control, RegionTag):
        content = contents.get(answer.task_id, {}).get(control.fields[0])
        return control.write_regions([(*one, answer.score) for one in label], content)
    return control.write(label, answer.score)
