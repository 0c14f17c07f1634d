"""The answers of a project's heads for its unlabeled tasks, beside those for its audit tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.heads import Head

from ...errors import StoreError
from ...labeling.controls import ControlTag
from ...settings import RANDOM_STATE, Settings
from ...state.answer_files import Answer
from ...state.store import Project, Store, TaskRow
from ...state.tasks import read_tasks
from ..heads import ControlHeads
from ..selection.snapshot import Mask, Snapshot
from .right_answers import is_right

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
        left_out = sum(_is_unlabeled(row) for row in rows if row.content_key in missing)
        return replace(cls.of(snapshot, heads, tolerance), not_embedded=left_out)

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        heads: ControlHeads,
        tolerance: float = 0.0,
        most: int | None = None,
    ) -> UnlabeledPool:
        """Let the heads answer for the tasks of a snapshot.

        Parameters
        ----------
        most : int, optional
            Of more unlabeled tasks only so many, drawn by the hash of their content.

        Raises
        ------
        StoreError
            When a control has no head yet.
        """
        controls = heads.task.controls
        open_ = np.flatnonzero(~snapshot.labeled & ~snapshot.skipped)
        if most is not None and len(open_) > most:
            by_place = np.argsort(snapshot.places(RANDOM_STATE)[open_], kind="stable")
            open_ = np.sort(open_[by_place[:most]])
        names = {control.from_name for control in controls}
        measuring = [
            at for at in snapshot.measuring if names <= set(snapshot.rows[at].labels or ())
        ]
        every = np.concatenate([open_, np.array(measuring, np.int64)])
        vectors = snapshot.embeddings[every]
        predicted = {
            control.from_name: _head(heads, control).predict(
                heads.embedder.features(control.from_name, vectors)[:]
            )
            for control in controls
        }
        labels = [
            {name: answers[at].label for name, answers in predicted.items()}
            for at in range(len(every))
        ]
        wrong = np.array(
            [
                not is_right(labels[len(open_) + place], snapshot.rows[at].labels, tolerance)
                for place, at in enumerate(measuring)
            ],
            dtype=bool,
        )
        scores = _scores(list(predicted.values()), wrong)
        answers = [
            Answer(snapshot.rows[at].task_id, one, float(score))
            for at, one, score in zip(every, labels, scores, strict=True)
        ]
        return cls(heads.version, answers[: len(open_)], 0, answers[len(open_) :], wrong)


def _is_unlabeled(row: TaskRow) -> bool:
    return row.labels is None and not row.skipped


def _head(heads: ControlHeads, control: ControlTag) -> Head:
    head = heads.of(control)
    if not isinstance(head, Head):  # regions are refused before
        raise StoreError(
            f"'{control.from_name}' has no head yet, so it has no answers; label on until a round "
            "has trained one (`active-learn versions` lists them)"
        )
    return head


def _scores(predicted: Sequence[Sequence[Any]], wrong: Mask) -> Array:
    """Return the least score of each task; of numbers, which have none, the share of right ones."""
    of_numbers = 1 - float(wrong.mean()) if len(wrong) else 0.5
    columns = [
        [of_numbers if answer.score is None else answer.score for answer in answers]
        for answers in predicted
    ]
    return np.array(columns, np.float64).min(axis=0)
