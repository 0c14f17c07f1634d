"""What Label Studio holds of a labeling run, found by its version and by the marks."""

from __future__ import annotations

from collections.abc import Mapping
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

    def add(self, task: Mapping[str, Any], number: int) -> None:
        """Add what a task, as Label Studio sends it, holds of the run."""
        annotations, predictions = task["annotations"], task["predictions"]
        for one in annotations:
            if run_of(one) != number:
                continue
            if not is_automatic(one):
                self.touched.add(one["id"])
                continue
            self.untouched.add(one["id"])
            if len(annotations) == 1 and one["completed_by"]:
                self.alone.setdefault(one["completed_by"], []).append(task["id"])
            else:
                self.beside_others.append(one["id"])
        if [one["model_version"] for one in predictions] == [version_of_run(number)]:
            self.with_no_other_prediction.append(task["id"])
        self.read_until = max(self.read_until, task["updated_at"])


def read_run(client: LabelStudioClient, project_id: int, number: int) -> WrittenRun:
    """Read what Label Studio holds of a run.

    By the marks too: a person may have deleted the version.
    """
    version = version_of_run(number)
    by_version = Filter("predictions_model_versions", "contains", "List", [version])
    by_mark = Filter("annotations_results", "contains", "String", f'"{version}"')  # of the JSON
    found, seen = WrittenRun(), set[int]()
    for by in (by_version, by_mark):
        for page in client.task_pages(project_id, filters=[by]):
            for task in page:
                if task["id"] not in seen:
                    found.add(task, number)
                seen.add(task["id"])
    return found
