"""The end of the demo: what the head may label of the rest, checked against the truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from ..settings import load_settings
from ..state.verification import open_sample
from .annotator import Task
from .backend import BackendServer
from .label_studio import LabelStudioServer
from .process import ServerError, wait_until
from .subjects import Subject

__all__ = ["Finish", "finish"]

PAGE = 500  # tasks with uploaded files: of more Label Studio makes an error


@dataclass(frozen=True)
class Finish:
    """What was granted, and how it compares with the truth.

    Attributes
    ----------
    accuracy : float
        What was asked for.
    labels : int
        Given before, to learn from and to measure.
    verified : int
        Labels of the sample that people checked.
    granted, wrong : int
        Answers that are granted, and how many of them are not the truth.
    others : int
        Tasks that nobody had labeled.
    empty : int or None
        Answers that are granted and say that nothing is there; None where none can.
    why_not : str
        Why nothing is granted, as the command says it.
    rule : str
        When an answer is right, where that isn't plain.
    """

    accuracy: float
    labels: int
    verified: int
    granted: int
    wrong: int
    others: int
    why_not: str = ""
    empty: int | None = None
    rule: str = ""

    def __str__(self) -> str:
        told = self._outcome()
        return f"{told.removesuffix('.')}. {self.rule}" if self.rule else told

    def _outcome(self) -> str:
        checked = f" and {self.verified} more that checked a sample" if self.verified else ""
        if not self.granted:
            return (
                f"With {self.labels} labels{checked}, no answers are granted at "
                f"{self.accuracy:.0%}: {self.why_not}"
            )
        empty = "" if self.empty is None else f" {self.empty} of them say that nothing is there."
        return (
            f"With {self.labels} labels{checked}, {self.granted:,} of the other {self.others:,} "
            f"tasks can be labeled at {self.accuracy:.0%} (with 95 % confidence).{empty} "
            f"The truth: {1 - self.wrong / self.granted:.1%} of these answers are right."
        )


def finish(
    label_studio: LabelStudioServer,
    backend: BackendServer,
    subject: Subject,
    project: int,
    labels: int,
    accuracy: float,
    annotate: Callable[[int], int],
    answers: Path,
) -> Finish:
    """Ask what the head may label; where it takes a verification, label its sample first.

    Parameters
    ----------
    labels : int
        Tasks that are labeled.
    annotate : callable
        Labels so many tasks of the project, and returns how many were labeled.
    answers : Path
        File of the answers that are granted.
    """
    asked = ("label", "--project", str(project), "--accuracy", f"{accuracy:g}")
    total = _wait_for_labels(backend, project, labels)
    nothing = partial(Finish, accuracy, labels, granted=0, wrong=0, rule=subject.rule)
    try:
        said, verified = backend.run(*asked, "--export", str(answers)), 0
    except ServerError as refused:  # no head is trained yet
        reason = _last_line(str(refused))
        return nothing(verified=0, others=total - labels, why_not=reason)
    if "--verify" in said:
        begun = backend.run(*asked, "--verify")
        sample = open_sample(load_settings(model_dir=backend.model_dir), project)
        if not sample:  # enough audit labels came in between
            return nothing(verified=0, others=total - labels, why_not=_last_line(begun))
        wait_until(
            lambda: _is_served(backend, project, sample),
            timeout=120,
            what="the queue that begins with the sample",
        )
        verified = annotate(len(sample))
        _wait_for_labels(backend, project, labels + verified)
        said = backend.run(*asked, "--export", str(answers))
    others = total - labels - verified
    if not answers.exists():
        return nothing(verified=verified, others=others, why_not=_last_line(said))
    given = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    index = {task["id"]: subject.index(task) for task in _tasks(label_studio, project)}
    told = [one["labels"][subject.control] for one in given]
    right = [
        subject.is_right(index[one["task"]], answer)
        for one, answer in zip(given, told, strict=True)
    ]
    empty = told.count([]) if subject.may_be_empty else None
    return Finish(
        accuracy, labels, verified, len(given), right.count(False), others, "", empty, subject.rule
    )


def _wait_for_labels(backend: BackendServer, project: int, labels: int) -> int:
    """Wait until the backend has read so many labels; return how many tasks there are."""

    def counts() -> dict[str, int]:
        return dict(_status(backend, project)["summary"]["counts"])

    wait_until(lambda: counts()["labeled"] >= labels, timeout=120, what="labels to be read")
    return counts()["total"]


def _is_served(backend: BackendServer, project: int, sample: Sequence[int]) -> bool:
    """Check whether the queue begins with the sample."""
    queue = [one["task_id"] for one in _status(backend, project)["queue"]]
    return bool(queue) and queue[: len(sample)] == list(sample[: len(queue)])


def _status(backend: BackendServer, project: int) -> dict[str, Any]:
    address = f"{backend.url}/projects/{project}.json"
    answer = httpx.get(address, timeout=60, trust_env=False)
    return dict(answer.raise_for_status().json())


def _tasks(label_studio: LabelStudioServer, project: int) -> Iterator[Task]:
    """Yield the tasks of a project."""
    page, seen, total = 0, 0, 1
    while seen < total:
        page += 1
        query = f"project={project}&page={page}&page_size={PAGE}"
        found = label_studio.api("GET", f"/api/tasks/?{query}")
        total, seen = int(found["total"]), seen + len(found["tasks"])
        yield from found["tasks"]


def _last_line(said: str) -> str:
    return said.strip().splitlines()[-1].partition(": ")[2]
