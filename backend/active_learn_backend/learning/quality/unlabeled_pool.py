"""The answers of a project's heads for its unlabeled tasks, beside those for its audit tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from active_learn.heads import Head

from ...errors import StoreError
from ...labeling.controls import ControlTag, RegionTag
from ...labeling.regions import sorted_regions
from ...settings import RANDOM_STATE, Settings
from ...state.answer_files import Answer
from ...state.rounds import read_rounds
from ...state.store import Project, Store, TaskRow
from ...state.tasks import read_tasks
from ..heads import ControlHeads
from ..selection.snapshot import Mask, Snapshot
from .decisions import Decisions
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
    nothing_found : int
        Unlabeled tasks that are left out because none of the labels is set of which a task may
        have several.
    audit : list of Answer, length n
        For the labeled audit tasks.
    wrong : array of shape (n,), bool
        Which of those are wrong.
    decisions : Decisions or None
        The same answers taken apart, where that is asked for.
    """

    version: str
    answers: list[Answer]
    not_embedded: int
    nothing_found: int
    audit: list[Answer]
    wrong: Mask
    decisions: Decisions | None = None

    @property
    def scores(self) -> Array:
        """The scores of the answers."""
        return np.array([answer.score for answer in self.answers], np.float64)

    @property
    def wrong_by_decision(self) -> Mask:
        """What has to be right in the same share each: decisions, or else whole answers."""
        return self.wrong if self.decisions is None else self.decisions.wrong

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
        *,
        by_label: bool = False,
    ) -> UnlabeledPool:
        """Let the heads answer for all tasks whose embeddings are cached.

        Parameters
        ----------
        settings : Settings
            The project's own over those of the environment.
        tolerance : float
            A number is right if it is no farther from the label.
        by_label : bool
            See `of`.

        Raises
        ------
        StoreError
            When a control has no head yet.
        """
        rows = read_tasks(store, project.id, contents=False)
        rows = [row for row in rows if not row.automatic]
        missing = heads.embedder.missing([row.content_key for row in rows])
        embedded = [row for row in rows if row.content_key not in missing]
        vectors = heads.embedder.get([row.content_key for row in embedded])
        reports = read_rounds(store, project.id)
        snapshot = Snapshot.take(project, embedded, vectors, settings, reports)
        left_out = sum(_is_unlabeled(row) for row in rows if row.content_key in missing)
        pool = cls.of(snapshot, heads, tolerance, by_label=by_label)
        return replace(pool, not_embedded=left_out)

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        heads: ControlHeads,
        tolerance: float = 0.0,
        most: int | None = None,
        *,
        by_label: bool = False,
    ) -> UnlabeledPool:
        """Let the heads answer for the tasks of a snapshot.

        Parameters
        ----------
        most : int, optional
            Of more unlabeled tasks only so many, drawn by the hash of their content.
        by_label : bool
            Take the answers apart, too.

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
        predicted = {one.from_name: _answers(heads, one, vectors) for one in controls}
        labels = [
            {name: answers[at].label for name, answers in predicted.items()}
            for at in range(len(every))
        ]
        kept = [at for at, one in enumerate(labels) if _is_label(controls, one)]
        unlabeled = sum(at < len(open_) for at in kept)
        given = [snapshot.rows[every[at]].labels or {} for at in kept[unlabeled:]]
        pairs = zip((labels[at] for at in kept[unlabeled:]), given, strict=True)
        wrong = np.array([not is_right(*pair, tolerance) for pair in pairs], dtype=bool)
        columns = {
            name: _scores([one[at] for at in kept], wrong) for name, one in predicted.items()
        }
        scores = np.min(list(columns.values()), axis=0)
        answers = [
            Answer(snapshot.rows[every[at]].task_id, labels[at], float(score))
            for at, score in zip(kept, scores, strict=True)
        ]
        decisions = None
        if by_label:
            by_control = {
                one.from_name: _of_labels(heads, one, vectors[np.array(kept, np.int64)])
                if one.problem_type == "multilabel"
                else columns[one.from_name][:, None]
                for one in controls
            }
            decisions = Decisions.of(
                controls, [labels[at] for at in kept], by_control, given, tolerance
            )
        return cls(
            heads.version,
            answers[:unlabeled],
            0,
            len(open_) - unlabeled,
            answers[unlabeled:],
            wrong,
            decisions,
        )


def _is_unlabeled(row: TaskRow) -> bool:
    return row.labels is None and not row.skipped


class _FoundRegions(NamedTuple):
    label: list[list[Any]]
    score: float


def _answers(heads: ControlHeads, control: ControlTag, vectors: Any) -> Sequence[Any]:
    """Return what the head of a control answers for each task, each with a label and a score."""
    head, read = heads.of(control), heads.embedder.features(control.from_name, vectors)
    if head is None:
        raise StoreError(
            f"'{control.from_name}' has no head yet, so it has no answers; label on until a round "
            "has trained one (`active-learn versions` lists them)"
        )
    if isinstance(control, RegionTag):
        return [
            _FoundRegions(sorted_regions(region[:3] for region in one.regions), one.probability)
            for one in heads.find_regions(control, read)
        ]
    assert isinstance(head, Head)
    return head.predict(read[:])


def _is_label(controls: Sequence[ControlTag], answer: Mapping[str, Any]) -> bool:
    """Return whether an answer can be a label: a choice of none of several is no answer."""
    return all(one.problem_type != "multilabel" or answer[one.from_name] for one in controls)


def _scores(answers: Sequence[Any], wrong: Mask) -> Array:
    """Return the scores of answers; of numbers, which have none, the share of right answers."""
    of_numbers = 1 - float(wrong.mean()) if len(wrong) else 0.5
    found = [of_numbers if answer.score is None else answer.score for answer in answers]
    return np.array(found, np.float64)


def _of_labels(heads: ControlHeads, control: ControlTag, vectors: Any) -> Array:
    """Return how likely the head of a control is right of each label, (n, L)."""
    head = heads.of(control)
    assert isinstance(head, Head)
    read = heads.embedder.features(control.from_name, vectors)
    shares = np.asarray(head.label_probabilities(read[:]), np.float64)
    return np.maximum(shares, 1 - shares)
