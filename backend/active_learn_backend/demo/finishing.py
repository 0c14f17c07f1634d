"""The end of the demo: what the head may label of the rest, checked against the truth."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ..settings import load_settings
from ..state.verification import open_sample
from .backend import BackendServer
from .digits import LABEL_CONFIG, Digits, digit_index
from .label_studio import LabelStudioServer
from .process import ServerError, wait_until

__all__ = ["Finish", "finish"]

PAGE = 500  # tasks with uploaded files: of more Label Studio makes an error
(CONTROL,) = re.findall(r'<Choices name="(\w+)"', LABEL_CONFIG)


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
    why_not : str
        Why nothing is granted, as the command says it.
    """

    accuracy: float
    labels: int
    verified: int
    granted: int
    wrong: int
    others: int
    why_not: str = ""

    def __str__(self) -> str:
        checked = f" and {self.verified} more that checked a sample" if self.verified else ""
        if not self.granted:
            return (
                f"With {self.labels} labels{checked}, no answers are granted at "
                f"{self.accuracy:.0%}: {self.why_not}"
            )
        return (
            f"With {self.labels} labels{checked}, {self.granted:,} of the other {self.others:,} "
            f"tasks can be labeled at {self.accuracy:.0%} (with 95 % confidence). "
            f"The truth: {1 - self.wrong / self.granted:.1%} of these answers are right."
        )


def finish(
    label_studio: LabelStudioServer,
    backend: BackendServer,
    pool: Digits,
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
    try:
        said, verified = backend.run(*asked, "--export", str(answers)), 0
    except ServerError as refused:  # no head is trained yet
        return Finish(accuracy, labels, 0, 0, 0, total - labels, _last_line(str(refused)))
    if "--verify" in said:
        begun = backend.run(*asked, "--verify")
        sample = open_sample(load_settings(model_dir=backend.model_dir), project)
        if not sample:  # enough audit labels came in between
            return Finish(accuracy, labels, 0, 0, 0, total - labels, _last_line(begun))
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
        return Finish(accuracy, labels, verified, 0, 0, others, _last_line(said))
    given = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    truth = {task: pool.truth[image] for task, image in _images(label_studio, project)}
    wrong = sum(one["labels"][CONTROL] != truth[one["task"]] for one in given)
    return Finish(accuracy, labels, verified, len(given), wrong, others)


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


def _images(label_studio: LabelStudioServer, project: int) -> Iterator[tuple[int, int]]:
    """Yield the id of each task with the index of its image."""
    page, seen, total = 0, 0, 1
    while seen < total:
        page += 1
        query = f"project={project}&page={page}&page_size={PAGE}"
        found = label_studio.api("GET", f"/api/tasks/?{query}")
        total, seen = int(found["total"]), seen + len(found["tasks"])
        yield from ((task["id"], digit_index(task)) for task in found["tasks"])


def _last_line(said: str) -> str:
    return said.strip().splitlines()[-1].partition(": ")[2]
