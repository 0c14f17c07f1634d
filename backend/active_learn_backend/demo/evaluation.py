"""Held-out quality as a function of the labels given so far: one judge for every queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from active_learn.heads import fit_head

from ..learning.encoders import ImageEncoder
from .digits import Digits

__all__ = ["LearningCurve", "learning_curve", "steps"]


@dataclass(frozen=True)
class LearningCurve:
    """Held-out quality after each of a growing number of labels.

    Attributes
    ----------
    labels : tuple of int
        Numbers of labels, ascending.
    quality : tuple of float
        Accuracy or F1 in [0, 1] of the head trained on the first so many labels.
    metric : str
        Which of them it is.
    seconds : tuple of float
        What people need for so many labels; empty where each costs the same.
    """

    labels: tuple[int, ...]
    quality: tuple[float, ...]
    metric: str = "accuracy"
    seconds: tuple[float, ...] = ()

    def at(self, labels: int) -> float | None:
        """Return the quality at this number of labels, None where it was not measured."""
        return dict(zip(self.labels, self.quality, strict=True)).get(labels)

    def labels_for(self, quality: float) -> int | None:
        """Return the least measured number of labels that reached a quality, None if none did."""
        pairs = zip(self.labels, self.quality, strict=True)
        return next((labels for labels, reached in pairs if reached >= quality), None)

    def minutes(self, labels: int) -> float | None:
        """Return what a measured number of labels costs, None where each costs the same."""
        return self.seconds[self.labels.index(labels)] / 60 if self.seconds else None


def steps(labeled: Sequence[int], held_out: np.ndarray, step: int) -> list[int]:
    """Return the numbers of labels at which a curve is measured, the last one at all of them.

    Raises
    ------
    ValueError
        If what is labeled is held out, or nothing is labeled.
    """
    if not labeled:
        raise ValueError("no labels: nothing to draw a learning curve of")
    if leaked := set(labeled) & set(held_out.tolist()):
        raise ValueError(f"held-out images or texts were labeled: {sorted(leaked)[:5]}")
    return sorted({*range(step, len(labeled), step), len(labeled)})


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
    counts = steps(labeled, digits.held_out, step)
    encoder = ImageEncoder()
    held_out = encoder.encode([digits.png[i] for i in digits.held_out])
    truth = np.asarray([digits.truth[i] for i in digits.held_out])
    embeddings = encoder.encode([digits.png[i] for i in labeled])
    labels = [digits.truth[i] for i in labeled]
    classes = sorted(set(digits.truth))

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
