"""The result of `ActiveSampler.rank`: an order of candidates, and the reasons for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .inputs.pool import Pool
from .models import BLOCK_ROWS, ModelOutput
from .posterior import fisher
from .posterior.kernels import RadialKernel
from .posterior.posterior import Posterior
from .validation import ProblemType

__all__ = ["Ranking", "explain"]

# λ of novelty: small, so that the novelty of a labeled sample is almost 0.
NOVELTY_RIDGE = 1e-3
# Labeled samples that novelty is measured against; it is read by people, not optimized.
NOVELTY_CONDITIONED = 500


@dataclass(frozen=True)
class Ranking:
    """Candidates in the order in which they are worth labeling.

    Attributes
    ----------
    indices : ndarray of int64 of shape (n,)
        Positions in the pool, the most valuable first.
    scores : ndarray of float64 of shape (n,)
        Acquisition value of each: when it was picked, or, behind the greedy picks, after the last.
        Its unit is the strategy's own.
    uncertainty : ndarray of float64 of shape (n,)
        One minus the margin between the two likeliest classes, in [0, 1]; in multilabel the mean
        of ``1 - |2p - 1|``; 1 in regression.
    novelty : ndarray of float64 of shape (n,)
        Variance of a Gaussian process on the embeddings after the labeled data, relative to the
        one before, in [0, 1]: 1 is unlike anything labeled. Of more than 500 labeled samples the
        500 most informative.
    """

    indices: np.ndarray
    scores: np.ndarray
    uncertainty: np.ndarray
    novelty: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


def explain(
    pool: Pool,
    indices: np.ndarray,
    problem_type: ProblemType,
    labeled: ModelOutput | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the uncertainty and the novelty of some candidates, as in `Ranking`."""
    kernel = RadialKernel()
    known = None if labeled is None else kernel.points(labeled)
    posterior = Posterior(kernel, NOVELTY_RIDGE, known, NOVELTY_CONDITIONED)
    uncertainty, novelty = np.empty(len(indices)), np.empty(len(indices))
    for start in range(0, len(indices), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        output = pool.take(indices[block])
        uncertainty[block] = fisher.uncertainty(output.logits, problem_type).cpu().numpy()
        x = kernel.points(output)
        left = posterior.variance(x, posterior.whiten(x)) * posterior.ridge / kernel.own(x)
        novelty[block] = left[:, 0, 0].clamp(0, 1).cpu().numpy()
    return uncertainty, novelty
