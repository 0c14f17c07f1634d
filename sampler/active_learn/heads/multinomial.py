"""Classification: multinomial logistic regression over the classes seen so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from .base import Answer, FloatArray
from .hyperparameters import Hyperparameters, choose_hyperparameters, probabilities
from .logistic import LogisticProblem
from .metadata import HeadConfig, HeadMetadata
from .trained import TrainedHead

__all__ = ["MultinomialHead"]


class MultinomialHead(TrainedHead):
    """Softmax over the classes that have a label, in the order of the config."""

    problem_type = "classification"

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
        place = {label: at for at, label in enumerate(config.labels_offered)}
        rows = [at for at, label in enumerate(labels) if label in place]
        places, targets = np.unique([place[labels[at]] for at in rows], return_inverse=True)
        if len(places) < 2:
            return None
        classes = tuple(config.labels_offered[at] for at in places)
        weights = None
        if config.class_weight == "balanced":
            counts = np.bincount(targets)
            weights = (len(targets) / (len(classes) * counts[targets, None])).astype(np.float32)
        problem = LogisticProblem(
            embeddings[rows], np.eye(len(classes), dtype=np.float32)[targets], "softmax", weights
        )
        hyperparameters = hyperparameters or choose_hyperparameters(problem, random_state)
        weight, bias = problem.solve(
            hyperparameters.inverse_penalty, start=start.rows_of(classes) if start else None
        )
        metadata = HeadMetadata(
            problem_type="classification",
            config=config,
            hyperparameters=hyperparameters,
            classes=classes,
        )
        return cls(metadata, weight, bias, round)

    def predict(self, vectors: FloatArray) -> list[Answer]:
        """Return the likeliest class and its probability for each row."""
        shares = probabilities(self.outputs(vectors), "softmax")
        best = shares.argmax(axis=1)
        return [Answer(self.classes[k], float(row[k])) for row, k in zip(shares, best, strict=True)]
