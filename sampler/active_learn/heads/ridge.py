"""Regression: ridge regression with the penalty of the least leave-one-out error.

It is linear in the embeddings, or in random cosines of them where these predict labels that are
left out better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .base import Answer, FloatArray
from .hyperparameters import Hyperparameters
from .logistic import principal_axes
from .metadata import HeadConfig, HeadMetadata
from .random_cosines import RandomCosines
from .trained import TrainedHead

__all__ = ["RidgeHead"]

# In units of 1 / (mean squared distance from the mean); all are tried, in closed form.
INVERSE_PENALTIES = np.logspace(-3, 3, 13)
INVERSE_PENALTIES_OF_COSINES = np.logspace(-3, 5, 17)
WIDTHS = (0.5, 1.0, 2.0, 4.0)  # in units of the root mean square distance of two embeddings
FEWEST_TO_BEND = 40  # labels

Array = npt.NDArray[np.float64]


class RidgeHead(TrainedHead):
    """A linear prediction with an intercept, clipped to the bounds of the control.

    With 40 labels it may be linear in 256 random cosines of the embeddings: when their squared
    leave-one-out errors are smaller, on average by more than a standard error, than those of the
    embeddings.

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
        if hyperparameters is None:
            hyperparameters = _choose(embeddings, targets)
        width, n_features = hyperparameters.width, embeddings.shape[1]
        if width is not None:
            embeddings = RandomCosines(n_features, width)(embeddings)
        solution = _Ridge(embeddings, targets).solve(hyperparameters.inverse_penalty)
        metadata = HeadMetadata(
            problem_type="regression",
            config=config,
            hyperparameters=hyperparameters,
            noise_variance=solution[2],
            n_features=None if width is None else n_features,
        )
        return cls(metadata, *solution[:2], round)

    def predict(self, vectors: FloatArray) -> list[Answer]:
        """Predict a number for each row, within the bounds; without a score."""
        values = self.outputs(vectors)[:, 0]
        if self.metadata.config.bounds is not None:
            values = np.clip(values, *self.metadata.config.bounds)
        return [Answer(float(value), None) for value in values]


def _choose(embeddings: FloatArray, targets: Array) -> Hyperparameters:
    """Choose between embeddings and random cosines, their width, and the penalty."""
    n = len(targets)
    problem = _Ridge(embeddings, targets)
    linear, inverse = problem.least_errors(INVERSE_PENALTIES)
    chosen = Hyperparameters(inverse_penalty=inverse, n_labels=n)
    if n < FEWEST_TO_BEND or not linear.any():
        return chosen
    # Two rows differ by twice the mean squared distance from the mean.
    scale, best = (2 * problem.spread) ** 0.5, np.inf
    for width in WIDTHS:
        cosines = RandomCosines(embeddings.shape[1], width * scale)
        errors, inverse = _Ridge(cosines(embeddings), targets).least_errors(
            INVERSE_PENALTIES_OF_COSINES
        )
        gain = linear - errors
        clear = gain.mean() > gain.std(ddof=1) / n**0.5
        if clear and errors.mean() < best:
            best = errors.mean()
            chosen = Hyperparameters(inverse_penalty=inverse, n_labels=n, width=cosines.width)
    return chosen


class _Ridge:
    """``Σ (w·x_i + b - y_i)² + λ‖w‖²`` in principal axes, where every penalty is a rescaling."""

    def __init__(self, embeddings: FloatArray, targets: Array) -> None:
        self.mean, self.axes, self.squares = principal_axes(embeddings)
        self.coordinates = ((embeddings - self.mean) @ self.axes).astype(np.float64)
        self.center = float(targets.mean())
        self.targets = targets - self.center
        self.products = self.coordinates.T @ self.targets
        self.spread = float(self.squares.sum() / len(targets)) or 1.0

    def least_errors(self, inverse_penalties: npt.NDArray[Any]) -> tuple[Array, float]:
        """Return the squared leave-one-out errors, least on average, and their penalty."""
        errors = [self.leave_one_out(float(inverse)) for inverse in inverse_penalties]
        best = int(np.argmin([one.mean() for one in errors]))
        return errors[best], float(inverse_penalties[best])

    def leave_one_out(self, inverse_penalty: float) -> Array:
        """Compute the exact squared leave-one-out errors, from the leverages."""
        shrink = 1 / (self.squares + self.spread / inverse_penalty)
        leverage = np.square(self.coordinates) @ shrink + 1 / len(self.targets)
        residuals = self.targets - self.coordinates @ (shrink * self.products)
        return np.square(residuals / np.maximum(1 - leverage, 1e-9))

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
