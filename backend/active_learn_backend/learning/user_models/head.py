"""The head of an own model that is used as it is: its own logits decide."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from active_learn.heads.base import Answer, FloatArray, Head
from scipy.special import expit, softmax

from ...labeling.controls import ControlTag
from .vectors import embedding_of, logits_of

__all__ = ["OwnHead"]


def _split(rows: Any, n_outputs: int) -> tuple[FloatArray, FloatArray]:
    rows = np.asarray(rows, dtype=np.float32)
    return logits_of(rows, n_outputs), embedding_of(rows, n_outputs)


class OwnHead(Head):
    """Answers by the logits that stand in the vectors.

    Parameters
    ----------
    control : ControlTag
        The one that it answers for.
    labels : sequence of str
        The label of each output.
    n_features : int
        Length of the vectors.
    version : str
    """

    def __init__(
        self, control: ControlTag, labels: Sequence[str], n_features: int, version: str
    ) -> None:
        self.problem_type = control.problem_type
        self.labels_offered = tuple(control.labels)
        self.n_features = n_features
        self._labels = tuple(labels)
        self.n_outputs = len(self._labels) or 1
        self._version = version

    @property
    def version(self) -> str:
        return self._version

    def sampler_model(self) -> Any:
        return partial(_split, n_outputs=self.n_outputs)

    def predict(self, vectors: FloatArray) -> list[Answer]:
        logits = logits_of(vectors, self.n_outputs)
        if self.problem_type == "regression":
            return [Answer(float(value), None) for value in logits[:, 0]]
        if self.problem_type == "multilabel":
            return [self._answer_set(row) for row in expit(logits)]
        probabilities = softmax(logits, axis=1)
        best = probabilities.argmax(axis=1)
        pairs = zip(probabilities, best, strict=True)
        return [Answer(self._labels[k], float(row[k])) for row, k in pairs]

    def label_probabilities(self, vectors: FloatArray) -> FloatArray:
        """Return the probability of each offered label, 0 of one that the model does not know."""
        if self.problem_type != "multilabel":
            return super().label_probabilities(vectors)
        shares = dict(zip(self._labels, expit(logits_of(vectors, self.n_outputs)).T, strict=True))
        unknown = np.zeros(len(vectors), np.float32)
        return np.stack([shares.get(label, unknown) for label in self.labels_offered], axis=1)

    def _answer_set(self, shares: FloatArray) -> Answer:
        """Return the labels more likely than not; the score is that of the least certain label."""
        chosen = {label for label, p in zip(self._labels, shares, strict=True) if p >= 0.5}
        in_order = [label for label in self.labels_offered if label in chosen]
        return Answer(in_order, float(np.maximum(shares, 1 - shares).min()))
