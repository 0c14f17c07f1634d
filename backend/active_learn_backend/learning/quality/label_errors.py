"""Label errors: labels contradicted by confident answers of heads that have not seen them.

Confident learning (Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 70, 2021) for classes; the same for each label of a multilabel task, as having
it or not (Thyagarajan et al., "Identifying Incorrect Annotations in Multi-Label Classification
Data", 2022). Numbers: residuals beyond 3.5 robust standard deviations (Iglewicz & Hoaglin, "How to
Detect and Handle Outliers", 1993).

Only training labels are checked. The audit set has to keep its errors: correcting just those that
the head contradicts would make its accuracy look better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.heads import TrainedHead

from ...state.round_report import LabelError
from .cross_validation import HeldOut

__all__ = ["contradicted", "find_label_errors", "unchanged_errors"]

LEAST_LABELS = 50  # with fewer, most labels that a head contradicts are right
MOST_LISTED = 50
ROBUST_SIGMAS = 3.5
MAD_TO_SIGMA = 1.4826  # of a normal distribution

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


def find_label_errors(
    head: TrainedHead, held_out: HeldOut, labels: Sequence[Any], task_ids: Sequence[int]
) -> list[LabelError]:
    """List the labels that are likely wrong, the likeliest first.

    Parameters
    ----------
    head : TrainedHead
        Of this round.
    held_out : HeldOut
        Answers of heads that have not seen the labels.
    labels, task_ids : sequences of length n

    Returns
    -------
    list of LabelError
        At most 50; none with fewer than 50 labels.
    """
    if len(labels) < LEAST_LABELS:
        return []
    find = {
        "classification": _wrong_classes,
        "multilabel": _wrong_sets,
        "regression": _outliers,
    }[head.problem_type]
    return [
        LabelError(task_ids[at], labels[at], suggested, confidence)
        for at, suggested, confidence in find(head, held_out.outputs, labels)[:MOST_LISTED]
    ]


def unchanged_errors(found: Sequence[LabelError], labels: Mapping[int, Any]) -> list[LabelError]:
    """Return those whose label has not been changed since.

    Parameters
    ----------
    labels : mapping
        Of the control, of all tasks by id.
    """
    return [error for error in found if labels.get(error.task_id) == error.label]


def contradicted(probabilities: Array, given: Positions) -> tuple[Mask, Positions, Array]:
    """Find labels off the diagonal of the confident joint.

    The confident joint counts a task under class k when its probability of k is at least the mean
    over the tasks labeled k (of several such classes, the likeliest). Each class has a threshold of
    its own because heads are less sure of some classes than of others.

    Parameters
    ----------
    probabilities : array of shape (n, K)
        Out of fold.
    given : array of shape (n,), int
        The class of each label.

    Returns
    -------
    wrong : array of shape (n,), bool
    suggested : array of shape (n,), int
        The class under which each task is counted; the given one where it is counted nowhere.
    margin : array of shape (n,)
        Probability of the suggested class less that of the given one.
    """
    n, n_classes = probabilities.shape
    own = probabilities[np.arange(n), given]
    counts = np.bincount(given, minlength=n_classes)
    totals = np.bincount(given, weights=own, minlength=n_classes)
    thresholds = np.divide(totals, counts, out=np.full(n_classes, np.inf), where=counts > 0)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = np.where(confident.max(axis=1) >= 0, confident.argmax(axis=1), given)
    margin = probabilities[np.arange(n), suggested] - own
    # The threshold of a rare class can be lower than the probability of the given class.
    return (suggested != given) & (margin > 0), suggested, margin


def _wrong_classes(
    head: TrainedHead, probabilities: Array, labels: Sequence[Any]
) -> list[tuple[int, Any, float | None]]:
    place = {name: at for at, name in enumerate(head.classes)}
    # Labels that the config no longer offers were not learned.
    rows = np.array([at for at, label in enumerate(labels) if label in place], dtype=np.int64)
    given = np.array([place[labels[at]] for at in rows], dtype=np.int64)
    wrong, suggested, margin = contradicted(probabilities[rows], given)
    found = np.flatnonzero(wrong)
    found = found[np.argsort(-margin[found], kind="stable")]
    return [
        (int(rows[at]), head.classes[suggested[at]], float(probabilities[rows[at], suggested[at]]))
        for at in found
    ]


def _wrong_sets(
    head: TrainedHead, probabilities: Array, labels: Sequence[Any]
) -> list[tuple[int, Any, float | None]]:
    bits = np.array([[name in chosen for name in head.classes] for chosen in labels], np.int64)
    wrong = np.zeros(bits.shape, dtype=bool)
    for column in range(bits.shape[1]):
        shares = probabilities[:, column]
        wrong[:, column], _, _ = contradicted(
            np.stack([1 - shares, shares], axis=1), bits[:, column]
        )
    suggested = bits ^ wrong
    # How sure the heads are of the least certain bit that they contradict.
    sure = np.where(suggested == 1, probabilities, 1 - probabilities)
    confidence = np.where(wrong, sure, 1.0).min(axis=1)
    found = np.flatnonzero(wrong.any(axis=1))
    found = found[np.argsort(-confidence[found], kind="stable")]
    return [
        (
            int(at),
            [name for name, bit in zip(head.classes, suggested[at], strict=True) if bit],
            float(confidence[at]),
        )
        for at in found
    ]


def _outliers(
    head: TrainedHead, predictions: Array, labels: Sequence[Any]
) -> list[tuple[int, Any, float | None]]:
    residuals = np.asarray(labels, np.float64) - predictions[:, 0]
    distance = np.abs(residuals - np.median(residuals))
    sigma = MAD_TO_SIGMA * float(np.median(distance))
    found = np.flatnonzero(distance > ROBUST_SIGMAS * sigma) if sigma > 0 else np.empty(0, int)
    found = found[np.argsort(-distance[found], kind="stable")]
    return [(int(at), float(predictions[at, 0]), None) for at in found]
