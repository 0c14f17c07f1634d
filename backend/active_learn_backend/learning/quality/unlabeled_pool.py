"""The answers of a project's heads for its unlabeled tasks, beside those for its audit tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.heads import Head

from ...errors import StoreError
from ...labeling.controls import ControlTag
from ...settings import Settings
from ...state.answer_files import Answer
from ...state.store import Project, Store, TaskRow
from ...state.tasks import read_tasks
from ..heads import ControlHeads
from ..selection.snapshot import ControlSnapshot, Mask, Snapshot

__all__ = ["UnlabeledPool"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class UnlabeledPool:
    """What the present heads answer, and how that is measured.

    An answer is that of all learned controls of a task, with the score of the least certain one; it
    is right if all are.

    Attributes
    ----------
    version : str
        Of the heads.
    answers : list of Answer
        For the unlabeled tasks whose content is embedded.
    not_embedded : int
        Unlabeled tasks whose content is not embedded yet, or cannot be read.
    audit : list of Answer, length n
        For the labeled audit tasks.
    wrong : array of shape (n,), bool
        Which of those are wrong.
    """

    version: str
    answers: list[Answer]
    not_embedded: int
    audit: list[Answer]
    wrong: Mask

    @property
    def scores(self) -> Array:
        """The scores of the answers."""
        return np.array([answer.score for answer in self.answers], np.float64)

    @property
    def audit_scores(self) -> Array:
        """The scores of the answers for audit tasks."""
        return np.array([answer.score for answer in self.audit], np.float64)

    @classmethod
    def read(
        cls,
        store: Store,
        project: Project,
        settings: Settings,
        heads: ControlHeads,
        tolerance: float = 0.0,
    ) -> UnlabeledPool:
        """Let the heads answer for all tasks whose embeddings are cached.

        Parameters
        ----------
        settings : Settings
            The project's own over those of the environment.
        tolerance : float
            A number is right if it is no farther from the label.

        Raises
        ------
        StoreError
            When a control has no head yet.
        """
        rows = read_tasks(store, project.id, contents=False)
        rows = [row for row in rows if not row.automatic]
        cache = heads.embedder.cache
        missing = {rows[at].content_key for at in cache.missing([row.content_key for row in rows])}
        embedded = [row for row in rows if row.content_key not in missing]
        vectors = cache.get([row.content_key for row in embedded])
        snapshot = Snapshot.take(project, embedded, vectors, settings)
        unlabeled = ~snapshot.labeled & ~snapshot.skipped
        wrong = np.zeros(len(embedded), dtype=bool)
        measured = snapshot.audit & snapshot.labeled
        every, predicted = np.arange(len(embedded)), []
        for control in heads.task.controls:
            of_control = snapshot.of(
                control.from_name, heads.embedder.features(control.from_name, vectors)
            )
            head = _head(heads, control)
            measured &= of_control.labeled
            at = np.flatnonzero(snapshot.audit & of_control.labeled)
            wrong[at] |= _losses(head, of_control, at) > tolerance
            predicted.append((control, head.predict(of_control.embeddings[every])))
        scores = _scores([answers for _, answers in predicted], wrong[measured])

        def answer(at: int) -> Answer:
            labels = {control.from_name: answers[at].label for control, answers in predicted}
            return Answer(embedded[at].task_id, labels, float(scores[at]))

        return cls(
            heads.version,
            [answer(at) for at in np.flatnonzero(unlabeled)],
            sum(_is_unlabeled(row) for row in rows if row.content_key in missing),
            [answer(at) for at in np.flatnonzero(measured)],
            wrong[measured],
        )


def _is_unlabeled(row: TaskRow) -> bool:
    return row.labels is None and not row.skipped


def _head(heads: ControlHeads, control: ControlTag) -> Head:
    head = heads.of(control)
    if head is None:
        raise StoreError(
            f"'{control.from_name}' has no head yet, so it has no answers; label on until a round "
            "has trained one (`active-learn versions` lists them)"
        )
    return head


def _losses(head: Head, snapshot: ControlSnapshot, at: npt.NDArray[np.int64]) -> Array:
    return head.losses(snapshot.embeddings[at], snapshot.labels(at))


def _scores(predicted: Sequence[Sequence[Any]], wrong: Mask) -> Array:
    """Return the least score of each task; of numbers, which have none, the share of right ones."""
    of_numbers = 1 - float(wrong.mean()) if len(wrong) else 0.5
    columns = [
        [of_numbers if answer.score is None else answer.score for answer in answers]
        for answers in predicted
    ]
    return np.array(columns, np.float64).min(axis=0)
