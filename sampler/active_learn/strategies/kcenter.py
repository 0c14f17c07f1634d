"""k-center (core-set): always the candidate farthest from all that is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..posterior.posterior import first_best
from ..selectors.kmeans import squared_distances
from .base import Context, PoolSummary, Selection, Strategy, register

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
    takes_parts: ClassVar[bool] = True
    partitioned: ClassVar[bool] = True

    def rank_pool(self, context: Context) -> Selection:
        """Return farthest-first picks, then the others by distance to the nearest pick."""
        h, labeled = context.embeddings()
        if labeled is None:
            # Negated, so that the first pick is the nearest to the mean; then distances start.
            distance = -squared_distances(h, h.mean(dim=0, keepdim=True))[:, 0]
        else:
            distance = nearest(h, labeled)
        norm = h.square().sum(dim=1)
        picked: list[int] = []
        scores: list[float] = []
        for step in range(min(context.n_greedy, context.n)):
            new = first_best(distance)
            picked.append(new)
            scores.append(float(distance[new].clamp_min(0).sqrt()))
            to_new = (norm + norm[new]).addmv_(h, h[new], alpha=-2).clamp_min_(0)
            is_start = step == 0 and labeled is None
            distance = to_new if is_start else torch.minimum(distance, to_new)
            distance[picked] = -torch.inf
        return Selection.completed(picked, scores, distance.clamp_min(0).sqrt(), context.n)

    def summarize_pool(self, context: Context) -> PoolSummary:
        """Return the scale of the embeddings."""
        return PoolSummary(None, context.scale(), len(context.pool))


def nearest(h: torch.Tensor, centers: torch.Tensor, rows: int = 4096) -> torch.Tensor:
    """Return the squared distance of each row to the nearest center."""
    return torch.cat([squared_distances(block, centers).amin(dim=1) for block in h.split(rows)])
