"""Checks of the labeled data of a replay."""

from __future__ import annotations

import numpy as np

from ..errors import DataError

__all__ = ["check_data", "check_labels"]


def check_data(X: np.ndarray, y: np.ndarray, problem_type: str) -> tuple[np.ndarray, np.ndarray]:
    """Check that embeddings and labels fit together and are finite; return them as arrays.

    Raises
    ------
    DataError
    """
    X = np.asarray(X)
    if X.ndim != 2 or 0 in X.shape or X.dtype.kind not in "fiu":
        raise DataError(
            f"embeddings have shape {X.shape} and type {X.dtype}; expected numbers of shape (n, d)"
        )
    bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(bad):
        raise DataError(f"embedding {bad[0]} holds NaN or infinity; remove it")
    y = check_labels(y, problem_type)
    if len(y) != len(X):
        raise DataError(f"{len(X)} embeddings came with {len(y)} labels; expected one each")
    return X, y


def check_labels(y: np.ndarray, problem_type: str) -> np.ndarray:
    """Check labels; return them as an array, of float64 but for classes.

    Parameters
    ----------
    y : array of shape (n,), (n, L) of 0 and 1 in multilabel, (n,) or (n, k) in regression
    problem_type : {'classification', 'regression', 'multilabel'}

    Raises
    ------
    DataError
        When the shape does not fit the problem type, or a label is not what it should be.
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
