"""Regression: ridge regression with the penalty of the least leave-one-out error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .base import Answer, FloatArray
from .hyperparameters import Hyperparameters
from .logistic import principal_axes
from .trained import HeadConfig, HeadMetadata, TrainedHead

__all__ = ["RidgeHead"]

# In units of 1 / (mean squared distance from the mean); all are tried, in closed form.
INVERSE_PENALTIES = np.logspace(-3, 3, 13)

Array = npt.NDArray[np.float64]


class RidgeHead(TrainedHead):
    """A linear prediction with an intercept, clipped to the bounds of the control.

    ``metadata.noise_variance`` estimates the variance of the labels around it: the squared
    residuals over the remaining degrees of freedom. Labels that are all the same are learned as a
    constant without noise.
    """

    problem_type = "regression"

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
        targets = np.asarray(labels, dtype=np.float64)
        if not np.isfinite(targets).all():
            raise DataError("labels hold NaN or infinity; check the annotations")
        if len(targets) < 2:
            return None
        problem = _Ridge(embeddings, targets)
        if hyperparameters is None:
            errors = [problem.leave_one_out(penalty) for penalty in INVERSE_PENALTIES]
            best = float(INVERSE_PENALTIES[int(np.argmin(errors))])
            hyperparameters = Hyperparameters(inverse_penalty=best, n_labels=len(targets))
        weight, bias, noise_variance = problem.solve(hyperparameters.inverse_penalty)
        metadata = HeadMetadata(
            problem_type="regression",
            config=config,
            hyperparameters=hyperparameters,
            noise_variance=noise_variance,
        )
        return cls(metadata, weight, bias, round)

    def predict(self, vectors: FloatArray) -> list[Answer]:
        """Predict a number for each row, within the bounds; without a score."""
        values = self.outputs(vectors)[:, 0]
        if self.metadata.config.bounds is not None:
            values = np.clip(values, *self.metadata.config.bounds)
        return [Answer(float(value), None) for value in values]


class _Ridge:
    """``Σ (w·x_i + b - y_i)² + λ‖w‖²`` in principal axes, where every penalty is a rescaling."""

    def __init__(self, embeddings: FloatArray, targets: Array) -> None:
        self.mean, self.axes, self.squares = principal_axes(embeddings)
        self.coordinates = ((embeddings - self.mean) @ self.axes).astype(np.float64)
        self.center = float(targets.mean())
        self.targets = targets - self.center
        self.products = self.coordinates.T @ self.targets
        self.spread = float(self.squares.sum() / len(targets)) or 1.0

    def leave_one_out(self, inverse_penalty: float) -> float:
        """Compute the exact leave-one-out mean squared error, from the leverages."""
        shrink = 1 / (self.squares + self.spread / inverse_penalty)
        leverage = np.square(self.coordinates) @ shrink + 1 / len(self.targets)
        residuals = self.targets - self.coordinates @ (shrink * self.products)
        return float(np.mean(np.square(residuals / np.maximum(1 - leverage, 1e-9))))

    def solve(self, inverse_penalty: float) -> tuple[FloatArray, FloatArray, float]:
        """Return weight (1, d), bias (1,) and the noise variance."""
        shrink = 1 / (self.squares + self.spread / inverse_penalty)
        slopes = shrink * self.products
        residuals = self.targets - self.coordinates @ slopes
        freedom = len(self.targets) - 1 - float(self.squares @ shrink)
        weight = self.axes @ slopes
        bias = self.center - self.mean @ weight
        return (
            weight[None].astype(np.float32),
            np.array([bias], np.float32),
            float(residuals @ residuals) / max(freedom, 1e-9),
        )
