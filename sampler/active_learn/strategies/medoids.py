"""Medoids: one representative of each k-means cluster, the batch to start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from .base import Context, Picks, Strategy, register

__all__ = ["Medoids", "kmeans_medoids"]

FIT_ROWS = 20_000
ITERATIONS = 25


def kmeans_medoids(h: torch.Tensor, k: int, rng: np.random.Generator) -> list[int]:
    """Give the points nearest to the k centers of k-means, k distinct ones, large clusters first.

    k-means++ and Lloyd's iterations, on at most 20,000 points (a uniform sample of more).

    Parameters
    ----------
    h : Tensor of shape (N, d)
    k : int
        At most N.
    rng : numpy.random.Generator

    Returns
    -------
    list of k indices
    """
    fit = h
    if len(h) > max(FIT_ROWS, k):
        rows = np.sort(rng.choice(len(h), size=max(FIT_ROWS, k), replace=False))
        fit = h[torch.as_tensor(rows, device=h.device)]
    centers = _plus_plus(fit, k, rng)
    previous = None
    for _ in range(ITERATIONS):
        nearest = _squared_distances(fit, centers).argmin(dim=1)
        if previous is not None and torch.equal(nearest, previous):
            break
        previous = nearest
        counts = torch.bincount(nearest, minlength=k)
        sums = torch.zeros_like(centers).index_add_(0, nearest, fit)
        filled = counts > 0
        centers[filled] = sums[filled] / counts[filled, None]
    return _nearest_distinct(h, centers)


def _squared_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    square = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
    return square.addmm_(x, y.T, alpha=-2).clamp_min_(0)


def _plus_plus(x: torch.Tensor, k: int, rng: np.random.Generator) -> torch.Tensor:
    """Draw k centers, each with probability in proportion to its squared distance to the others."""
    chosen = [int(rng.integers(len(x)))]
    distance = _squared_distances(x, x[chosen])[:, 0]
    for _ in range(k - 1):
        distance[chosen[-1]] = 0
        cumulative = distance.double().cumsum(dim=0)
        total = float(cumulative[-1])
        draw = rng.random()
        if total > 0:
            at = int(torch.searchsorted(cumulative, draw * total, right=True))
            chosen.append(min(at, len(x) - 1))
        else:  # only duplicates are left: any center will do
            chosen.append(int(draw * len(x)))
        distance = torch.minimum(distance, _squared_distances(x, x[chosen[-1:]])[:, 0])
    return x[chosen].clone()


def _nearest_distinct(h: torch.Tensor, centers: torch.Tensor) -> list[int]:
    distances = _squared_distances(h, centers)
    sizes = torch.bincount(distances.argmin(dim=1), minlength=len(centers))
    medoids: list[int] = []
    for cluster in torch.argsort(sizes, descending=True, stable=True).tolist():
        column = distances[:, cluster]
        column[medoids] = torch.inf
        medoids.append(int(column.argmin()))
    return medoids


@register
@dataclass(frozen=True)
class Medoids(Strategy):
    """k-means with k = the budget, then the point nearest to each center.

    The ranking after the budget goes by distance to the nearest medoid, farthest first. Labeled
    data and the pool's covariance change nothing. Not nested: the clusters depend on k.
    Holds all N embeddings.

    References
    ----------
    Zhdanov, "Diverse mini-batch Active Learning", 2019 (without the uncertainty weights).
    """

    name: ClassVar[str] = "medoids"
    nested: ClassVar[bool] = False

    def rank(self, context: Context) -> Picks:
        """Cluster, then order."""
        h = context.pool.outputs().embedding
        medoids = kmeans_medoids(h, context.budget, context.rng)
        left = _squared_distances(h, h[medoids]).amin(dim=1)
        return Picks.completed(medoids, left.new_zeros(len(medoids)).tolist(), left, context.n)
