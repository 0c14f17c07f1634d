"""What the demo annotates: how it is uploaded and answered, and what its labels taught."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from . import digits, entities
from .annotator import Submission, Task, choice
from .evaluation import LearningCurve, learning_curve
from .label_studio import LabelStudioServer
from .proposals import entity_curve, worth

__all__ = ["DigitImages", "EntityTexts", "Subject"]


class Subject(ABC):
    """Things to annotate, of which some are held out, and the truth about them.

    Attributes
    ----------
    pool, held_out : ndarray of int, shape (n,)
        Indices of what is uploaded, in this order, and of what never is.
    """

    title: ClassVar[str]
    things: ClassVar[str]  # what they are called
    control: ClassVar[str] = "label"  # in both labeling configs
    may_be_empty: ClassVar[bool] = False  # whether an answer may say that nothing is there
    rule: ClassVar[str] = ""  # when an answer is right, where that isn't plain
    pool: np.ndarray
    held_out: np.ndarray

    @abstractmethod
    def create_project(self, server: LabelStudioServer, title: str) -> int:
        """Create a project with the whole pool and return its id."""

    @abstractmethod
    def index(self, task: Task) -> int:
        """Return the index of what a task shows."""

    @abstractmethod
    def answer(self, task: Task) -> list[dict[str, Any]]:
        """Return the right result of a task."""

    @abstractmethod
    def is_right(self, index: int, label: Any) -> bool:
        """Return whether an answer of the backend is the truth about one of them."""

    @abstractmethod
    def learning_curve(self, labeled: Sequence[int]) -> LearningCurve:
        """Return what ever more labels taught, in this order."""

    def worth_of_proposals(self, served: Sequence[Submission]) -> str:
        """Return in a sentence what the proposals in the queue were worth; empty: not measured."""
        return ""


class DigitImages(Subject):
    """Handwritten digits, each of one class."""

    title = "Handwritten digits"
    things = "images"

    def __init__(self, pool: int, seed: int) -> None:
        self.digits = digits.load(pool, seed)
        self.pool, self.held_out = self.digits.pool, self.digits.held_out

    def create_project(self, server: LabelStudioServer, title: str) -> int:
        project = digits.create_project(server, f"Digits, {title}")
        digits.upload(server, project, self.digits.png, self.pool.tolist())
        return project

    def index(self, task: Task) -> int:
        return digits.digit_index(task)

    def answer(self, task: Task) -> list[dict[str, Any]]:
        return choice(self.digits.truth[self.index(task)])

    def is_right(self, index: int, label: Any) -> bool:
        return bool(label == self.digits.truth[index])

    def learning_curve(self, labeled: Sequence[int]) -> LearningCurve:
        return learning_curve(self.digits, labeled)


class EntityTexts(Subject):
    """Sentences with named entities, each marked as a span.

    Parameters
    ----------
    encoder : str
        As the setting: it tells the words apart, for the backend and for the judge.
    """

    title = "Named entities"
    things = "texts"
    may_be_empty = True
    rule = "An answer is right if it has exactly the entities of its text."

    def __init__(self, pool: int, seed: int, encoder: str = "") -> None:
        self.sentences = entities.load(pool, seed)
        self.encoder = encoder
        self.pool, self.held_out = self.sentences.pool, self.sentences.held_out

    def create_project(self, server: LabelStudioServer, title: str) -> int:
        project = entities.create_project(server, f"Entities, {title}")
        tasks = [{"text": self.sentences.texts[i], "sentence": i} for i in self.pool.tolist()]
        server.api("POST", f"/api/projects/{project}/import", tasks)
        return project

    def index(self, task: Task) -> int:
        return int(task["data"]["sentence"])

    def answer(self, task: Task) -> list[dict[str, Any]]:
        at = self.index(task)
        return entities.marks(self.sentences.texts[at], self.sentences.spans[at])

    def is_right(self, index: int, label: Any) -> bool:
        return {tuple(one) for one in label} == set(self.sentences.spans[index])

    def learning_curve(self, labeled: Sequence[int]) -> LearningCurve:
        return entity_curve(self.sentences, labeled, encoder=self.encoder)

    def worth_of_proposals(self, served: Sequence[Submission]) -> str:
        return str(worth(self.sentences, [(self.index(one.task), one.task) for one in served]))
