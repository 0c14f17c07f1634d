"""Multilabel: one binary logistic regression for each label, all with the same penalty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from .base import Answer, FloatArray
from .hyperparameters import Hyperparameters, choose_hyperparameters, confidence, probabilities
from .logistic import LogisticProblem
from .metadata import HeadConfig, HeadMetadata
from .trained import TrainedHead

__all__ = ["OneVsRestHead"]


class OneVsRestHead(TrainedHead):
    """A sigmoid for each label that the config offers.

    A label that no sample has so far is not learned. For every sample it has the probability of
    Laplace's rule of succession, 1 / (n + 2); a label that all samples have, 1 minus that. All
    labels share one temperature, because few of them occur often enough for one of their own.
    """

    problem_type = "multilabel"

    @classmethod
    def fit(
        cls,
        config: HeadConfig,
        embeddings: FloatArray,
        labels: Sequence[Any],
        *,
        round: int,
        hyperparameters: Hyperparameters | None = None,
        start: Self | None = None,
        random_state: int = 0,
    ) -> Self | None:
        classes = config.labels_offered
        bits = np.array([[name in chosen for name in classes] for chosen in labels], np.float32)
        if not len(labels) or (bits == bits[0]).all():
            return None
        weights = _balanced(bits) if config.class_weight == "balanced" else None
        problem = LogisticProblem(embeddings, bits, "sigmoid", weights)
        hyperparameters = hyperparameters or choose_hyperparameters(problem, random_state)
        weight, bias = problem.solve(
            hyperparameters.inverse_penalty, start=start.rows_of(classes) if start else None
        )
        metadata = HeadMetadata(
            problem_type="multilabel",
            config=config,
            hyperparameters=hyperparameters,
            classes=classes,
        )
        return cls(metadata, weight, bias, round)

    def predict(self, vectors: FloatArray) -> list[Answer]:
        """Return the labels of probability 1/2 or more, in the order of the config.

        The score is the probability that the least certain label is right, set or not: this is what
        an annotator has to check. The probability that the whole set is right is at most that.
        """
        shares = self.label_probabilities(vectors)
        least = confidence(shares, "sigmoid").min(axis=1)
        return [
            Answer([self.classes[k] for k in np.flatnonzero(row >= 0.5)], float(score))
            for row, score in zip(shares, least, strict=True)
        ]

    def label_probabilities(self, vectors: FloatArray) -> FloatArray:
        shares: FloatArray = probabilities(self.outputs(vectors), "sigmoid")
        return shares


def _balanced(bits: FloatArray) -> FloatArray:
    """Compute weights (n, L) that balance both sides of each label; 1 where there is only one."""
    rate = bits.mean(axis=0)
    both = (rate > 0) & (rate < 1)
    rate = np.where(both, rate, 0.5)
    return np.where(bits > 0, 0.5 / rate, 0.5 / (1 - rate)).astype(np.float32)
