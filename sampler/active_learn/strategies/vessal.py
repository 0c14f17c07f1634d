"""VeSSAL: volume sampling in one pass, each candidate kept or passed for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..errors import ParameterError
from ..posterior.kernels import FisherKernel
from ..posterior.posterior import Posterior
from ..selectors.stream_scorers import GainScorer, Scorer
from ..selectors.volume_sampling import ThinnedVolumeSampler, VolumeSampler
from ..validation import Problem
from .base import Context, Selection, Strategy, register

__all__ = ["Vessal"]


@register
@dataclass(frozen=True)
class Vessal(Strategy):
    """Keep each candidate with probability in proportion to what it adds to the volume.

    Goes through the pool once, in its order, and keeps exactly the budget: once as many candidates
    are left as are wanted, all are kept. Conditions on labeled data, which counts as passed.
    ``precompute_covariance`` compares each candidate with the whole pool rather than with what has
    passed. Not nested: the probabilities depend on the budget. In a ranking the kept ones come in
    the order of the pool, the others by what they would still add.

    Parameters
    ----------
    ridge : float
        λ, for embeddings divided by their root mean square norm.
    rank : int
        Factors per sample; gains are then traces.
    thinned : bool
        Estimate the mean gain on a uniform reservoir of 4,096 of what has passed, and evaluate
        only the candidates that their uniform number may let through: for pools of millions, in
        memory that does not grow with them. Nearly all picks are those of the exact form.

    References
    ----------
    Saran et al., "Streaming Active Learning with Deep Neural Networks", ICML 2023, algorithm 1.
    """

    name: ClassVar[str] = "vessal"
    nested: ClassVar[bool] = False
    ridge: float = 0.1
    rank: int = 1
    thinned: bool = False

    def rank_pool(self, context: Context) -> Selection:
        """Return a sample of the size of the budget, then the others by their remaining gain."""
        pool = context.pool
        kernel = FisherKernel(context.problem_type, "fisher", self.rank, pool.scale())
        labeled = None if context.labeled is None else kernel.points(context.labeled)
        posterior = Posterior(kernel, self.ridge, labeled, context.max_conditioned)
        uniforms = torch.from_numpy(context.rng.random(len(pool)))
        if self.thinned:
            if context.precompute_covariance:
                raise ParameterError(
                    "precompute_covariance with thinned=True: the thinned form estimates the "
                    "covariance of what has passed; leave one of the two off"
                )
            thinned = ThinnedVolumeSampler(
                pool, posterior, kernel, labeled, context.budget, context.rng
            )
            picked, gains = thinned.sample(uniforms)
            posterior = thinned.posterior
        else:
            sampler = VolumeSampler(kernel.points(pool.outputs()), posterior, labeled)
            picked, gains = sampler.sample(context.budget, uniforms, context.precompute_covariance)
            posterior = sampler.posterior
        if context.n <= len(picked):
            return Selection.completed(picked, gains, uniforms, context.n)
        left = torch.empty(len(pool), dtype=torch.float64)
        for rows, output in pool.blocks():
            x = kernel.points(output)
            q = posterior.variance(x, posterior.whiten(x))
            left[rows] = q.diagonal(dim1=1, dim2=2).sum(dim=1).double().cpu()
        return Selection.completed(picked, gains, left, context.n)

    def scorer(self, problem_type: Problem, scale: float) -> Scorer:
        """Return a scorer by the gain ``tr(uᵀ M u)``."""
        return GainScorer(FisherKernel(problem_type, "fisher", self.rank, scale), self.ridge)
