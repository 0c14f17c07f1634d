"""BADGE: k-means++ seeding on gradient embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..posterior.kernels import FisherKernel
from ..posterior.posterior import first_best
from ..selectors.kmeans import draw
from .base import Context, Selection, Strategy, register

__all__ = ["Badge"]


@register
@dataclass(frozen=True)
class Badge(Strategy):
    """Draw gradients ``(e_ŷ − p) ⊗ h`` far from each other, large ones first.

    The first pick is the largest gradient; each further one is drawn with probability in
    proportion to the squared distance to the nearest pick, all in Gram form. In regression the
    gradient at the prediction is 0, and h takes its place. Labeled data and the pool's covariance
    change nothing, as published. Holds the N (d + K) numbers of the factors.

    References
    ----------
    Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020,
    algorithm 1.
    """

    name: ClassVar[str] = "badge"

    def rank_pool(self, context: Context) -> Selection:
        """Return candidates drawn one by one, then the others by distance to the nearest pick."""
        pool = context.pool
        kernel = FisherKernel(context.problem_type, "gradient", scale=pool.scale())
        x = kernel.points(pool.outputs())
        norm = kernel.own(x)[:, 0, 0]
        distance = norm.clone()
        picked: list[int] = []
        scores: list[float] = []
        for _ in range(min(context.n_greedy, context.n)):
            uniform = context.rng.random()
            new = draw(distance, uniform) if picked else first_best(norm)
            picked.append(new)
            scores.append(float(distance[new]))
            to_new = norm + norm[new] - 2 * kernel.gram(x[new : new + 1], x)[0]
            to_new.clamp_min_(0)
            distance = torch.minimum(distance, to_new) if len(picked) > 1 else to_new
            distance[picked] = -1  # not even drawn among duplicates
        return Selection.completed(picked, scores, distance, context.n)
