"""k-means, for the strategies that need no trained model."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["draw", "kmeans", "kmeans_medoids", "squared_distances"]

FIT_ROWS = 20_000
ITERATIONS = 25


def squared_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the squared Euclidean distances of rows, (n, m); never below 0."""
    square = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
    return square.addmm_(x, y.T, alpha=-2).clamp_min_(0)


def kmeans(h: torch.Tensor, k: int, rng: np.random.Generator) -> torch.Tensor:
    """Return k centers: k-means++, then Lloyd's iterations.

    Fits on at most 20,000 points (a uniform sample of more) or k of them.

    Parameters
    ----------
    h : Tensor of shape (N, d)
    k : int
        At most N.
    rng : numpy.random.Generator

    Returns
    -------
    Tensor of shape (k, d)

    References
    ----------
    Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007.
    """
    fit = h
    if len(h) > max(FIT_ROWS, k):
        rows = np.sort(rng.choice(len(h), size=max(FIT_ROWS, k), replace=False))
        fit = h[torch.as_tensor(rows, device=h.device)]
    centers = _plus_plus(fit, k, rng)
    previous = None
    for _ in range(ITERATIONS):
        nearest = squared_distances(fit, centers).argmin(dim=1)
        if previous is not None and torch.equal(nearest, previous):
            break
        previous = nearest
        counts = torch.bincount(nearest, minlength=k)
        sums = torch.zeros_like(centers).index_add_(0, nearest, fit)
        filled = counts > 0
        centers[filled] = sums[filled] / counts[filled, None]
    return centers


def kmeans_medoids(h: torch.Tensor, k: int, rng: np.random.Generator) -> list[int]:
    """Return the k distinct points nearest to the centers of k-means, large clusters first."""
    return _nearest_distinct(h, kmeans(h, k, rng))


def _plus_plus(x: torch.Tensor, k: int, rng: np.random.Generator) -> torch.Tensor:
    """Return k centers, each drawn in proportion to its squared distance to the others."""
    chosen = [int(rng.integers(len(x)))]
    norm = x.square().sum(dim=1)
    distance = squared_distances(x, x[chosen])[:, 0]
    for _ in range(k - 1):
        distance[chosen[-1]] = -1  # a center is drawn once, even among duplicates
        chosen.append(draw(distance, rng.random()))
        new = chosen[-1]
        to_new = (norm + norm[new]).addmv_(x, x[new], alpha=-2).clamp_min_(0)
        distance = torch.minimum(distance, to_new)
    return x[chosen].clone()


def draw(weights: torch.Tensor, uniform: float) -> int:
    """Return an index drawn in proportion to its weight, by one uniform number in [0, 1).

    A weight below 0 marks what cannot be drawn; where no weight is above 0, all of weight 0 are
    equally likely.
    """
    positive = weights.clamp_min(0)
    if not bool((positive > 0).any()):
        positive = (weights >= 0).to(weights.dtype)
    cumulative = positive.double().cumsum(dim=0)
    at = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)
    return int(at.clamp_max(int(positive.nonzero()[-1, 0])))


def _nearest_distinct(h: torch.Tensor, centers: torch.Tensor) -> list[int]:
    distances = squared_distances(h, centers)
    sizes = torch.bincount(distances.argmin(dim=1), minlength=len(centers))
    medoids: list[int] = []
    for cluster in torch.argsort(sizes, descending=True, stable=True).tolist():
        column = distances[:, cluster]
        column[medoids] = torch.inf
        medoids.append(int(column.argmin()))
    return medoids
