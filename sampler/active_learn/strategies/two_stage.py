"""Selection from a pool of any size: of a large one a uniform sample enters the greedy selection.

The sample is candidates and references at once. A sample that is its own reference finds more of
what unseen references lose than the best of all candidates by other references: candidates that
happen to be references look better than they are.
"""

from __future__ import annotations

import numpy as np
import torch

from ..models import ModelOutput
from ..posterior.fisher import uncertainty
from ..posterior.kernels import Kernel
from ..posterior.landmarks import condition_on_labels
from ..posterior.posterior import Posterior
from ..selectors.a_optimal import AOptimalDesign
from .base import Context, Selection

__all__ = [
    "check_others",
    "draw_references",
    "greedy_design",
    "is_large",
    "reference_weights",
    "sample_pool",
]

# Pools up to this size are candidates and references as a whole: on banking77 (8,002) it is worth a
# point of accuracy over 3,000 references. The work and the memory, 4 · 10,000² bytes, end there.
WHOLE_POOL = 10_000
SAMPLE = 6_000
# What is behind the sample is scored by so many of the references and the labeled rows.
COARSE_REFERENCES = 256
COARSE_CONDITIONED = 64


def greedy_design(
    context: Context,
    kernel: Kernel,
    ridge: float,
    references: int | None,
    *,
    weigh: bool = False,
) -> Selection:
    """Return the picks of the greedy A-optimal design, then the others by remaining gain.

    Parameters
    ----------
    context : Context
    kernel : Kernel
    ridge : float
    references : int, optional
        Points drawn from the pool to represent it; when omitted the candidates themselves.
    weigh : bool
        Weigh each reference by the model's uncertainty, once there are labels.

    Notes
    -----
    Of more than 10,000 candidates a uniform sample of 6,000, or of twice what is picked, enters the
    greedy selection. Behind the sample the others follow by the gain that they had before the
    picks, by 256 references and at most 64 labeled rows.
    """
    pool, preselected = context.pool, list(context.preselected)
    rows, entering, output = sample_pool(context, references)
    weights = reference_weights(context, output) if weigh else None
    points = kernel.points(output)
    candidates = points if output is entering else kernel.points(entering)
    labeled = None if context.labeled is None else kernel.points(context.labeled)
    posterior = condition_on_labels(kernel, ridge, labeled, context.max_conditioned)
    design = AOptimalDesign(posterior, candidates, points, weights, entering.costs)
    greedy = max(0, min(context.n_greedy, context.n) - len(preselected))
    picked, gains = design.pick(greedy, np.searchsorted(rows, preselected).tolist())
    best = Selection.completed(picked, gains, design.scores(), min(context.n, len(rows)))
    best = Selection(rows[best.indices], best.scores)
    if context.n <= len(rows):
        check_others(context, rows)
        return best

    limit = min(COARSE_CONDITIONED, context.max_conditioned)
    coarse = Posterior(kernel, ridge, labeled, limit)
    few = torch.linspace(0, len(points) - 1, COARSE_REFERENCES).long().unique()
    of_few = None if weights is None else weights[few]
    scores = torch.empty(len(pool))
    for block, batch in pool.blocks(with_logits=kernel.uses_logits):
        of_block = AOptimalDesign(coarse, kernel.points(batch), points[few], of_few, batch.costs)
        scores[block] = of_block.scores().mul_(len(points) / len(few)).cpu()
    return best.followed_by(scores, context.n)


def sample_pool(
    context: Context, references: int | None
) -> tuple[np.ndarray, ModelOutput, ModelOutput]:
    """Return what enters the greedy selection, and what represents the pool.

    Parameters
    ----------
    context : Context
    references : int, optional
        See `greedy_design`.

    Returns
    -------
    rows : ndarray of int64
        Of the candidates, ascending.
    entering : ModelOutput
        The outputs of these rows.
    output : ModelOutput
        The references: those of the summary, where there is one; ``entering`` itself where they
        are the candidates.
    """
    pool, rows = context.pool, candidate_rows(context)
    entering = pool.outputs() if len(rows) == len(pool) else pool.take(rows)
    if context.summary is not None and context.summary.references is not None:
        return rows, entering, context.summary.references
    chosen = reference_rows(context, references, rows)
    return rows, entering, entering if np.array_equal(chosen, rows) else pool.take(chosen)


def check_others(context: Context, rows: np.ndarray) -> None:
    """Read the whole pool, which checks it, where only some rows enter and no others follow."""
    if len(rows) < len(context.pool):
        for _ in context.pool.blocks(with_logits=False):
            pass


def draw_references(
    context: Context, references: int | None
) -> tuple[ModelOutput, np.ndarray | None]:
    """Return the references that `sample_pool` draws, and their rows where they are candidates."""
    rows = candidate_rows(context)
    chosen = reference_rows(context, references, rows)
    return context.pool.take(chosen), rows if np.array_equal(chosen, rows) else None


def is_large(context: Context) -> bool:
    """Return whether a sample of the whole pool enters the greedy selection."""
    return context.whole() > WHOLE_POOL


def candidate_rows(context: Context) -> np.ndarray:
    """Return the rows that enter the greedy selection: all of a pool that is not large.

    Of a partition it is what the sample of the whole pool has of it, and as many others as make it
    its share of a sample, and twice what is picked.
    """
    size = len(context.pool)
    share = -(-SAMPLE * size // context.whole()) if is_large(context) else size
    limit, sampled = min(size, max(share, 2 * context.n_greedy)), sampled_rows(context)
    others = np.setdiff1d(np.arange(size), sampled, assume_unique=True)
    others = others[sample_rows(len(others), max(0, limit - len(sampled)), context.rng)]
    return np.unique(np.concatenate([sampled, others, context.preselected]).astype(np.int64))


def sampled_rows(context: Context) -> np.ndarray:
    """Return the rows of a partition that are in the sample of the whole pool."""
    if context.summary is None or context.summary.sample is None or context.positions is None:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.isin(context.positions, context.summary.sample))


def reference_rows(context: Context, references: int | None, rows: np.ndarray) -> np.ndarray:
    if references is None and len(rows) <= WHOLE_POOL:
        return rows
    return sample_rows(len(context.pool), references or SAMPLE, context.rng)


def sample_rows(size: int, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Return all rows, or a uniform sample of ``limit`` of them, in order."""
    if size <= limit:
        return np.arange(size)
    return np.sort(rng.choice(size, size=limit, replace=False))


def reference_weights(context: Context, output: ModelOutput) -> torch.Tensor | None:
    """Return one minus the margin of each reference; None before any label."""
    return uncertainty(output.logits, context.problem_type) if context.has_labels else None
