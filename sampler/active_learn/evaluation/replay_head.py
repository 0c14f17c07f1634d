"""Heads for replays: a linear head fitted on labeled embeddings, the same for every strategy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError
from ..models import LinearHead

__all__ = ["FittedHead", "check_labels", "fit_head"]

# On embeddings scaled to a root mean square norm of 1.
INVERSE_PENALTY = 10.0
RIDGE_PENALTIES = np.logspace(-3, 1, 9)  # the best by leave-one-out, in closed form
MAX_ITERATIONS = 300
TOLERANCE = 1e-3
CERTAIN = 5.0  # logit of a label that all samples so far have (or none): p = 0.993


@dataclass(frozen=True)
class FittedHead:
    """A linear head with what it takes to score it.

    Attributes
    ----------
    linear : LinearHead
    problem_type : {'classification', 'regression', 'multilabel'}
    classes : ndarray of shape (K,)
        In classification, the class of each logit: those seen so far.
    """

    linear: LinearHead
    problem_type: str
    classes: np.ndarray

    @classmethod
    def untrained(cls, n_outputs: int, n_features: int) -> FittedHead:
        """Build the head before any label."""
        return cls(LinearHead.untrained(n_outputs, n_features), "", np.arange(n_outputs))

    def score(self, X: np.ndarray, y: np.ndarray) -> float:
        """Give accuracy, R² in regression, or micro-averaged F1 in multilabel."""
        outputs = X @ self.linear.weight.numpy().T + self.linear.bias.numpy()
        if self.problem_type == "classification":
            return float(np.mean(self.classes[outputs.argmax(axis=1)] == y))
        if self.problem_type == "multilabel":
            predicted, true = outputs > 0, y > 0
            both = predicted.sum() + true.sum()
            return float(2 * (predicted & true).sum() / both) if both else 1.0
        targets = y.reshape(len(y), -1)
        residual = np.square(targets - outputs).sum()
        return float(1 - residual / np.square(targets - targets.mean(axis=0)).sum())


def fit_head(X: np.ndarray, y: np.ndarray, problem_type: str) -> FittedHead:
    """Fit the head of a problem type; deterministic.

    Parameters
    ----------
    X : ndarray of shape (n, d), n at least 1
    y : ndarray of shape (n,) or (n, L)
    problem_type : {'classification', 'regression', 'multilabel'}
    """
    # A model's embeddings have any scale; the penalties are meant for one.
    scale = float(np.sqrt(np.mean(np.square(X, dtype=np.float64).sum(axis=1)))) or 1.0
    scaled = X / np.float32(scale)
    classes = np.unique(y) if problem_type == "classification" else np.arange(1)
    if problem_type == "regression":
        from sklearn.linear_model import RidgeCV

        ridge = RidgeCV(alphas=RIDGE_PENALTIES).fit(scaled, y)
        weight, bias = np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
    elif problem_type == "multilabel":
        rows = [fit_binary(scaled, column) for column in y.T]
        weight, bias = np.stack([row[0] for row in rows]), np.array([row[1] for row in rows])
    elif len(classes) == 1:
        weight, bias = np.zeros((1, X.shape[1])), np.zeros(1)
    elif len(classes) == 2:
        w, b = fit_binary(scaled, y == classes[1])
        weight, bias = np.stack([-w, w]) / 2, np.array([-b, b]) / 2
    else:
        model = fit_logistic(scaled, y)
        weight, bias = model.coef_, model.intercept_
    return FittedHead(LinearHead(weight / scale, bias), problem_type, classes)


def fit_binary(X: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit one logit; a constant one where only one answer was seen."""
    if positive.min() == positive.max():
        return np.zeros(X.shape[1]), CERTAIN if positive.max() else -CERTAIN
    model = fit_logistic(X, positive)
    return model.coef_[0], float(model.intercept_[0])


def fit_logistic(X: np.ndarray, y: np.ndarray) -> Any:
    # scikit-learn takes seconds to import: only for those who replay.
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    with warnings.catch_warnings():
        # Early in a replay most classes have one label: no sign of a regression problem.
        warnings.filterwarnings("ignore", message="The number of unique classes")
        return model.fit(X, y)


def check_labels(y: np.ndarray, problem_type: str) -> np.ndarray:
    """Give labels as an array, numbers where they should be; refuse any other.

    Raises
    ------
    DataError
    """
    y = np.asarray(y)
    dimensions = {"classification": (1,), "multilabel": (2,), "regression": (1, 2)}[problem_type]
    if y.ndim not in dimensions:
        raise DataError(
            f"labels have shape {y.shape}; expected "
            f"{'(n, labels) of 0 and 1' if problem_type == 'multilabel' else '(n,)'}"
        )
    if problem_type == "classification":
        if y.dtype == object or (y.dtype.kind == "f" and not np.isfinite(y).all()):
            raise DataError("labels hold something else than class names or numbers; check them")
        return y
    if y.dtype.kind not in "fiub" or not np.isfinite(y).all():
        raise DataError("labels hold something else than finite numbers; check them")
    if problem_type == "multilabel" and not np.isin(y, (0, 1)).all():
        raise DataError("labels hold other numbers than 0 and 1; expected one column per label")
    return y.astype(np.float64)
