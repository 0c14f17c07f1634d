"""What Label Studio holds of a labeling run, found by its version, its marks, and the state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..labeling.annotations import is_automatic, run_of, version_of_run
from .client import LabelStudioClient
from .task_filters import Filter

__all__ = ["WrittenRun", "read_run"]


@dataclass
class WrittenRun:
    """The predictions and annotations of one run.

    Attributes
    ----------
    untouched, touched : set of int
        Annotations that nobody changed since, and those that a person changed or confirmed.
    alone : dict of int to list of int
        Tasks whose only annotation is an untouched one, by the person whose token wrote it.
    beside_others : list of int
        Untouched annotations of tasks that have others too.
    with_no_other_prediction : list of int
        Tasks whose only prediction is of the run.
    read_until : str
        Latest change of those tasks, as Label Studio stamps it.
    """

    untouched: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    alone: dict[int, list[int]] = field(default_factory=dict)
    beside_others: list[int] = field(default_factory=list)
    with_no_other_prediction: list[int] = field(default_factory=list)
    read_until: str = ""

    @property
    def size(self) -> int:
        """How many annotations it has."""
        return len(self.untouched) + len(self.touched)

    def add(self, task: Mapping[str, Any], number: int) -> None:
        """Add the annotations of the run that a task has, as Label Studio exports it."""
        for one in task["annotations"]:
            if run_of(one) != number:
                continue
            if not is_automatic(one):
                self.touched.add(one["id"])
                continue
            self.untouched.add(one["id"])
            if len(task["annotations"]) == 1 and one["completed_by"]:
                self.alone.setdefault(one["completed_by"], []).append(task["id"])
            else:
                self.beside_others.append(one["id"])
        self.read_until = max(self.read_until, task["updated_at"])


def read_run(
    client: LabelStudioClient, project_id: int, number: int, task_ids: Iterable[int]
) -> WrittenRun:
    """Read what Label Studio holds of a run.

    Parameters
    ----------
    task_ids : iterable of int
        Tasks that may bear its marks, besides those that have a prediction of it: a person may have
        deleted the version. Label Studio itself is too slow to find marks: it compares the text of
        each annotation of the project with each task.
    """
    version, found = version_of_run(number), WrittenRun()
    has_version = Filter("predictions_model_versions", "contains", "List", [version])
    slim = "id,total_predictions,predictions_model_versions"
    ids = set(task_ids)
    for page in client.task_pages(project_id, include=slim, filters=[has_version]):
        for task in page:
            ids.add(task["id"])  # label-30 passes too, and a long list of versions is cut
            if task["total_predictions"] == 1 and task["predictions_model_versions"] == version:
                found.with_no_other_prediction.append(task["id"])
    for task in client.exported_tasks(project_id, sorted(ids)):
        found.add(task, number)
    return found
