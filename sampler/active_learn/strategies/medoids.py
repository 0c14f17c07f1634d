"""Medoids: one representative of each k-means cluster, the batch to start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..selectors.kmeans import kmeans_medoids, squared_distances
from .base import Context, Selection, Strategy, register

__all__ = ["Medoids"]


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
    takes_parts: ClassVar[bool] = True
    nested: ClassVar[bool] = False

    def rank_pool(self, context: Context) -> Selection:
        """Return the medoids, then the others by distance to the nearest one."""
        h, _ = context.embeddings()
        medoids = kmeans_medoids(h, context.budget, context.rng)
        left = squared_distances(h, h[medoids]).amin(dim=1)
        return Selection.completed(medoids, left.new_zeros(len(medoids)).tolist(), left, context.n)
