"""What Label Studio holds of a labeling run, found by its version, its marks, and the state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..labeling.annotations import (
    is_automatic,
    is_unmarked_child,
    run_of,
    version_of_run,
    with_parents,
)
from .client import LabelStudioClient
from .task_filters import Filter

__all__ = ["WrittenRun", "read_annotations", "read_run"]


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
    return read_annotations(client, project_id, number, sorted(ids), found)


def read_annotations(
    client: LabelStudioClient,
    project_id: int,
    number: int,
    task_ids: Sequence[int],
    found: WrittenRun | None = None,
) -> WrittenRun:
    """Read the annotations of a run that some tasks have, and add them to what was found.

    An export is quick, but has no versions: they are read only where a mark is missing, as one is
    in an empty annotation.
    """
    found, unmarked = found or WrittenRun(), []
    for task in client.exported_tasks(project_id, task_ids):
        if any(map(is_unmarked_child, task["annotations"])):
            unmarked.append(task)
        else:
            found.add(task, number)
    predictions = client.predictions(project_id, version_of_run(number)) if unmarked else []
    for task in unmarked:
        annotations = with_parents(task["annotations"], predictions)
        found.add({**task, "annotations": annotations}, number)
    return found
