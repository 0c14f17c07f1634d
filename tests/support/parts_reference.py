"""Selection from tasks of parts, dense and plain: the sampler has to pick the same.

The objective is the variance of a Gaussian process at all tasks of the pool, weighted by the square
of their mean doubt, recomputed from nothing for each candidate.
"""

from __future__ import annotations

import numpy as np

__all__ = ["order_tasks", "pooled"]


def pooled(
    tasks: list[np.ndarray], probabilities: list[np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """(N, d) directions of the doubt-weighted mean parts from their mean, and (N,) mean doubts."""
    vectors, doubts = [], []
    for at, parts in enumerate(tasks):
        weights = np.ones(len(parts))
        if probabilities is not None:
            ordered = np.sort(probabilities[at], axis=1)
            weights = 1 - (ordered[:, -1] - ordered[:, -2])
        vectors.append(weights @ parts / weights.sum())
        doubts.append(weights.mean())
    e = np.array(vectors) - np.mean(vectors, axis=0)
    return e / np.linalg.norm(e, axis=1, keepdims=True), np.array(doubts)


def order_tasks(
    e: np.ndarray,
    doubts: np.ndarray,
    costs: np.ndarray,
    pool: np.ndarray,
    labeled: np.ndarray,
    n: int,
    gamma: float = 2.0,
    ridge: float = 0.1,
) -> tuple[list[int], list[float]]:
    """The n tasks of the pool that lower the objective the most per root of their cost."""

    def objective(known: list[int]) -> float:
        k = np.exp(gamma * (e @ e.T - 1))
        inverse = np.linalg.inv(k[np.ix_(known, known)] + ridge * np.eye(len(known)))
        left = np.diag(k) - np.einsum("ik,kl,il->i", k[:, known], inverse, k[:, known])
        return float((doubts[pool] ** 2 * left[pool]).sum())

    known, gains = labeled.tolist(), []
    for _ in range(n):
        before = objective(known)
        gain = {
            task: (before - objective([*known, task])) / ridge / costs[task] ** 0.5
            for task in pool.tolist()
            if task not in known
        }
        best = max(gain, key=lambda task: gain[task])
        known.append(best)
        gains.append(gain[best])
    return known[len(labeled) :], gains
