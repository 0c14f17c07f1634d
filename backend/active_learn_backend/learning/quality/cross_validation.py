"""Cross-validation: the answers of heads that have not seen the label of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.heads import ProblemType, TrainedHead
from active_learn.heads.base import FloatArray
from active_learn.heads.folds import folds
from active_learn.heads.hyperparameters import probabilities
from active_learn.heads.logistic import Link

__all__ = ["HeldOut", "cross_validate"]

MOST_TRAINED_ON = 3000  # rows that the heads of the folds see: bounds the cost of any project

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Answers for labeled tasks by heads that have not seen their labels.

    Attributes
    ----------
    losses : array of shape (n,)
        As from `Head.losses`.
    outputs : array of shape (n, K)
        Calibrated probabilities of the head's classes, 0 for one that no other fold holds;
        predictions (n, 1) in regression.
    """

    losses: Array
    outputs: Array


def cross_validate(
    head: TrainedHead,
    embeddings: FloatArray,
    labels: Sequence[Any],
    *,
    n_folds: int = 5,
    random_state: int = 0,
) -> HeldOut | None:
    """Compute the answer for each labeled task by a head that has not seen it.

    Heads of the same penalty and temperature are trained on the other folds, on at most 3,000 rows
    drawn by chance, so that a project of any size takes seconds. With more labels than that, the
    losses are those of a head with fewer labels, and a little too high.

    Returns
    -------
    HeldOut or None
        None while the rest of a fold has a single class.
    """
    if len(labels) < n_folds:
        return None
    embeddings = np.asarray(embeddings, np.float32)
    rng = np.random.default_rng(random_state)
    trained_on = np.zeros(len(labels), dtype=bool)
    trained_on[rng.permutation(len(labels))[:MOST_TRAINED_ON]] = True
    losses, outputs = np.empty(len(labels)), np.zeros((len(labels), len(head.classes) or 1))
    for train, test in folds(_sortable(head.problem_type, labels), n_folds, [random_state]):
        rows = train[trained_on[train]]
        other = head.refit(embeddings[rows], [labels[at] for at in rows])
        if other is None:
            return None
        losses[test] = other.losses(embeddings[test], [labels[at] for at in test])
        answers = _answers(other, embeddings[test])
        if head.problem_type == "regression":
            outputs[test] = answers
        for column, name in enumerate(other.classes):
            if name in head.classes:  # an earlier head that a person went back to knows fewer
                outputs[test, head.classes.index(name)] = answers[:, column]
    return HeldOut(losses, outputs)


def _answers(head: TrainedHead, vectors: FloatArray) -> npt.NDArray[Any]:
    """Return the probabilities of the head's classes (n, K), or its predictions (n, 1)."""
    if head.problem_type == "regression":
        return np.array([[answer.label] for answer in head.predict(vectors)])
    link: Link = "softmax" if head.problem_type == "classification" else "sigmoid"
    return probabilities(head.outputs(vectors), link)


def _sortable(problem_type: ProblemType, labels: Sequence[Any]) -> npt.NDArray[Any]:
    """Return the labels as an array by which folds are stratified."""
    if problem_type == "multilabel":
        return np.array([" / ".join(sorted(label)) for label in labels])
    return np.array(labels)
