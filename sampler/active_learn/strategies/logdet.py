"""D-optimal design: raise the determinant of the Fisher information, greedily and lazily."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from ..inputs.pool import Pool
from ..posterior.fisher import Side
from ..posterior.kernels import FisherKernel, Points
from ..posterior.posterior import Posterior, first_best
from .base import Context, PoolSummary, Selection, Strategy, register

__all__ = ["LogDet"]

REFRESH = 64


@register
@dataclass(frozen=True)
class LogDet(Strategy):
    """Greedy maximization of ``log det(λI + Σ u uᵀ)``: diverse, far from what is labeled.

    Gains only ever fall, so a stale gain is an upper bound and few candidates are evaluated anew
    at each pick (64, doubling while the best may lie among the others). The pool is read in
    streamed blocks. Conditions on labeled data; the pool's covariance changes nothing.

    Parameters
    ----------
    ridge : float
        λ, for embeddings divided by their root mean square norm.
    side : {'fisher', 'gradient'}
        The output factor; 'gradient' hunts rare classes.
    rank : int
        Factors per sample; more than 1 with ``side='fisher'`` only.

    References
    ----------
    Krause, Singh and Guestrin, "Near-Optimal Sensor Placements in Gaussian Processes", JMLR 2008.
    Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978.
    """

    name: ClassVar[str] = "logdet"
    partitioned: ClassVar[bool] = True
    additive_gains: ClassVar[bool] = True
    ridge: float = 0.1
    side: Side = "fisher"
    rank: int = 1

    def rank_pool(self, context: Context) -> Selection:
        """Return greedy picks, then the others by their remaining gain."""
        pool, preselected = context.pool, context.preselected
        kernel = FisherKernel(context.problem_type, self.side, self.rank, context.scale())
        labeled = None if context.labeled is None else kernel.points(context.labeled)
        # The bound holds for the labeled data; all picks stay conditioned on.
        posterior = Posterior(kernel, self.ridge, labeled, context.max_conditioned).unbounded()
        bound = gains_of_pool(pool, posterior)
        picked: list[int] = []
        gains: list[float] = []
        for step in range(min(context.n_greedy, context.n)):
            if step < len(preselected):
                best = preselected[step]
                point = kernel.points(pool.take(np.array([best])))
                bound[best] = gains_of(posterior, point)
            else:
                best, point = lazy_best(pool, posterior, bound)
            picked.append(best)
            gains.append(float(bound[best]))
            bound[best] = -torch.inf
            posterior.condition(point)
        if context.n > len(picked):
            bound = gains_of_pool(pool, posterior)
        return Selection.completed(picked, gains, bound, context.n)

    def summarize_pool(self, context: Context) -> PoolSummary:
        """Return the scale of the embeddings."""
        return PoolSummary(None, context.scale(), len(context.pool))


def gains_of(posterior: Posterior, x: Points) -> torch.Tensor:
    """Return ``log det(I + Q)`` of each point, (n,)."""
    q = posterior.variance(x, posterior.whiten(x))
    if x.rank == 1:
        return q[:, 0, 0].log1p()
    return torch.linalg.slogdet(torch.eye(x.rank).to(q) + q).logabsdet


def gains_of_pool(pool: Pool, posterior: Posterior) -> torch.Tensor:
    """Return the gains of all candidates, computed in one pass."""
    return torch.cat([gains_of(posterior, posterior.kernel.points(o)) for _, o in pool.blocks()])


def lazy_best(pool: Pool, posterior: Posterior, bound: torch.Tensor) -> tuple[int, Points]:
    """Return the candidate of the highest gain; tightens ``bound`` in place.

    Candidates are evaluated from the highest bound down, until no other can reach the best.
    """
    done = torch.zeros_like(bound, dtype=torch.bool)
    refresh = REFRESH
    while True:
        stale = bound.masked_fill(done, -torch.inf)
        rows = stale.topk(min(refresh, len(stale))).indices
        rows = rows[stale[rows] > -torch.inf]
        bound[rows] = gains_of(posterior, posterior.kernel.points(pool.take(rows)))
        done[rows] = True
        fresh = bound.masked_fill(~done, -torch.inf)
        best = first_best(fresh)
        # Ties with a stale bound are evaluated too, so that the first of them wins.
        if float(bound.masked_fill(done, -torch.inf).max()) < float(fresh[best]) * (1 - 1e-5):
            break
        if done.sum() >= (bound > -torch.inf).sum():
            break
        refresh *= 2
    return best, posterior.kernel.points(pool.take(torch.tensor([best])))
