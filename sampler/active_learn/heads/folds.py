"""Folds of labeled samples for cross-validation and replays."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["Split", "folds"]

Split = tuple[np.ndarray, np.ndarray]


def folds(y: np.ndarray, n_folds: int, seeds: Iterable[int]) -> list[Split]:
    """Deal labeled samples into held-out folds, once for each seed.

    Samples are dealt round after sorting by label with ties at random, which stratifies by class
    (also where a class has fewer members than there are folds) and by value in regression.

    Parameters
    ----------
    y : ndarray of shape (n,) or (n, L)
    n_folds : int
    seeds : iterable of int

    Returns
    -------
    list of (pool, test)
        Index arrays; ``n_folds`` for each seed.
    """
    splits = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(y))
        if y.ndim == 1:
            order = order[np.argsort(y[order], kind="stable")]
        fold_of = np.empty(len(y), dtype=np.int64)
        fold_of[order] = np.arange(len(y)) % n_folds
        splits += [
            (np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold))
            for fold in range(n_folds)
        ]
    return splits
