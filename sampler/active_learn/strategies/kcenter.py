"""k-center (core-set): always the candidate farthest from all that is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..posterior.posterior import first_best
from ..selectors.kmeans import squared_distances
from .base import Anchors, Context, Picks, Strategy, register

__all__ = ["KCenter"]


@register
@dataclass(frozen=True)
class KCenter(Strategy):
    """Farthest-first traversal of the embeddings, within twice the smallest covering radius.

    Starts from the labeled data, or else from the candidate nearest to the mean. The pool's
    covariance changes nothing. Holds the N d numbers of the embeddings.

    References
    ----------
    Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach",
    ICLR 2018, algorithm 1.
    """

    name: ClassVar[str] = "kcenter"
    partitioned: ClassVar[bool] = True

    def rank_pool(self, context: Context) -> Picks:
        """Walk, then order the rest by their distance to the nearest pick."""
        h, seed = context.embeddings()
        if seed is None:
            # Negated, so that the first pick is the nearest to the mean; then distances start.
            distance = -squared_distances(h, h.mean(dim=0, keepdim=True))[:, 0]
        else:
            distance = nearest(h, seed)
        norm = h.square().sum(dim=1)
        picked: list[int] = []
        scores: list[float] = []
        for step in range(min(context.depth, context.n)):
            new = first_best(distance)
            picked.append(new)
            scores.append(float(distance[new].clamp_min(0).sqrt()))
            to_new = (norm + norm[new]).addmv_(h, h[new], alpha=-2).clamp_min_(0)
            unseeded = step == 0 and seed is None
            distance = to_new if unseeded else torch.minimum(distance, to_new)
            distance[picked] = -torch.inf
        return Picks.completed(picked, scores, distance.clamp_min(0).sqrt(), context.n)

    def anchors(self, context: Context) -> Anchors:
        """Measure the norms."""
        return Anchors(None, context.scale(), len(context.pool))


def nearest(h: torch.Tensor, centers: torch.Tensor, rows: int = 4096) -> torch.Tensor:
    """Give the squared distance of each row to the nearest center."""
    return torch.cat([squared_distances(block, centers).amin(dim=1) for block in h.split(rows)])
