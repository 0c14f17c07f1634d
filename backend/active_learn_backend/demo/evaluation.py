"""Held-out accuracy as a function of the labels given so far: one judge for every queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from active_learn.heads import fit_head

from ..learning.encoders import ImageEncoder
from .digits import Digits

__all__ = ["LearningCurve", "learning_curve"]


@dataclass(frozen=True)
class LearningCurve:
    """Held-out accuracy after each of a growing number of labels.

    Attributes
    ----------
    labels : tuple of int
        Numbers of labels, ascending.
    accuracy : tuple of float
        Accuracy in [0, 1] of the head trained on the first so many labels.
    """

    labels: tuple[int, ...]
    accuracy: tuple[float, ...]

    def at(self, labels: int) -> float | None:
        """Return the accuracy at this number of labels, None where it was not measured."""
        return dict(zip(self.labels, self.accuracy, strict=True)).get(labels)

    def labels_for(self, accuracy: float) -> int | None:
        """Return the least measured number of labels that reached an accuracy, None if none did."""
        pairs = zip(self.labels, self.accuracy, strict=True)
        return next((labels for labels, reached in pairs if reached >= accuracy), None)


def learning_curve(digits: Digits, labeled: Sequence[int], step: int = 10) -> LearningCurve:
    """Train the backend's head on ever more labels and test it on the images held out.

    Parameters
    ----------
    digits : Digits
        The images; only the indices in ``labeled`` and the held-out ones are looked at.
    labeled : sequence of int
        Indices of the labeled images, in the order in which they were labeled.
    step : int
        Labels between two points of the curve; its last point is at all of them.

    Raises
    ------
    ValueError
        If a labeled image is a held-out one, or nothing is labeled.
    """
    if not labeled:
        raise ValueError("no labels: nothing to draw a learning curve of")
    if leaked := set(labeled) & set(digits.held_out.tolist()):
        raise ValueError(f"held-out images were labeled: {sorted(leaked)[:5]}")
    encoder = ImageEncoder()
    held_out = encoder.encode([digits.png[i] for i in digits.held_out])
    truth = np.asarray([digits.truth[i] for i in digits.held_out])
    embeddings = encoder.encode([digits.png[i] for i in labeled])
    labels = [digits.truth[i] for i in labeled]
    classes = sorted(set(digits.truth))

    counts = sorted({*range(step, len(labeled), step), len(labeled)})
    accuracy, head = [], None
    for count in counts:
        head = fit_head(
            "classification", classes, embeddings[:count], labels[:count], round=1, former=head
        )
        # One class seen so far: that class is the answer to everything.
        answers = (
            [answer.label for answer in head.predict(held_out)]
            if head
            else [labels[0]] * len(truth)
        )
        accuracy.append(float(np.mean(np.asarray(answers) == truth)))
    return LearningCurve(tuple(counts), tuple(accuracy))
