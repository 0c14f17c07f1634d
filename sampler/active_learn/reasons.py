"""Why candidates are worth labeling: how uncertain the model is, and how new they are."""

from __future__ import annotations

import numpy as np

from .inputs.pool import Pool
from .models import BLOCK_ROWS, ModelOutput
from .posterior import fisher
from .posterior.kernels import RadialKernel
from .posterior.posterior import Posterior
from .validation import Problem

__all__ = ["explain"]

# λ of novelty: small, so that the novelty of a labeled sample is almost 0.
NOVELTY_RIDGE = 1e-3
# Labeled samples that novelty is measured against; it is read by people, not optimized.
NOVELTY_CONDITIONED = 500


def explain(
    pool: Pool,
    indices: np.ndarray,
    problem_type: Problem,
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
